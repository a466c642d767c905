"""What the lab says to requests that it cannot serve, without any guest."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.benches.bench import CapacityError
from harness.benches.lab import checks
from harness.benches.lab.bench import LabBench, find_truth
from harness.benches.lab.processes import runtime_dir
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import RequestError, SetupError
from harness.model import Token
from harness.system import settings

TOKEN = Token(run="unit", host="a")


@pytest.fixture
def bench(tmp_path: Path) -> LabBench:
    return LabBench(replace(settings.load(), state_dir=tmp_path / "state", cache_dir=tmp_path / "cache"))


def test_an_unknown_type_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(RequestError, match=r"no type 'lab\.phx' \(nearest names: lab\.phc"):
        find_truth("lab.phx")


def test_types_are_the_table(bench: LabBench) -> None:
    assert {name: kind.summary for name, kind in bench.types().items()} == {
        name: truth.summary for name, truth in TRUTHS.items()
    }


def test_no_capacity_is_known_before_anything_is_made(bench: LabBench, tmp_path: Path) -> None:
    with pytest.raises(CapacityError, match=r"needs 1048832 MiB of memory and this machine has \d+ MiB available"):
        bench.provision(TOKEN, "lab.no-capacity", print)
    assert list(tmp_path.iterdir()) == []


def test_release_of_nothing_and_resources_of_nothing(bench: LabBench) -> None:
    bench.release(TOKEN)
    assert bench.resources() == []


def test_a_missing_tool_is_named_with_its_package(bench: LabBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_tool", lambda tool: None if tool == "mmdebstrap" else "/bin/" + tool)
    with pytest.raises(SetupError, match=r"mmdebstrap is not installed \(apt-get install mmdebstrap\)"):
        bench.prepare(["lab.phc"], print)


def test_doctor_tells_of_a_missing_tool(bench: LabBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_tool", lambda tool: None if tool == "mke2fs" else "/bin/" + tool)
    missing = {check.name: check.remedy for check in bench.checks() if not check.ok}
    assert missing == {"mke2fs": "apt-get install e2fsprogs"}


def test_an_unwritable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bench = LabBench(replace(settings.load(), state_dir=tmp_path, cache_dir=tmp_path / "file"))
    with pytest.raises(SetupError, match="file/lab cannot be written: Not a directory"):
        bench.provision(TOKEN, "lab.phc", print)


def test_sockets_go_where_only_this_user_may_enter(tmp_path: Path) -> None:
    assert runtime_dir.make_private(tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(SetupError, match=r"open is not a private directory of this user"):
        runtime_dir.make_private(tmp_path / "open")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(SetupError, match=r"link is not a private directory of this user"):
        runtime_dir.make_private(tmp_path / "link")


def test_the_longest_socket_path_fits() -> None:
    longest = runtime_dir.path_for(Path("/x" * 500), {"XDG_RUNTIME_DIR": "/run/user/4294967295"}) / "control"
    assert len(os.fsencode(longest)) < 108


def test_parts_that_a_shared_cache_lacks_are_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = LabBench(replace(settings.load(), state_dir=tmp_path / "state", lab_cache=tmp_path))
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)
    with pytest.raises(SetupError, match="has no private copy of QEMU for this machine") as refused:
        shared.prepare(["lab.phc", "lab.drifting", "lab.phc"], print)
    assert "`ptp-harness lab build lab.drifting lab.phc` fills it where it can be written" in refused.value.next_step
    assert shared.list_ready_types() == []
    assert list(tmp_path.iterdir()) == []
