"""Schedules: each time makes one task, whichever services look, and nothing that prevents it is silent."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from harness.errors import RequestError
from harness.model.tasks import TaskState
from harness.store import schedules as schedules_module
from harness.store.ledger import Ledger
from harness.store.schedules import (
    DuePass,
    NewSchedule,
    ScheduleLine,
    Schedules,
    TakenScheduleError,
    UnknownScheduleError,
)
from harness.store.task_lines import TaskQuery
from harness.store.task_queue import FullQueueError, TaskQueue
from tests.unit.store.test_task_queue import LIMITS, NEW, lose_answers

OpenLedger = Callable[[], Ledger]
NIGHTLY = NewSchedule(
    name="nightly", cron="0 2 * * *", zone="Europe/Berlin", document="a: 1\n", submitter="ada", priority=2
)
FUTURE = 4 * 10**18


@pytest.fixture
def schedules(ledger: Ledger) -> Schedules:
    return Schedules(ledger.database)


def due_pass(line: ScheduleLine, **changes: object) -> DuePass:
    task = replace(NEW, idempotency_key=f"schedule {line.name} {line.due_ns}", schedule=line.name)
    usual = DuePass(time_ns=line.due_ns, next_ns=line.due_ns + 1, missed=0, task=task)
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_a_schedule_comes_back_as_it_was_added(schedules: Schedules) -> None:
    line = schedules.add(NIGHTLY, due_ns=FUTURE)
    assert schedules.find("nightly") == line
    assert (line.cron, line.zone, line.submitter, line.priority) == ("0 2 * * *", "Europe/Berlin", "ada", 2)
    assert (line.due_ns, line.missed, line.paused, line.last_ns, line.last_task) == (FUTURE, 0, False, None, None)
    assert schedules.document("nightly") == "a: 1\n"
    assert schedules.list_due()[1] == []


def test_a_name_is_given_once(schedules: Schedules) -> None:
    schedules.add(NIGHTLY, due_ns=FUTURE)
    with pytest.raises(TakenScheduleError, match="there is a schedule 'nightly' already"):
        schedules.add(replace(NIGHTLY, document="other"), due_ns=1)
    schedules.remove("nightly")
    schedules.add(replace(NIGHTLY, document="other"), due_ns=FUTURE)
    assert schedules.document("nightly") == "other"


@pytest.mark.parametrize("name", ["", "Nightly", "a b", "../x", "a\0", "x" * 64, "-a", "é"])
def test_a_text_that_is_no_name_is_no_schedule(schedules: Schedules, name: str) -> None:
    with pytest.raises(RequestError, match="is no name of a schedule"):
        schedules.add(replace(NIGHTLY, name=name), due_ns=1)
    for look in (schedules.find, schedules.document, schedules.remove, schedules.pause):
        with pytest.raises(UnknownScheduleError, match="there is no schedule"):
            look(name)


def test_there_are_so_many_and_no_more(schedules: Schedules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules_module, "MOST_SCHEDULES", 2)
    for name in ("b", "a"):
        schedules.add(replace(NIGHTLY, name=name), due_ns=FUTURE)
    with pytest.raises(TakenScheduleError, match="there are 2 schedules already"):
        schedules.add(NIGHTLY, due_ns=1)
    assert [line.name for line in schedules.list_lines()] == ["a", "b"]
    assert [line.name for line in schedules.list_lines(after="a")] == ["b"]
    assert [line.name for line in schedules.list_lines(most=1)] == ["a"]


def test_a_time_makes_one_task_whoever_sees_it(open_ledger: OpenLedger) -> None:
    services = [Schedules(open_ledger().database) for _ in range(4)]
    services[0].add(NIGHTLY, due_ns=1000)
    barrier = threading.Barrier(8)

    def look_at_once(number: int) -> list[str]:
        now, due = services[number % 4].list_due()
        assert now > 10**18
        barrier.wait(30)
        tasks = [services[number % 4].pass_due(line, due_pass(line)) for line in due]
        return [task.task for task in tasks if task is not None]

    for number in range(1, 4):
        with ThreadPoolExecutor(8) as threads:
            made = [task for tasks in threads.map(look_at_once, range(8)) for task in tasks]
        line = services[1].find("nightly")
        assert made == [line.last_task]
        assert (line.last_ns, line.due_ns, line.last_problem) == (999 + number, 1000 + number, None)
        begin = TaskQueue(open_ledger()).claim(LIMITS)
        assert begin is not None
        assert (begin.task, begin.schedule, begin.submitter) == (made[0], "nightly", "ada")


def test_a_pass_whose_answer_was_lost_made_its_task_once(
    schedules: Schedules, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(ledger, monkeypatch)
    line = schedules.add(NIGHTLY, due_ns=1000)
    made = schedules.pass_due(line, due_pass(line))
    assert made is not None
    assert [task.task for task in TaskQueue(ledger).list_lines()] == [made.task]
    assert schedules.pass_due(line, due_pass(line)) is None
    schedules.remove("nightly")


def test_no_second_task_waits_behind_one_of_the_time_before(schedules: Schedules, ledger: Ledger) -> None:
    first = schedules.add(NIGHTLY, due_ns=1000)
    made = schedules.pass_due(first, due_pass(first))
    assert made is not None
    second = schedules.find("nightly")
    assert schedules.pass_due(second, due_pass(second)) is None
    line = schedules.find("nightly")
    assert line.last_problem == f"no new task, since task {made.task} of the time before still waits"
    assert (line.last_task, line.last_ns, line.due_ns) == (made.task, 1001, 1002)
    assert TaskQueue(ledger).claim(LIMITS) is not None
    assert schedules.pass_due(line, due_pass(line)) is not None
    assert schedules.find("nightly").last_problem is None
    assert len(TaskQueue(ledger).list_lines(TaskQuery(schedule="nightly"))) == 2


def test_what_prevents_a_task_is_kept_and_the_next_time_comes(schedules: Schedules, ledger: Ledger) -> None:
    line = schedules.add(NIGHTLY, due_ns=1000)
    problem = "there is no type \0" + "x" * 5000
    assert schedules.pass_due(line, due_pass(line, task=None, problem=problem, missed=3)) is None
    line = schedules.find("nightly")
    assert (line.missed, line.last_task, line.due_ns, line.last_ns) == (3, None, 1001, 1000)
    assert line.last_problem is not None
    assert line.last_problem.startswith("there is no type ")
    assert len(line.last_problem) < 2100
    TaskQueue(ledger).submit(NEW)
    with pytest.raises(FullQueueError):
        schedules.pass_due(line, due_pass(line), most_waiting=1)
    assert schedules.find("nightly") == line, "nothing changed: the caller notes the problem"
    schedules.pass_due(line, due_pass(line, missed=2), most_waiting=2)
    assert schedules.find("nightly").missed == 5


def test_a_schedule_that_was_changed_meanwhile_makes_no_task(schedules: Schedules, ledger: Ledger) -> None:
    line = schedules.add(NIGHTLY, due_ns=1000)
    schedules.pause("nightly")
    assert schedules.list_due()[1] == []
    assert schedules.pass_due(line, due_pass(line)) is None
    assert schedules.go_on("nightly", due_ns=1000).paused is False
    schedules.remove("nightly")
    assert schedules.pass_due(line, due_pass(line)) is None
    again = schedules.add(NIGHTLY, due_ns=1000)
    if again.created_ns != line.created_ns:
        assert schedules.pass_due(line, due_pass(line)) is None, "it is another one of the same name"
    assert TaskQueue(ledger).list_lines() == []


def test_a_schedule_that_is_never_due_again_is_paused(schedules: Schedules) -> None:
    line = schedules.add(NIGHTLY, due_ns=1000)
    assert schedules.pass_due(line, due_pass(line, next_ns=None)) is not None
    assert schedules.find("nightly").paused


def test_a_name_of_a_task_that_is_taken_is_drawn_again(
    schedules: Schedules, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = TaskQueue(ledger).submit(NEW)[0].task
    names = iter([taken, taken, "bbbbbb"])
    monkeypatch.setattr(schedules_module, "draw_name", lambda _characters: next(names))
    line = schedules.add(NIGHTLY, due_ns=1000)
    made = schedules.pass_due(line, due_pass(line))
    assert made is not None
    assert (made.task, made.state) == ("bbbbbb", TaskState.QUEUED)
