"""The command itself, stopped at many moments: Ctrl-C ends it, `kill -9` leaves that to `sweep`, or `resume` goes on.

A whole `run` of two hosts whose instances let nobody in, over the real engine. Each moment has types of its own, by
which its stacks are told apart; several moments happen at once, each with books of its own in one Region.
"""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.model import HostState, Outcome, Stage
from harness.model.ec2 import needs_precision_group
from harness.store.ledger import Ledger
from harness.system import proc

from .conftest import NOBODY, Double, left

REGION = "eu-west-3"  # no legacy Region: there a type with a clock needs a placement group
HOLD_S = 2.0
SIDE_BY_SIDE = 2


@dataclass(frozen=True, slots=True)
class Moment:
    """When it happens: in a call to the provider (`after` its effect), or when a host's step begins."""

    method: str = ""
    type: str = ""
    after: bool = False
    step: Stage | None = None

    def __str__(self) -> str:
        where = "after" if self.after else "before"
        return f"in {self.step}" if self.step else f"{where} {self.method} {self.type}"


MOMENTS = (
    Moment(step=Stage.PROVISION),
    Moment("Create", "SecurityGroup"),
    Moment("Create", "SecurityGroup", after=True),
    Moment("Create", "KeyPair", after=True),
    Moment("Create", "PlacementGroup", after=True),
    Moment("Create", "Instance"),
    Moment("Create", "Instance", after=True),
    Moment(step=Stage.REACH),
    Moment("Delete", "Instance"),
    Moment("Delete", "Instance", after=True),
    Moment("Delete", "SecurityGroup", after=True),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One `run` under way, in a session of its own as in a terminal of its own."""

    folder: Path
    types: Sequence[str]
    environ: dict[str, str]
    process: "subprocess.Popen[bytes]"

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/state/ledger.sqlite")

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def ours(self) -> list[proc.ProcessId]:
        """Every process that was started for this run, also those whose parent is gone."""
        return proc.find_by_environment("PTP_HARNESS_STATE_DIR", self.environ["PTP_HARNESS_STATE_DIR"])


class _Door(socketserver.BaseRequestHandler):
    """Greets as an SSH server does, and closes."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-closed\r\n")


@pytest.fixture(scope="module", autouse=True)
def door() -> Iterator[None]:
    """All instances have booted and let nobody in; so does an SSH server that has the port, and nobody at all."""
    try:
        server = socketserver.ThreadingTCPServer((NOBODY, 22), _Door)
    except OSError:
        yield
        return
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture(scope="module")
def types(served: Double) -> Sequence[Sequence[str]]:
    """Two types for each moment: the Region offers them, and they have a clock only inside a precision-time group."""
    filters = [{"Name": "instance-type", "Values": ["*.large", "*.xlarge"]}]
    ec2 = served.ec2(REGION)
    pages = ec2.get_paginator("describe_instance_types").paginate(Filters=filters)
    able = [
        one["InstanceType"] for page in pages for one in page["InstanceTypes"] if one.get("PhcSupport") == "supported"
    ]
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate()
    offered = {one["InstanceType"] for page in pages for one in page["InstanceTypeOfferings"]}
    there = [name for name in able if name in offered and needs_precision_group(REGION, name)]
    assert len(there) >= 2 * len(MOMENTS)
    return [there[2 * number : 2 * number + 2] for number in range(len(MOMENTS))]


@pytest.mark.parametrize("how", ["Ctrl-C", "kill -9, sweep", "kill -9, resume"])
def test_at_every_moment(how: str, double: Double, types: Sequence[Sequence[str]], tmp_path: Path) -> None:
    rules = [rule(moment, types[number]) for number, moment in enumerate(MOMENTS) if moment.method]
    double.shall(*(one | {"message": how} for one in rules))  # rules of the other ways are others
    ended = {"Ctrl-C": stopped, "kill -9, sweep": killed_and_swept, "kill -9, resume": killed_and_resumed}[how]

    def through(number: int) -> str:
        began, moment = time.monotonic(), MOMENTS[number]
        run = start(tmp_path / str(number), types[number], slow_ssh=moment.step is Stage.REACH)
        try:
            come(double, moment, run)
            books = ended(run)
        finally:
            run.process.kill()
        gone(run)
        assert left(double.ec2(REGION), books) == [], moment
        return f"{moment}: {time.monotonic() - began:.0f} s"

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for line in pool.map(through, range(0, len(MOMENTS), 2 if ended is killed_and_resumed else 1)):
            print(line)
    assert everything(double.ec2(REGION)) == []


def start(folder: Path, types: Sequence[str], *, slow_ssh: bool) -> Run:
    folder.mkdir()
    (folder / "campaign.yaml").write_text(
        f"bench: ec2\nregion: {REGION}\ninstance_types: [{', '.join(types)}]\nimage: debian-12\n"
        f"ec2: {{controller_cidr: {NOBODY}/32}}\n"
    )
    environ = {
        **os.environ,
        "PTP_HARNESS_STATE_DIR": str(folder / "state"),
        "PTP_HARNESS_CACHE_DIR": str(folder.parent / "cache"),
        "PTP_HARNESS_SSH_TRIES": "8" if slow_ssh else "1",
        "PTP_HARNESS_SSH_BACKOFF": "1",
    }
    argv = [sys.executable, "-m", "harness", "run", "campaign.yaml", "--depth", "quick"]
    with (folder / "said").open("wb") as said:
        words: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
        return Run(folder, types, environ, subprocess.Popen(argv, cwd=folder, env=environ, stderr=said, **words))


def stopped(run: Run) -> str:
    """Ctrl-C, as a terminal sends it: to the whole group. The run's name; its books are closed and say what was."""
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(timeout=300) == 130, run.said
    assert "Traceback" not in run.said
    assert "left running" not in run.said
    return in_the_books(run)


def killed_and_swept(run: Run) -> str:
    """The same after `kill -9`: by `sweep`."""
    run.process.kill()
    run.process.wait(timeout=60)
    swept = sweep(run)
    assert (swept.returncode, "Traceback" in swept.stderr) == (0, False), swept.stderr
    return in_the_books(run)


def killed_and_resumed(run: Run) -> str:
    """The same by `resume`, which takes the hosts without a verdict along their way once more."""
    run.process.kill()
    run.process.wait(timeout=60)
    (line,) = run.ledger.runs()
    argv = [sys.executable, "-m", "harness", "resume", line.run]
    resumed = subprocess.run(argv, cwd=run.folder, env=run.environ, capture_output=True, text=True, timeout=600)
    assert (resumed.returncode, "Traceback" in resumed.stderr) == (3, False), resumed.stderr
    return in_the_books(run)


def sweep(run: Run) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "harness", "sweep", "--bench", "ec2", "--region", REGION, "--yes"]
    return subprocess.run(argv, cwd=run.folder, env=run.environ, capture_output=True, text=True, timeout=600)


def in_the_books(run: Run) -> str:
    """The run's name. It has ended, and each host has one verdict, which says nothing of its clock."""
    (line,) = run.ledger.runs()
    hosts = run.ledger.hosts(line.run)
    seen = [(host.host, host.record and host.record.verdict.outcome, host.state) for host in hosts]
    assert seen == [(name, Outcome.INCONCLUSIVE, HostState.RELEASED) for name in run.types], run.said
    assert line.ended
    return line.run


def gone(run: Run) -> None:
    """No process of the run's, no key, record nor stack."""
    wait_for(lambda: not run.ours(), 10, f"{run.folder}: processes are left")
    for name in ("hosts", "keys", "stacks"):
        folder = run.folder / "state/ec2" / name
        assert not folder.exists() or list(folder.iterdir()) == [], folder


def everything(ec2: Any) -> list[str]:
    """All in the Region that an empty account has not, whatever its tags."""
    alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopped"]}]
    instances = ec2.describe_instances(Filters=alive)["Reservations"]
    return [
        *(each["InstanceId"] for one in instances for each in one["Instances"]),
        *(each["GroupName"] for each in ec2.describe_placement_groups()["PlacementGroups"]),
        *(one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"] if one["GroupName"] != "default"),
        *(each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]),
        *(each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]),
    ]


def rule(moment: Moment, types: Sequence[str]) -> dict[str, Any]:
    """That the moment lasts a while, for the first of the hosts."""
    held = {"delay_after_s": HOLD_S} if moment.after else {"delay_s": HOLD_S}
    return {"method": moment.method, "type": moment.type, "name": f"-{types[0]}-1::", "times": 1, **held}


def come(double: Double, moment: Moment, run: Run) -> None:
    """Wait for the moment, and be in the middle of it."""
    if moment.step is not None:
        wait_for(lambda: moment.step in begun(run), 240, f"{moment} did not come", run)
        time.sleep(HOLD_S / 4)
        return
    name = f"-{run.types[0]}-1::"

    def called() -> bool:
        return any(name in urn and moment.type in urn for urn in double.calls(moment.method, "begin"))

    wait_for(called, 240, f"{moment} did not come", run)
    time.sleep(HOLD_S / 2)


def begun(run: Run) -> set[Stage]:
    """The steps that the first host has come to."""
    if not (run.folder / "state/ledger.sqlite").exists():
        return set()
    books = run.ledger
    steps = [step for line in books.runs() for step in books.steps(line.run)]
    books.close()
    return {step.stage for step in steps if step.token.endswith(f"/{run.types[0]}/1")}


def wait_for(come: Callable[[], bool], within_s: float, words: str, run: Run | None = None) -> None:
    give_up = time.monotonic() + within_s
    while not come():
        assert run is None or run.process.poll() is None, f"{words}: {run.said}"
        assert time.monotonic() < give_up, f"{words}{': ' + run.said if run else ''}"
        time.sleep(0.1)


def test_what_a_living_process_works_on_is_left_to_it_and_a_dead_one_s_lock_is_nobody_s(
    double: Double, types: Sequence[Sequence[str]], tmp_path: Path
) -> None:
    run = start(tmp_path / "locked", types[0][:1], slow_ssh=True)
    come(double, Moment(step=Stage.REACH), run)
    run.process.kill()
    run.process.wait(timeout=60)
    wait_for(lambda: not run.ours(), 90, "the engine did not end by itself")
    (line,) = run.ledger.runs()
    stack = f"{line.run}-{types[0][0]}-1"
    lock = run.folder / "state/ec2/backend/.pulumi/locks/organization/ptp-harness" / stack / "another.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["sleep", "600"]) as other:
        theirs = {"pid": other.pid, "username": "ada", "hostname": socket.gethostname()}
        lock.write_text(json.dumps(theirs | {"timestamp": datetime.now(UTC).isoformat()}))
        refused = sweep(run)
        other.kill()
    assert refused.returncode == 4, refused.stderr
    assert f"stack {stack} is locked by process {other.pid} of ada on {socket.gethostname()}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert left(double.ec2(REGION), line.run) != []
    assert killed_and_swept(run) == line.run
    gone(run)
    assert left(double.ec2(REGION), line.run) == []
