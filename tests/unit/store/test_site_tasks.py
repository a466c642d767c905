"""Tasks of sites in the ledger: who follows each, what its site said of it, and how it ends; on both databases."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.model import HostState, Outcome
from harness.model.tasks import TaskState
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.site_hosts import HostNews, list_runs_with_kept, record_news
from harness.store.site_tasks import SENT, SiteTasks
from harness.store.task_lines import QueueLimits, TaskLine
from harness.store.task_queue import TaskQueue
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.unit.store.test_owners import end_lease, quick
from tests.unit.store.test_task_queue import NEW

__all__ = ["quick"]

OpenLedger = Callable[[], Ledger]


@pytest.fixture
def queue(ledger: Ledger) -> TaskQueue:
    return TaskQueue(ledger)


@pytest.fixture
def tasks(ledger: Ledger) -> SiteTasks:
    return SiteTasks(ledger)


def submit(queue: TaskQueue, site: str | None = "rack7", **changes: object) -> str:
    return queue.submit(replace(NEW, site=site, **changes))[0].task  # type: ignore[arg-type]


def claim(tasks: SiteTasks, task: str) -> TaskLine:
    line = tasks.claim(task)
    assert line is not None
    return line


def test_open_tasks_are_listed_by_site_in_the_order_of_their_turns(queue: TaskQueue, tasks: SiteTasks) -> None:
    first, urgent, other = submit(queue), submit(queue, priority=5), submit(queue, "aws")
    submit(queue, None)
    ended = submit(queue)
    tasks.finish(claim(tasks, ended), TaskState.ENDED)
    assert [line.task for line in tasks.list_open("rack7")] == [urgent, first]
    assert {line.task for line in tasks.list_open()} == {urgent, first, other}
    tasks.note_remote(claim(tasks, first), "r1", run="abcdef", running=True)
    assert tasks.count_open() == {"rack7": (1, 1), "aws": (1, 0)}


def test_no_process_of_the_hub_itself_carries_out_a_task_of_a_site(queue: TaskQueue, tasks: SiteTasks) -> None:
    task = submit(queue)
    limits = QueueLimits(tasks=10, per_bench={})
    assert (queue.claim(limits), queue.take_over(), queue.count_claimable(limits)) == (None, None, 0)
    tasks.note_remote(claim(tasks, task), "r1", run=None, running=True)
    assert (queue.claim(limits), queue.take_over(), queue.count_claimable(limits)) == (None, None, 0)


def test_one_living_process_follows_a_task(
    queue: TaskQueue, tasks: SiteTasks, ledger: Ledger, open_ledger: OpenLedger, quick: None
) -> None:
    task = submit(queue)
    ours = claim(tasks, task)
    assert (ours.attempt, claim(tasks, task).attempt) == (1, 1)
    other = open_ledger()
    assert SiteTasks(other).claim(task) is None
    end_lease(ledger)
    theirs = SiteTasks(other).claim(task)
    assert theirs is not None
    assert theirs.attempt == 2
    for change in (
        lambda: tasks.note_waiting(ours, "x"),
        lambda: tasks.note_sending(ours),
        lambda: tasks.note_remote(ours, "r", run=None, running=True),
        lambda: tasks.finish(ours, TaskState.ENDED),
    ):
        with pytest.raises(OwnershipLostError):
            change()
    SiteTasks(other).finish(theirs, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
    line = TaskQueue(other).find(task)
    assert (line.state, line.exit_code, line.outcome) == (TaskState.ENDED, 0, Outcome.PASS)
    assert line.ended_ns is not None
    assert SiteTasks(other).claim(task) is None


def test_a_task_that_was_not_sent_is_cancelled_at_once(queue: TaskQueue, tasks: SiteTasks) -> None:
    task = submit(queue)
    line = claim(tasks, task)
    assert queue.cancel(task, by="ada").state is TaskState.CANCELLED
    with pytest.raises(OwnershipLostError):
        tasks.note_sending(line)


def test_a_task_that_may_be_at_its_site_is_asked_to_end(queue: TaskQueue, tasks: SiteTasks) -> None:
    task = submit(queue)
    line = claim(tasks, task)
    assert tasks.note_sending(line)
    cancelled = queue.cancel(task, by="ada")
    assert (cancelled.state, cancelled.cancelled_by, cancelled.remote_task) == (TaskState.QUEUED, "ada", SENT)
    assert queue.cancel(task, by="eve").cancelled_by == "ada"
    assert not tasks.note_sending(line)
    tasks.note_remote(line, "r1", run="abcdef", running=True)
    assert (queue.find(task).state, queue.find(task).run) == (TaskState.RUNNING, "abcdef")
    tasks.finish(line, TaskState.CANCELLED, exit_code=130)
    assert queue.find(task).state is TaskState.CANCELLED


def test_what_prevents_a_task_is_told_until_it_goes_on(queue: TaskQueue, tasks: SiteTasks) -> None:
    task = submit(queue)
    line = claim(tasks, task)
    tasks.note_waiting(line, "site rack7 is away\x1b[2J")
    waiting = queue.find(task)
    assert (waiting.state, waiting.position, waiting.problem) == (
        TaskState.QUEUED,
        1,
        "site rack7 is away\\x1b[2J",
    )
    tasks.note_remote(line, "r1", run=None, running=False)
    assert (queue.find(task).problem, queue.find(task).begun_ns) == (None, None)
    tasks.note_remote(line, "r1", run="abcdef", running=True)
    begun_ns = queue.find(task).begun_ns
    tasks.note_remote(line, "r1", run="abcdef", running=True)
    assert queue.find(task).begun_ns == begun_ns is not None


def test_an_imported_run_is_that_of_one_task(queue: TaskQueue, tasks: SiteTasks, ledger: Ledger) -> None:
    task, other = submit(queue), submit(queue)
    run = add_run(ledger)
    assert tasks.link_run(claim(tasks, task), run)
    assert tasks.link_run(claim(tasks, task), run)
    assert not tasks.link_run(claim(tasks, other), run)
    assert (queue.find(task).run, queue.find(other).run) == (run, None)
    assert (tasks.find_site(run), tasks.find_site("zzzz")) == ("rack7", None)
    tasks.note_remote(claim(tasks, other), "r2", run="abcdef", running=True)
    assert tasks.find_site("abcdef") == "rack7"


def test_what_a_site_tells_of_kept_hosts_is_noted(queue: TaskQueue, tasks: SiteTasks, ledger: Ledger) -> None:
    run = add_run(ledger, {"a": MadeUpHost(state=HostState.KEPT), "b": MadeUpHost(state=HostState.KEPT)})
    assert list_runs_with_kept(ledger.database, "rack7") == []
    tasks.link_run(claim(tasks, submit(queue)), run)
    assert list_runs_with_kept(ledger.database, "rack7") == [run]
    record_news(
        ledger.database,
        run,
        {
            "a": HostNews(state=HostState.RELEASED, kept_until_ns=None),
            "b": HostNews(state=HostState.KEPT, kept_until_ns=5 * 10**18, kept_by="ada"),
            "nobody": HostNews(state=HostState.KEPT, kept_until_ns=None),
        },
    )
    a, b = ledger.hosts(run)
    assert (a.state, a.record and a.record.state) == (HostState.RELEASED, HostState.RELEASED)
    assert (b.state, b.kept_until_ns, b.kept_by) == (HostState.KEPT, 5 * 10**18, "ada")


def test_a_task_has_its_place_among_those_of_its_site(queue: TaskQueue) -> None:
    here, first, second = submit(queue, None), submit(queue), submit(queue)
    assert [queue.find(task).position for task in (here, first, second)] == [1, 1, 2]
    assert [(line.task, line.position) for line in queue.list_queue()] == [(here, 1), (first, 1), (second, 2)]
