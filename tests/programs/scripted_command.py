"""The command `ptp-harness` whose lab has scripted hosts, and which is killed at chosen points.

    PTP_TEST_FOLDER=FOLDER python -m tests.programs.scripted_command ARGUMENT...

Everything but what is done by SSH is real: the service, the processes of its executor, ledger, events, evidence. Hosts
are files in FOLDER/bench, or those of a server that PTP_TEST_BENCH_URL names. A file FOLDER/kill-at with a text kills,
by SIGKILL, the next process that passes a point whose name begins with it; the process moves the file to FOLDER/killed
first. Names of points begin with the command: `serve TaskQueue._insert.insert: committed`, `work bench: made`.
"""

import os
import signal
import sys
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import wiring
from harness.benches.bench import Bench
from harness.cli import app
from harness.model import Stage
from harness.runs.qualification import Qualification
from harness.service import executor
from harness.store import task_claims
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from harness.system import proc
from harness.system.settings import LAB_CACHE
from tests.doubles import bench_server
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.scripted_bench import ScriptedBench
from tests.programs.kill_everywhere import watch_points

FOLDER = "PTP_TEST_FOLDER"
STAGE_S = "PTP_TEST_STAGE_S"
"""How long each stage on a host takes, s."""


@dataclass(frozen=True)
class ChosenPoint:
    """Kills this process at the point that the folder names."""

    folder: Path
    command: str

    def __call__(self, point: str) -> None:
        chosen, passed = self.folder / "kill-at", f"{self.command} {point}"
        try:
            begins = chosen.read_text()
            if not begins or not passed.startswith(begins):
                return
            chosen.rename(self.folder / "killed" / str(os.getpid()))
        except FileNotFoundError:
            return  # no point is chosen, or another process was killed there
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, seconds = Path(os.environ[FOLDER]), float(os.environ.get(STAGE_S, "0.05"))
    command = "serve" if "serve" in sys.argv[1:2] else "work"
    point = ChosenPoint(folder, command)

    def make_bench(_name: str, *_more: Any, regions: Collection[str] | None = None, **_named: Any) -> Bench:
        assert regions is None
        if bench_server.URL in os.environ:
            return bench_server.RemoteBench(os.environ[bench_server.URL], folder / "bench")
        return ScriptedBench(folder / "bench", 1, point, refuses=0.0)

    with pytest.MonkeyPatch.context() as patch:
        leave_out_ssh(patch)
        patch.setattr(wiring, "bench", make_bench)
        if "coordinate" in sys.argv[1:]:
            patch.setenv(LAB_CACHE, str(folder))  # pods of scripted hosts need no part of the lab
        patch.setattr(executor, "COMMAND", (sys.executable, "-m", "tests.programs.scripted_command"))
        patch.setattr(task_claims, "pause_after_death_s", lambda _attempt: 0.0)  # of tasks that kill their processes
        if seconds:
            patch.setattr(Qualification, "observe", _observe_for(seconds))
        watch_points(patch, point)
        _watch_executor(patch, point)
        app.main()


def _observe_for(seconds: float):  # type: ignore[no-untyped-def]
    """As without SSH, but each stage takes its time."""

    def observe(host: Qualification, _cleanup: ExitStack) -> None:
        if not host.provision():
            return
        for stage in (Stage.REACH, Stage.CONFIGURE, Stage.MEASURE):
            with host.steps.step(stage) as progress:
                progress(f"{stage} of {host.token}")
                host.steps.pause(seconds)
                host.collected.folder.write(f"{stage}.txt", str(host.token))

    return observe


def _watch_executor(patch: pytest.MonkeyPatch, point: ChosenPoint) -> None:
    """Make points of what an executor does: it finds a task, tells a process to take it, makes the next process."""
    count_claimable, spawn = TaskQueue.count_claimable, proc.spawn

    def watched_count(queue: TaskQueue, limits: QueueLimits) -> int:
        number = count_claimable(queue, limits)
        if number:
            point("executor: a task may begin")
        return number

    def watched_spawn(*arguments: Any, **more: Any) -> proc.ProcessId:
        point("executor: before a process is made")
        process = spawn(*arguments, **more)
        point("executor: a process is made")
        return process

    patch.setattr(TaskQueue, "count_claimable", watched_count)
    patch.setattr(proc, "spawn", watched_spawn)


if __name__ == "__main__":
    main()
