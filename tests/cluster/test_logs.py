"""`cluster logs` on a real cluster whose nodes rotate logs all the time: each line comes once, or its loss is told."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lightkube.codecs import from_dict
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.cluster.jobs import RUN_LABEL, PodOptions, make_suite_job, make_tests_coordinator
from tests.cluster.conftest import SPACE, Team, serve_team
from tests.servers import scripted_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

ROTATIONS = 20
KUBELET = {"containerLogMaxSize": "24Ki", "containerLogMaxFiles": 2, "containerLogMonitorInterval": "3s"}
"""A node looks at the sizes of logs each three seconds, the shortest that kubelet takes."""

PRINT = """
import sys, time
from harness.cluster.line_count import counting_lines
tag, lines, every_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with counting_lines():
    for number in range(lines):
        print(f"{tag} {number:06} {'.' * 80}", file=sys.stderr if number % 3 == 0 else sys.stdout)
        if number % 10 == 9:
            time.sleep(every_s)
"""
"""Prints numbered lines on both streams."""

RESTARTS = (
    PRINT
    + """
from pathlib import Path
mark = Path("/var/lib/ptp-harness/begun")
begun = int(mark.read_text()) if mark.exists() else 0
mark.write_text(str(begun + 1))
if begun < 2:
    sys.exit(1)
"""
)
GAP = re.compile(r"-- ([0-9]+) lines? up to here cannot be had: ")


@pytest.fixture(scope="module")
def rotating(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A namespace of a cluster whose nodes keep little of each log."""
    with serve_team(images, tmp_path_factory.mktemp("team"), kubelet=KUBELET) as team:
        yield team


@pytest.fixture
def team(rotating: Team) -> Iterator[Team]:
    yield rotating
    rotating.clean()


def start_printing(team: Team, run: str, program: str, lines: int, every_s: float, **pod: Any) -> None:
    """Make the Jobs of a run whose pods print numbered lines: two of a coordinator, and one of a suite."""
    options = PodOptions(image=scripted_image.NAME, pull="Never")
    coordinator = make_tests_coordinator(run, [], options)
    made = team.admin.create(print_instead(coordinator, program, "leads", lines, every_s, **pod), namespace=SPACE)
    suite = make_suite_job(run, "shared", 0, options, pods=1, hosts_per_pod=1, owner=made)
    team.admin.create(print_instead(suite, program, "works", lines, every_s, **pod), namespace=SPACE)


def print_instead(job: Job, program: str, tag: str, lines: int, every_s: float, **more: Any) -> Job:
    """Let the pods of a Job carry out a program of Python."""
    described = job.to_dict()
    pod = described["spec"]["template"]["spec"]
    pod["containers"][0]["command"] = ["python3", "-c", program]
    pod["containers"][0]["args"] = [tag, str(lines), str(every_s)]
    pod["containers"][0].pop("envFrom")
    pod.update(more)
    if more.get("restartPolicy") == "OnFailure":
        for key in ("podFailurePolicy", "podReplacementPolicy"):
            described["spec"].pop(key, None)
    document: Any = {"apiVersion": "batch/v1", "kind": "Job", **described}
    made = from_dict(document)
    assert isinstance(made, Job)
    return made


class RotationCounter:
    """Counts how often nodes rotate logs, by the names of the files that they make.

    `firsts`: the numbers of the lines with which the files of a pod's log begin. What kubelet does not give to whoever
    follows a log are the last lines of a file, written when the next one was there already.
    """

    def __init__(self, team: Team) -> None:
        self._folders = [team.cluster.machines[node].folder / "log/pods" for node in team.cluster.nodes]
        self._seen: dict[Path, set[str]] = {}
        self.firsts: dict[str, set[int]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        while not self._ended.wait(0.2):
            for folder in self._folders:
                for file in folder.glob("*/harness/*.log.*"):
                    name = file.name.removesuffix(".gz").removesuffix(".tmp")
                    names = self._seen.setdefault(file.parent.parent, set())
                    if name not in names:
                        names.add(name)
                        self._read_first(file.parent / f"{name.partition('.')[0]}.log")

    def _read_first(self, file: Path) -> None:
        """Read the first line of the file that is written now, once it is there."""
        for _ in range(50):
            with suppress(OSError, ValueError, IndexError):
                with file.open() as log:
                    line = log.readline()
                if line.endswith("\n"):
                    self.firsts.setdefault(file.parent.parent.name.split("_")[1], set()).add(int(line.split()[4]))
                    return
            time.sleep(0.02)

    def end(self) -> list[int]:
        """How often the log of each pod was rotated."""
        self._ended.set()
        self._thread.join()
        return [len(names) for names in self._seen.values()]


def split_by_pod(text: str) -> dict[str, list[str]]:
    """What `cluster logs` printed, by pod; it told nothing beside."""
    by_pod: dict[str, list[str]] = {}
    for row in text.splitlines():
        pod, _, line = row.partition("  ")
        by_pod.setdefault(pod, []).append(line)
    assert [pod for pod in by_pod if not pod.startswith("ptp-")] == [], text[-3000:]
    return by_pod


def count_lines(lines: list[str], expected: int) -> tuple[int, int]:
    """The lines of a pod are in order, each once; those that are not there were told. Return how many came and lack."""
    gaps = [int(gap[1]) for line in lines if (gap := GAP.match(line))]
    numbers = [int(line.split()[1]) for line in lines if not GAP.match(line)]
    assert numbers == sorted({*numbers}), "in order, each once"
    came, lacking = len(numbers), sum(gaps)
    assert came + lacking == expected, f"{came} lines came, {lacking} were told to lack, {expected} were printed"
    return came, lacking


def test_each_line_comes_once_through_twenty_rotations(
    team: Team, record_property: Callable[[str, object], None]
) -> None:
    counter = RotationCounter(team)
    start_printing(team, "rotate", PRINT, lines := 7000, 0.1)
    team.cluster.wait_for(lambda: count_running(team, "rotate") == 3, "all pods print")
    done = team.call("logs", "rotate")
    rotations = counter.end()
    assert done.returncode == 0, done.stderr
    by_pod = split_by_pod(done.stdout)
    assert len(by_pod) == 3, [*by_pod]
    counts = [count_lines(printed, lines) for printed in by_pod.values()]
    assert "lines so far" not in done.stdout
    assert min(rotations) >= ROTATIONS, rotations
    lacking, all_lines = sum(lacks for _, lacks in counts), 3 * lines
    record_property(
        "counted",
        f"{all_lines} lines through {sum(rotations)} rotations of three logs: {lacking} lacked, as was told",
    )
    for pod, printed in by_pod.items():
        numbers = [int(line.split()[1]) for line in printed if not GAP.match(line)]
        behind_gaps = {after for before, after in pairwise(numbers) if after != before + 1}
        assert behind_gaps <= counter.firsts[pod], "kubelet alone lost lines: the last ones of a file"


def count_running(team: Team, run: str) -> int:
    pods = team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run})
    return sum(bool(pod.status and pod.status.phase == "Running") for pod in pods)


def test_what_was_rotated_away_before_anybody_read_it_is_told(team: Team) -> None:
    """Whoever comes late gets what the node has kept, and hears how much that is not."""
    start_printing(team, "late", PRINT, 2500, 0.05)
    job = "ptp-late"
    team.cluster.wait_for(lambda: has_ended(team, job), "the pods have printed", within_s=120)
    time.sleep(7)  # the last rotation
    done = team.call("logs", "late", "--no-follow")
    for pod, printed in split_by_pod(done.stdout).items():
        came, lacking = count_lines(printed, 2500)
        assert came > 0, pod
        assert lacking > 1000, pod
        assert printed[0].split()[0] in ("leads", "works") or GAP.match(printed[0])


def has_ended(team: Team, job: str) -> bool:
    status = team.admin.get(Job, job, namespace=SPACE).status
    return bool(status and status.succeeded)


def test_a_container_that_is_started_again_loses_no_line(team: Team) -> None:
    """Its log begins anew; that of the one before is read to its end first."""
    start_printing(team, "again", RESTARTS, 100, 1.0, restartPolicy="OnFailure")
    done = team.call("logs", "again")
    assert done.returncode == 0, done.stderr
    by_pod = split_by_pod(done.stdout)
    assert len(by_pod) == 3
    for printed in by_pod.values():
        numbers = [int(line.split()[1]) for line in printed]
        assert numbers == [*range(100)] * 3, printed[:3]


def test_a_break_of_the_connection_loses_no_line(team: Team) -> None:
    start_printing(team, "breaks", PRINT, 2000, 0.1)
    argv = [sys.executable, "-m", "harness", "cluster", "logs", "breaks"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(argv, env=team.environ(), text=True, **output)
    cut = threading.Event()

    def cut_often() -> None:
        while not cut.wait(4):
            team.cluster.api.cut_all()

    thread = threading.Thread(target=cut_often, daemon=True)
    thread.start()
    text, _ = process.communicate(timeout=200)
    cut.set()
    thread.join()
    assert process.returncode == 0
    for printed in split_by_pod(text).values():
        count_lines(printed, 2000)
