"""The whole chain: the command, the engine, EC2's API, SSH, roles, verdicts on real guests, and nothing left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.doubles import rehearsal

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800), pytest.mark.xdist_group("guests")]

REGION = "eu-north-1"
CANARY = "-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with rehearsal.cloud(tmp_path_factory.mktemp("rehearsal")) as made:
        yield made


def state(environ: Mapping[str, str]) -> Path:
    return Path(environ["PTP_HARNESS_STATE_DIR"])


def ec2(environ: Mapping[str, str]) -> Any:
    words = {"aws_access_key_id": "rehearsal", "aws_secret_access_key": "rehearsal"}
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


def test_a_campaign_from_stacks_to_verdicts_and_back(environ: dict[str, str]) -> None:
    done = command(environ, "run", str(rehearsal.CAMPAIGN), "--depth", "quick", "--json")
    report = json.loads(done.stdout)
    seen = {host["name"]: (host["outcome"], host["reason"], host["state"]) for host in report["hosts"]}
    assert seen == {
        "m7i.large": ("PASS", "synchronised", "released"),
        "r7i.large": ("UNSUPPORTED", "no_phc", "released"),
        "c7i.large": ("FAIL", "driver_not_capable", "released"),
    }, done.stderr
    assert (done.returncode, report["leftovers"]) == (1, [])
    nothing_is_left(environ)
    assert "its host key" in done.stderr
    written = [path for path in state(environ).rglob("*") if path.is_file() and b"\0" not in path.read_bytes()]
    assert [path for path in written if CANARY in path.read_text(errors="replace")] == []
    assert CANARY not in done.stderr + done.stdout


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
    assert (listed.returncode, "the process of its run died" in listed.stderr) == (4, True), listed.stderr
    removed = command(environ, "sweep", "--bench", "ec2", "--region", REGION, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert "closed the books of" in removed.stderr
    nothing_is_left(environ)


ALIVE = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]


def test_without_the_engine_the_rehearsal_says_how_to_get_it(tmp_path: Path) -> None:
    path = os.pathsep.join(
        one for one in os.environ["PATH"].split(os.pathsep) if shutil.which("pulumi", path=one) is None
    )
    argv = [sys.executable, str(Path(rehearsal.__file__))]
    done = subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "`pulumi` is not on PATH" in done.stderr) == (2, True)
