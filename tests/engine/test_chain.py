"""The whole chain: the command, the engine, EC2's API, SSH, roles, verdicts on real guests, and nothing left."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from harness.host import keys
from tests.doubles import policy, rehearsal
from tests.doubles.witness import Witness, find_files_with

from .conftest import HOME, ROOT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800), pytest.mark.xdist_group("guests")]

REGION = "eu-north-1"
CANARY = "-----BEGIN OPENSSH PRIVATE KEY-----"
SECRET = "canary+of+the+AWS+secret+access+key/kept"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with rehearsal.serve_cloud(tmp_path_factory.mktemp("rehearsal"), HOME=HOME) as made:
        yield made | {"AWS_SECRET_ACCESS_KEY": SECRET}


def state(environ: Mapping[str, str]) -> Path:
    return Path(environ["PTP_HARNESS_STATE_DIR"])


def ec2(environ: Mapping[str, str]) -> Any:
    words = {"aws_access_key_id": policy.ADMINISTRATOR, "aws_secret_access_key": "rehearsal"}
    return boto3.client("ec2", region_name=REGION, endpoint_url=environ["AWS_ENDPOINT_URL"], **words)


def nothing_is_left(environ: Mapping[str, str]) -> None:
    there = ec2(environ)
    groups = [each for one in there.describe_instances()["Reservations"] for each in one["Instances"]]
    assert {one["State"]["Name"] for one in groups} <= {"terminated"}
    assert there.describe_key_pairs()["KeyPairs"] == []
    assert [one["GroupName"] for one in there.describe_security_groups()["SecurityGroups"]] == ["default"]
    assert there.describe_placement_groups()["PlacementGroups"] == []
    assert there.describe_volumes()["Volumes"] == []
    for folder in ("hosts", "keys", "stacks"):
        found = state(environ) / "ec2" / folder
        assert not found.exists() or list(found.iterdir()) == [], folder


def command(environ: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "harness", *words]
    return subprocess.run(argv, env=environ, cwd=state(environ).parent, capture_output=True, text=True, timeout=1200)


def on_a_terminal(environ: Mapping[str, str], question: str, answer: str, *words: str) -> tuple[int, str, str]:
    """The command with somebody who reads its news and answers one question: its exit code, its output and its news."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "harness", *words]
    with (
        tempfile.TemporaryFile("w+") as out,
        subprocess.Popen(
            argv,
            env=environ,
            cwd=state(environ).parent,
            stdin=theirs,
            stdout=out,
            stderr=theirs,
            start_new_session=True,
        ) as child,
    ):
        os.close(theirs)
        news, asked = "", False
        with suppress(OSError):  # EIO: the other end is closed
            while data := os.read(ours, 65536):
                news += data.decode(errors="replace")
                if question in news and not asked:
                    asked = True
                    os.write(ours, answer.encode() + b"\n")
        code = child.wait(timeout=60)
        os.close(ours)
        out.seek(0)
        return code, out.read(), news


@pytest.fixture(scope="module")
def kept(environ: dict[str, str]) -> Iterator[tuple[int, dict[str, Any], str, Witness]]:
    """A campaign whose user keeps what passed: its exit code, report and news, and who looked on."""
    with Witness(state(environ)) as witness:
        words = ("run", str(rehearsal.CAMPAIGN), "--depth", "quick", "--keep", "ask", "--json")
        code, out, news = on_a_terminal(environ, "keep which?", "all", *words)
    assert out, news
    report = json.loads(out)
    yield code, report, news, witness
    assert command(environ, "release", report["run"]).returncode == 0
    nothing_is_left(environ)


Kept = tuple[int, dict[str, Any], str, Witness]


def test_a_campaign_from_stacks_to_verdicts(kept: Kept) -> None:
    code, report, news, _ = kept
    seen = {host["name"]: (host["outcome"], host["reason"], host["state"]) for host in report["hosts"]}
    assert seen == {
        "m7i.large": ("PASS", "synchronised", "kept"),
        "r7i.large": ("UNSUPPORTED", "no_phc", "released"),
        "c7i.large": ("FAIL", "driver_not_capable", "released"),
    }, news
    assert (code, report["leftovers"]) == (1, [])


def test_no_secret_is_told_or_left_open(kept: Kept, environ: dict[str, str]) -> None:
    _, report, news, witness = kept
    assert len(witness.secrets) == 6, "the passphrase, the signing key, the run's key, and that of each host"
    assert witness.arguments_with_secrets(extra_secret=SECRET) == []
    assert witness.open_to_others == set()
    own = {
        "ec2/passphrase",
        "ec2/signing-key",
        *(str(path.relative_to(state(environ))) for path in state(environ).glob("ec2/keys/**/*")),
    }
    assert set(find_files_with(state(environ), {*witness.secrets, SECRET})) - own == set()
    said = news + json.dumps(report)
    assert [secret for secret in (*witness.secrets, SECRET, CANARY) if secret in said] == []


def test_a_kept_host_can_be_looked_at_until_it_is_released(kept: Kept, environ: dict[str, str]) -> None:
    run = kept[1]["run"]
    assert json.loads(command(environ, "runs", "--json").stdout)[0]["state"] == "ended"
    shown = command(environ, "show", run, "m7i.large")
    assert (shown.returncode, "synchronised" in shown.stdout) == (0, True), shown.stderr
    entered = command(environ, "ssh", run, "m7i.large", "--", "cat", "/sys/class/ptp/ptp0/clock_name")
    assert (entered.returncode, entered.stdout.startswith("ena-ptp-")) == (0, True), entered.stderr
    assert command(environ, "ssh", run, "m7i.large", "--", "false").returncode == 1
    first = state(environ) / "ec2/keys" / run / "m7i.large-1"
    assert keys.read_public_key(first / "first_key") not in (first / "known_hosts").read_text(), (
        "it made a host key of its own"
    )
    swept = command(environ, "sweep", "--bench", "ec2", "--region", REGION, "--yes")
    assert (swept.returncode, "nothing to remove" in swept.stdout) == (0, True), swept.stderr
    released = command(environ, "release", run, "m7i.large")
    assert (released.returncode, "m7i.large is released" in released.stderr) == (0, True), released.stderr
    gone = command(environ, "ssh", run, "m7i.large", "--", "true")
    assert (gone.returncode, f"m7i.large of run {run} does not run" in gone.stderr) == (2, True), gone.stderr
    nothing_is_left(environ)


def test_where_the_api_claims_a_clock_that_is_not_there_types_says_so(kept: Kept, environ: dict[str, str]) -> None:
    families = [word for name in ("m7i", "r7i", "c7i", "t3") for word in ("--family", name)]
    done = command(environ, "types", "--region", REGION, *families, "--size", "large", "--measured", "--json")
    told = {one["name"]: one for one in json.loads(done.stdout)["types"]}
    assert {name: (one["phc"], one["measured"] and one["measured"]["clock"]) for name, one in told.items()} == {
        "m7i.large": (True, True),
        "r7i.large": (True, False),
        "c7i.large": (True, None),  # its driver cannot tell
        "t3.large": (False, None),
    }
    words = "the API says supported, and the driver said that the device has none on "
    assert {name for name, one in told.items() if one["contradiction"]} == {"r7i.large"}
    assert told["r7i.large"]["contradiction"].startswith(words)
    assert told["r7i.large"]["contradiction"].endswith(f"(run {kept[1]['run']})")
    assert told["t3.large"]["measured"] is None


def test_through_session_manager_nobody_else_gets_in(environ: dict[str, str], tmp_path: Path) -> None:
    sessions, program = tmp_path / "sessions", tmp_path / "bin/aws"
    program.parent.mkdir()
    double = ROOT / "tests/doubles/session_manager.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{double}" --log "{sessions}" "$@"\n')
    program.chmod(0o755)
    shutil.copy(program, program.with_name("session-manager-plugin"))  # looked for, and started by the real `aws`
    told = yaml.safe_load(rehearsal.CAMPAIGN.read_text())
    told |= {"instance_types": ["m7i.xlarge"], "image": "ubuntu-24.04", "ec2": {"access": "ssm"}}  # it has SSM's agent
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(told))
    with_aws = environ | {"PATH": f"{program.parent}{os.pathsep}{environ['PATH']}"}
    done = command(with_aws, "run", str(tmp_path / "campaign.yaml"), "--depth", "quick", "--json")
    assert done.stdout, done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    assert (done.returncode, host["outcome"], host["state"]) == (0, "PASS", "released"), done.stderr
    assert len(set(sessions.read_text().split())) == 1, "all through sessions of the one instance"
    nothing_is_left(environ)


def test_cloud_init_itself_makes_of_the_user_data_what_the_run_needs(environ: dict[str, str], tmp_path: Path) -> None:
    """The instance is a cloud's image of Debian: its host key, login user, lease timer and sudo are cloud-init's."""
    campaign = yaml.safe_load(rehearsal.CAMPAIGN.read_text()) | {"instance_types": ["m7i.2xlarge"]}
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(campaign))
    done = command(environ, "run", str(tmp_path / "campaign.yaml"), "--depth", "quick", "--keep", "supported", "--json")
    report = json.loads(done.stdout)
    (host,) = report["hosts"]
    assert (done.returncode, host["outcome"], host["state"]) == (0, "PASS", "kept"), done.stderr
    try:
        timers = enter(environ, report["run"], "systemctl list-timers --all ptp-harness-lease.timer")
        assert "ptp-harness-lease.service" in timers
        status = json.loads(enter(environ, report["run"], "cloud-init status --format json"))
        assert (status["status"], status["errors"]) == ("done", [])
        assert enter(environ, report["run"], "id --user --name; sudo --non-interactive id --user").split() == [
            "admin",
            "0",
        ]
    finally:
        assert command(environ, "release", report["run"]).returncode == 0
    nothing_is_left(environ)


def enter(environ: Mapping[str, str], run: str, script: str) -> str:
    """The output of a command on the one host of a run."""
    entered = command(environ, "ssh", run, "m7i.2xlarge", "--", script)
    assert entered.returncode == 0, entered.stderr
    return entered.stdout


def test_ctrl_c_in_the_middle_leaves_nothing(environ: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "harness", "run", str(rehearsal.CAMPAIGN), "--depth", "quick", "--json"]
    with subprocess.Popen(
        argv, env=environ, cwd=state(environ).parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        give_up = time.monotonic() + 300
        while not ec2(environ).describe_key_pairs()["KeyPairs"]:
            assert time.monotonic() < give_up
            time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=600)
    assert run.returncode == 130, err
    assert {host["outcome"] for host in json.loads(out)["hosts"]} == {"INCONCLUSIVE"}
    nothing_is_left(environ)


def test_after_kill_9_sweep_removes_all_and_closes_the_books(environ: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "harness", "run", str(rehearsal.CAMPAIGN), "--depth", "quick"]
    with subprocess.Popen(argv, env=environ, cwd=state(environ).parent, stderr=subprocess.DEVNULL) as run:
        give_up = time.monotonic() + 300
        while not any(one["Instances"] for one in ec2(environ).describe_instances(Filters=ALIVE)["Reservations"]):
            assert time.monotonic() < give_up
            time.sleep(0.2)
        os.kill(run.pid, signal.SIGKILL)
    listed = command(environ, "sweep", "--bench", "ec2", "--region", REGION)
    assert (listed.returncode, "the process of its run died" in listed.stdout) == (4, True), listed.stderr
    removed = command(environ, "sweep", "--bench", "ec2", "--region", REGION, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert "closed the books of" in removed.stdout
    nothing_is_left(environ)


ALIVE = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]


def test_without_the_engine_the_rehearsal_says_how_to_get_it(tmp_path: Path) -> None:
    path = os.pathsep.join(
        one for one in os.environ["PATH"].split(os.pathsep) if shutil.which("pulumi", path=one) is None
    )
    argv = [sys.executable, str(Path(rehearsal.__file__))]
    done = subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "`pulumi` is not on PATH" in done.stderr) == (2, True)
