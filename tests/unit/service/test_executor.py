"""The executor begins as many processes as there are tasks to begin, and ends though its ledger hangs."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.service import executor
from harness.service.executor import Executor
from harness.store.ledger import Ledger
from harness.store.task_lines import NewTask, QueueLimits, TaskLine
from harness.store.task_queue import TaskQueue
from harness.system import proc

pytestmark = pytest.mark.programs

LIMITS = QueueLimits(tasks=5, per_bench={})
SLOW = "import sys, time; assert sys.stdin.readline() == 'go\\n'; open(sys.argv[1], 'a').write('x'); time.sleep(60)"
"""A process that loads for long: it was told to begin, and has no task yet."""


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[TaskQueue]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield TaskQueue(ledger)
    ledger.close()


@pytest.fixture
def start(tmp_path: Path, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Executor]]:
    """Starts an executor whose processes load for a minute; each notes that it was told to begin."""
    monkeypatch.setattr(executor, "COMMAND", (sys.executable, "-c", SLOW, str(tmp_path / "begun")))
    monkeypatch.setattr(executor, "LOOK_EVERY_S", 0.1)
    mark = {"PTP_TEST_EXECUTOR": str(tmp_path)}
    made: list[Executor] = []

    def start_one() -> Executor:
        made.append(Executor(queue, LIMITS, tmp_path / "log", environ=os.environ | mark))
        made[-1].start()
        return made[-1]

    yield start_one
    for each in made:
        each.stop()
    for process in proc.find_by_environment("PTP_TEST_EXECUTOR", str(tmp_path)):
        proc.end(process, grace_s=0.1)


def submit(queue: TaskQueue) -> TaskLine:
    new = NewTask(document="", campaign={}, bench="ec2", hosts=1, submitter="ada", fingerprint="")
    return queue.submit(new)[0]


def count_begun(folder: Path) -> int:
    return len((folder / "begun").read_text()) if (folder / "begun").exists() else 0


def test_a_task_whose_process_still_loads_gets_no_second_one(
    tmp_path: Path, queue: TaskQueue, start: Callable[[], Executor]
) -> None:
    submit(queue)
    running = start()
    give_up_at = time.monotonic() + 30
    while not count_begun(tmp_path):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    time.sleep(1.0)  # ten looks
    assert (count_begun(tmp_path), running.count_busy()) == (1, 1)
    submit(queue)
    running.wake()
    while count_begun(tmp_path) < 2:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    time.sleep(0.5)
    assert (count_begun(tmp_path), running.count_busy()) == (2, 2)


def test_the_end_of_a_process_is_seen_at_once(
    tmp_path: Path, queue: TaskQueue, start: Callable[[], Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "LOOK_EVERY_S", 60.0)
    submit(queue)
    start()
    give_up_at = time.monotonic() + 30
    while not count_begun(tmp_path):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    for process in proc.find_by_environment("PTP_TEST_EXECUTOR", str(tmp_path)):
        proc.end(process, grace_s=5.0)  # the one that was to take the task, and the one that waits
    while count_begun(tmp_path) < 2:
        assert time.monotonic() < give_up_at, "the task whose process ended is given to the next one"
        time.sleep(0.05)


def test_a_ledger_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, queue: TaskQueue, start: Callable[[], Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, entered = threading.Event(), threading.Event()

    def hang(_limits: QueueLimits) -> int:
        entered.set()
        hangs.wait(60)
        return 0

    monkeypatch.setattr(queue, "count_claimable", hang)
    running = start()
    assert entered.wait(30)
    begun = time.monotonic()
    running.stop()
    assert time.monotonic() - begun < 10
    hangs.set()
