"""Kill the service and its processes, again and again, while campaigns are submitted; see that none is lost or doubled.

    python -m tests.programs.kill_service URL FOLDER [--kills N] [--seed S]

The service is the real command with scripted hosts. Killed by SIGKILL are: the service, a process that waits for a
task, and a process that carries one out; at a chosen point, or at a random moment. A service that died starts again.
Whoever submits gets no answer from a service that was killed, and sends the request again with its key.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import sqlalchemy as sql

from harness.model.tasks import TaskState
from harness.store.ledger import Ledger
from harness.store.tables import RUNS
from harness.store.task_lines import TaskQuery
from harness.store.task_queue import TaskQueue
from harness.system.proc import ProcessId
from tests.doubles.campaign_of_six import Surroundings
from tests.doubles.scripted_bench import ScriptedBench
from tests.servers.scripted_service import ScriptedService, find_processes_of_tasks

OPEN_TASKS = 3
TAKEN_WITHIN_S = 10.0
_PASSED_WITHIN_S = 15.0
_ALL_END_WITHIN_S = 300.0
_MOMENTS = ("before", "not committed", "committed")

POINTS = [
    *(f"serve {work}: {moment}" for work in ("TaskQueue._insert.insert", "AuditLog.add") for moment in _MOMENTS),
    *(f"serve executor: {what}" for what in ("a task may begin", "before a process is made", "a process is made")),
    *(
        f"work {work}: {moment}"
        for work in (
            "Ownership._record",
            "TaskQueue.claim.claim",
            "TaskQueue._take.take",
            "Ledger._insert_run.insert",
            "Ledger.claim.claim",
            "Ledger.begin_step.begin",
            "Ledger._change_host.change_host",
            "Ledger.close_run.close",
            "TaskQueue.finish.finish",
        )
        for moment in _MOMENTS
    ),
    *(f"work bench: {what}" for what in ("make", "made", "remove", "removed")),
    "work evidence: a file",
]
ROLES = ("serve", "waiting", "task")


class Team:
    """Those who submit campaigns to a service that is killed, and look after it."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self.drawn = random.Random(seed)
        self.service = ScriptedService(url, folder)
        self.service.start()
        self.ledger = Ledger(url)
        self.queue = TaskQueue(self.ledger)
        self.keys: list[str] = []
        self.cancelled: set[str] = set()
        self.killed: Counter[str] = Counter()
        self.taken_within_s = 0.0
        self.faults: list[str] = []

    def keep_busy(self) -> None:
        """Submit campaigns until some are open; cancel one now and then."""
        lines = self.queue.list_lines(TaskQuery(), most=200)
        is_open = [line.task for line in lines if not line.state.final]
        for _ in range(OPEN_TASKS - len(is_open)):
            self.submit()
            if is_open and self.drawn.random() < 0.15:
                task = self.drawn.choice(is_open)
                self.cancelled.add(task)
                self.insist(lambda: self.service.ask("POST", f"/v1/tasks/{task}/cancel"))  # noqa: B023

    def submit(self) -> None:
        key = f"request {len(self.keys)}".replace(" ", "-")
        types = [self.drawn.choice(("good", "bad", "lost", "late", "full")) for _ in range(self.drawn.randrange(1, 4))]
        self.keys.append(key)
        campaign = f"instance_types: [{', '.join(types)}]\nparallel: 2\n"
        self.insist(lambda: self.service.submit(campaign, key))

    def insist(self, request: Callable[[], object]) -> None:
        """Send a request until it is answered."""
        while True:
            self.ensure_up()
            with suppress(OSError, HTTPException):
                request()
                return
            time.sleep(0.02)

    def ensure_up(self) -> None:
        """Start a service that died."""
        if not self.service.is_up():
            time.sleep(self.drawn.uniform(0, 0.5))
            self.service.start()

    def kill_at(self, point: str) -> None:
        """Have the next process killed that passes this point, if one does before long."""
        chosen, folder = self.service.folder / "kill-at", self.service.folder
        before = len(list((folder / "killed").iterdir()))
        partial = folder / "kill-at.partial"
        partial.write_text(point)
        partial.rename(chosen)
        give_up_at = time.monotonic() + _PASSED_WITHIN_S
        if "_take" in point:  # a process that takes over is there after another one died
            self.kill_one("task")
        while len(list((folder / "killed").iterdir())) == before and time.monotonic() < give_up_at:
            self.keep_busy()
            time.sleep(0.05)
        chosen.unlink(missing_ok=True)
        if len(list((folder / "killed").iterdir())) > before:
            self.killed[point] += 1

    def kill_one(self, role: str) -> None:
        """Kill a process of this role at a random moment, if there is one before long."""
        time.sleep(self.drawn.uniform(0, 0.4))
        give_up_at = time.monotonic() + _PASSED_WITHIN_S
        while time.monotonic() < give_up_at:
            self.keep_busy()
            processes = self.list_processes(role)
            if processes:
                with suppress(ProcessLookupError):
                    os.kill(self.drawn.choice(processes).pid, signal.SIGKILL)
                    self.killed[f"{role} at a random moment"] += 1
                    return
            time.sleep(0.02)

    def list_processes(self, role: str) -> list[ProcessId]:
        if role == "waiting":
            return self.service.list_waiting(self.ledger)
        if role == "task":
            return [each for each in find_processes_of_tasks(self.ledger).values() if each.alive()]
        return [each for each in self.service.list_processes() if each.pid == self.service.process.pid]  # type: ignore[union-attr]

    def see_taken_up(self) -> None:
        """Wait until each task of a dead process is another's; the service is up again by then."""
        self.ensure_up()
        dead = {task: owner for task, owner in find_processes_of_tasks(self.ledger).items() if not owner.alive()}
        begun = time.monotonic()
        while dead:
            time.sleep(0.05)
            self.ensure_up()
            now = find_processes_of_tasks(self.ledger)
            dead = {task: owner for task, owner in dead.items() if now.get(task) == owner}
            if time.monotonic() - begun > 3 * TAKEN_WITHIN_S:
                self.faults.append(f"nobody goes on with {sorted(dead)}")
                return
        self.taken_within_s = max(self.taken_within_s, time.monotonic() - begun)

    def wait_for_all(self) -> None:
        """Wait until all tasks have ended, then end the service; its processes end then, too."""
        give_up_at = time.monotonic() + _ALL_END_WITHIN_S
        while any(not line.state.final for line in self.queue.list_lines(TaskQuery(), most=10_000)):
            self.ensure_up()
            if time.monotonic() > give_up_at:
                self.faults.append("not all tasks end")
                break
            time.sleep(0.1)
        self.ensure_up()
        if (status := self.service.stop()) != 0:
            self.faults.append(f"the service ended with {status}")
        time.sleep(0.5)
        ends_by = time.monotonic() + TAKEN_WITHIN_S
        while (left := self.service.list_processes()) and time.monotonic() < ends_by:
            time.sleep(0.05)
        if left:
            self.faults.append(f"{len(left)} processes are left")

    def find_faults(self) -> list[str]:
        """Name all that does not hold at the end."""
        lines = self.queue.list_lines(TaskQuery(), most=10_000)
        faults = list(self.faults)
        if len(lines) != len(self.keys):
            faults.append(f"{len(self.keys)} campaigns were submitted, and there are {len(lines)} tasks")
        query = sql.select(RUNS.c.task)
        runs = Counter(self.ledger.database.read(lambda db: db.execute(query).scalars().all()))
        for line in lines:
            cancelled = line.task in self.cancelled
            if line.state is not TaskState.ENDED and not (cancelled and line.state is TaskState.CANCELLED):
                faults.append(f"task {line.task} is {line.state}: {line.problem}")
            if runs[line.task] != 1 and not (cancelled and not runs[line.task]):
                faults.append(f"task {line.task} has {runs[line.task]} runs")
            if line.state is TaskState.ENDED and (line.outcome is None or line.exit_code is None):
                faults.append(f"task {line.task} has no outcome")
        if None in runs:
            faults.append("there is a run of no task")
        bench = ScriptedBench(self.service.folder / "bench", 1)
        faults += [f"there is {token}" for token in bench.list_made()]
        here = Surroundings(
            self.ledger.database.url.render_as_string(hide_password=False), bench, self.service.folder, 1
        )
        for run in self.ledger.runs():
            faults += here.find_faults_of_run(run, {})
        return [*faults, *here.find_faults_of_all()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the URL of a ledger that is this program's alone")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    team = Team(options.url, options.folder, options.seed)
    try:
        points: list[str] = []
        tries = 0
        while team.killed.total() < options.kills and tries < 2 * options.kills:
            tries += 1
            points = points or team.drawn.sample(POINTS, len(POINTS))
            team.keep_busy()
            if team.drawn.random() < 0.5:
                team.kill_at(points.pop())
            else:
                team.kill_one(team.drawn.choice(ROLES))
            team.see_taken_up()
        team.wait_for_all()
        faults = team.find_faults()
    finally:
        team.service.close()
        team.ledger.close()
    said = {"kills": team.killed.total(), "points": team.killed, "tasks": len(team.keys), "faults": faults}
    print(json.dumps(said | {"taken_within_s": round(team.taken_within_s, 2), "cancelled": len(team.cancelled)}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
