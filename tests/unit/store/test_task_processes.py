"""Processes that carry out tasks are killed and stopped: nothing is lost or done twice, nobody writes too late."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.model.tasks import TaskState
from harness.store.ledger import Ledger
from harness.store.tables import OWNERS
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from tests.unit.store.test_task_queue import LIMITS, NEW, submit

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.programs


class Worker:
    """A process that carries out tasks, step by step."""

    def __init__(self, url: str, limits: QueueLimits = LIMITS) -> None:
        argv = [sys.executable, "-m", "tests.programs.task_worker", url, json.dumps(asdict(limits))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def do(self, step: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{step}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(ledger_url: str) -> Iterator[StartWorker]:
    with ExitStack() as stack:

        def start(limits: QueueLimits = LIMITS) -> Worker:
            worker = Worker(ledger_url, limits)
            stack.callback(worker.kill)
            return worker

        yield start


def test_a_task_of_a_killed_process_is_taken_over_and_its_run_goes_on(
    ledger: Ledger, start_worker: StartWorker
) -> None:
    queue = TaskQueue(ledger)
    task = submit(queue).task
    first, second = start_worker(), start_worker()
    assert first.do("claim") == {"task": task, "attempt": 1, "run": None}
    run = first.do("open_run")["run"]
    assert second.do("take_over") is None, "it lives"
    assert second.do("claim") is None
    first.kill()
    assert queue.count_claimable(QueueLimits(tasks=1, per_bench={})) == 1
    begun = time.monotonic()
    assert second.do("take_over") == {"task": task, "attempt": 2, "run": run}
    assert time.monotonic() - begun < 5, "a process of this machine is not watched for a lease"
    assert second.do("finish") == {"finished": task}
    assert (queue.find(task).state, queue.find(task).attempt) == (TaskState.ENDED, 2)


def test_a_process_that_was_stopped_for_long_has_lost_its_task(ledger: Ledger, start_worker: StartWorker) -> None:
    """It is one of another machine for those who take over: nobody can see there whether it lives."""
    queue = TaskQueue(ledger)
    task = submit(queue).task
    stopped = start_worker()
    stopped.do("claim")
    stopped.process.send_signal(signal.SIGSTOP)
    values = {"until_ns": 1, "beat_ns": 1, "place": "elsewhere"}
    ledger.database.write(lambda db: db.execute(OWNERS.update().where(OWNERS.c.owner != ledger.owner).values(values)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.store.owners.LEASE_S", 1.0)
        taken = queue.take_over()
    assert taken is not None
    stopped.process.send_signal(signal.SIGCONT)
    for step in ("finish", "open_run"):
        assert stopped.do(step)["error"].startswith(f"OwnershipLostError: task {task} is no longer ours: process ")
    stopped.do("give_back")
    assert queue.find(task) == taken
    assert ledger.runs() == []


def test_processes_drain_the_queue_within_its_limits(ledger: Ledger, start_worker: StartWorker) -> None:
    queue = TaskQueue(ledger)
    tasks = [
        submit(queue, bench=("lab", "ec2")[number % 2], submitter=("ada", "bob", "cid")[number % 3]).task
        for number in range(30)
    ]
    workers = [start_worker(QueueLimits(tasks=4, per_bench={"lab": 1}, per_submitter=2)) for _ in range(3)]
    assert [worker.do("take_over") for worker in workers] == [None, None, None], "all are loaded"
    done: list[str] = []
    most: Counter[str] = Counter()
    while any(not line.state.final for line in queue.list_queue()):
        with ThreadPoolExecutor(3) as threads:
            for result in threads.map(lambda worker: worker.do("drain"), workers):
                done += result["done"]
                most |= Counter(result["most"])
    assert sorted(done) == sorted(tasks), "each once"
    assert most["all"] <= 4
    assert most["lab"] <= 1
    assert max(most[name] for name in ("ada", "bob", "cid")) <= 2
    assert most["all"] > 1, "they worked at once"


SUBMITS = """
import sys
from dataclasses import replace
from harness.store.ledger import Ledger
from harness.store.task_queue import TaskQueue
from tests.unit.store.test_task_queue import NEW
queue = TaskQueue(Ledger(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    line, new = queue.submit(replace(NEW, idempotency_key=f"k{number}"))
    print(line.task, new)
"""


def test_one_request_at_several_services_makes_one_task(ledger_url: str) -> None:
    Ledger(ledger_url).close()
    argv = [sys.executable, "-c", SUBMITS, ledger_url]
    pipe = subprocess.PIPE
    services = [subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for service in services:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
    said = [service.communicate("go\n", timeout=120)[0].splitlines() for service in services]
    assert [service.returncode for service in services] == [0] * 3
    answers = [line.split() for lines in said for line in lines]
    assert len(answers) == 60
    assert len({task for task, _ in answers}) == 20
    assert sum(new == "True" for _, new in answers) == 20


@pytest.mark.slow
def test_tasks_survive_workers_that_are_killed_again_and_again(ledger: Ledger, start_worker: StartWorker) -> None:
    queue = TaskQueue(ledger)
    tasks = {submit(queue).task for _ in range(12)}
    limits = replace(LIMITS, tasks=3)
    killed = 0
    deadline = time.monotonic() + 200
    while any(not line.state.final for line in queue.list_queue()):
        assert time.monotonic() < deadline
        worker = start_worker(limits)
        if worker.do("take_over") is None and worker.do("claim") is None:
            worker.kill()  # a dead process is watched for a moment before its task is taken over
            continue
        if killed < 6 and killed % 2:
            threading.Timer(0.002 * killed, worker.process.kill).start()
            with suppress(OSError, ValueError):
                worker.do("finish")
        elif killed >= 6:
            while worker.do("finish") and (worker.do("take_over") or worker.do("claim")):
                pass
        worker.kill()
        killed += 1
    lines = {line.task: line for line in queue.list_lines()}
    assert {*lines} == tasks
    assert {line.state for line in lines.values()} == {TaskState.ENDED}
    assert queue.submit(NEW)[1]
