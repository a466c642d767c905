"""The way in: SSH, or a session where nobody may connect."""

from pathlib import Path

import pytest

from harness.benches.bench import Check
from harness.benches.ec2 import checks
from harness.benches.ec2.account import ssh_access
from harness.benches.ec2.bench import Ec2Bench
from harness.errors import SetupError
from harness.model.cloud import CloudOptions
from harness.model.ec2_enums import Access
from harness.system import settings


def test_session_manager_is_the_way_where_nobody_may_connect() -> None:
    assert ssh_access.ssh_options(Access.SSH, "i-1", "eu-north-1") == ()
    option, way = ssh_access.ssh_options(Access.SSM, "i-1", "eu-north-1")
    assert option == "-o"
    assert way.startswith("ProxyCommand=aws ssm start-session --region eu-north-1 --target i-1 ")


def install(folder: Path, *programs: str) -> None:
    for program in programs:
        (folder / program).write_text("#!/bin/sh\n")
        (folder / program).chmod(0o755)


def test_the_programs_of_session_manager_are_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    bench = Ec2Bench(settings.load(), CloudOptions(region="eu-north-1", access=Access.SSM))
    with pytest.raises(SetupError, match="aws and session-manager-plugin not found on PATH") as caught:
        bench.prepare(["m7i.large"], print)
    assert "session-manager-working-with-install-plugin" in caught.value.next_step
    install(tmp_path, "aws")
    with pytest.raises(SetupError, match=r"^session-manager-plugin not found on PATH"):
        bench.prepare(["m7i.large"], print)
    install(tmp_path, "session-manager-plugin")
    with pytest.raises(SetupError, match="pulumi is not installed"):
        bench.prepare(["m7i.large"], print)
    assert not (tmp_path / "state").exists()


def test_doctor_looks_for_the_programs_of_session_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    install(tmp_path, "aws")
    without = checks.check_session_programs(Access.SSM)
    assert (without.ok, without.observed) == (
        False,
        "session-manager-plugin not found on PATH, which only `access: ssm` needs",
    )
    assert checks.check_session_programs(Access.SSH).ok
    install(tmp_path, "session-manager-plugin")
    assert checks.check_session_programs(Access.SSM) == Check(
        name="Session Manager", ok=True, observed="aws and session-manager-plugin are there"
    )


@pytest.mark.parametrize(
    ("title", "remark"),
    [
        ("debian-12-amd64-20260914-2345", True),
        ("RHEL-9.6.0_HVM-20260811-x86_64-0-Hourly2-GP3", True),
        ("al2023-ami-2023.9.20261111.0-kernel-6.12-x86_64", False),
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261101", False),
        ("my-own-debian-with-agent", False),
    ],
)
def test_an_image_without_an_agent_gets_a_remark(title: str, remark: bool) -> None:
    told = ssh_access.remark_on_agent("ami-1", title)
    assert (told is not None) is remark
    assert told is None or told.startswith(f"ami-1 is {title}: such images come without an SSM agent")
