"""The queue of tasks keeps its promises in a file and in a server: each task once, in order, within limits."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sql

from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.store import task_rows
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.tables import OWNERS, TASKS
from harness.store.task_claims import TaskUse, count_startable, pause_after_death_s
from harness.store.task_lines import NewTask, QueueLimits, TaskLine, TaskPlace, TaskQuery
from harness.store.task_queue import FullQueueError, RepeatedKeyError, TaskQueue, UnknownTaskError
from tests.unit.store.test_owners import end_lease, quick

__all__ = ["quick"]

OpenLedger = Callable[[], Ledger]
NEW = NewTask(
    document="instance_types: [lab.phc]\n",
    campaign={"instance_types": ["lab.phc"], "bench": "lab"},
    bench="lab",
    hosts=1,
    submitter="ada",
    fingerprint="f" * 64,
    expected_s=90.0,
)
LIMITS = QueueLimits(tasks=100, per_bench={})


@pytest.fixture
def queue(ledger: Ledger) -> TaskQueue:
    return TaskQueue(ledger)


def submit(queue: TaskQueue, **changes: object) -> TaskLine:
    return queue.submit(replace(NEW, **changes))[0]  # type: ignore[arg-type]


def claim(queue: TaskQueue, limits: QueueLimits = LIMITS) -> TaskLine:
    line = queue.claim(limits)
    assert line is not None
    return line


# -- submitting


def test_a_task_comes_back_as_it_was_submitted(queue: TaskQueue) -> None:
    line, new = queue.submit(replace(NEW, priority=3, schedule="nightly"))
    assert new
    assert queue.find(line.task) == replace(line, position=1)
    assert (line.state, line.bench, line.hosts, line.expected_s) == (TaskState.QUEUED, "lab", 1, 90.0)
    assert (line.submitter, line.priority, line.schedule, line.attempt) == ("ada", 3, "nightly", 0)
    assert (line.run, line.begun_ns, line.ended_ns, line.cancelled_by, line.outcome) == (None,) * 5
    assert queue.document(line.task) == NEW.document
    assert queue.campaign(line.task) == NEW.campaign


@pytest.mark.parametrize("name", ["nosuch", "", "a'; --", "\u202e" * 50])
def test_an_unknown_task_is_one_sentence(queue: TaskQueue, name: str) -> None:
    for look in (queue.find, queue.document, queue.campaign, lambda task: queue.cancel(task, by="ada")):
        with pytest.raises(UnknownTaskError, match="there is no task"):
            look(name)


def test_a_request_that_comes_again_gets_the_same_task(queue: TaskQueue) -> None:
    first, new = queue.submit(replace(NEW, idempotency_key="k1"))
    again, new_again = queue.submit(replace(NEW, idempotency_key="k1"))
    assert (again.task, new, new_again) == (first.task, True, False)
    queue.cancel(first.task, by="ada")
    assert queue.submit(replace(NEW, idempotency_key="k1"))[0].state is TaskState.CANCELLED
    with pytest.raises(RepeatedKeyError, match=r"'k1' came before, with another request"):
        queue.submit(replace(NEW, idempotency_key="k1", fingerprint="e" * 64))
    other, _ = queue.submit(replace(NEW, idempotency_key="k1", submitter="bob"))
    assert other.task != first.task
    assert submit(queue).task != submit(queue).task, "without a key, each request is a new one"


def test_one_request_in_sixteen_threads_makes_one_task(open_ledger: OpenLedger) -> None:
    queues = [TaskQueue(open_ledger()) for _ in range(4)]
    barrier = threading.Barrier(16)

    def submit_at_once(number: int) -> tuple[TaskLine, bool]:
        barrier.wait(30)
        return queues[number % 4].submit(replace(NEW, idempotency_key="same"))

    with ThreadPoolExecutor(16) as threads:
        submitted = [*threads.map(submit_at_once, range(16))]
    assert len({line.task for line, _ in submitted}) == 1
    assert sum(new for _, new in submitted) == 1
    assert len(queues[0].list_lines()) == 1


def test_a_name_in_use_is_drawn_again(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr("harness.store.task_queue.draw_name", lambda _characters: next(names))
    assert [submit(queue).task, submit(queue).task] == ["aaaaaa", "bbbbbb"]


def test_a_submission_whose_answer_was_lost_is_there_once(
    queue: TaskQueue, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(ledger, monkeypatch)
    for key in (None, "k"):
        line, new = queue.submit(replace(NEW, idempotency_key=key), most_waiting=2)
        assert new, "it is the first"
        assert queue.find(line.task).task == line.task
    assert len(queue.list_lines()) == 2


def test_so_many_tasks_of_a_submitter_wait_and_no_more(open_ledger: OpenLedger) -> None:
    queues = [TaskQueue(open_ledger()) for _ in range(4)]
    barrier, refused = threading.Barrier(12), []

    def submit_at_once(number: int) -> None:
        barrier.wait(30)
        try:
            queues[number % 4].submit(NEW, most_waiting=5)
        except FullQueueError as error:
            refused.append(error.message)

    with ThreadPoolExecutor(12) as threads:
        [*threads.map(submit_at_once, range(12))]
    assert refused == ["5 campaigns of ada wait already"] * 7
    assert len(queues[0].list_lines()) == 5
    queues[0].submit(replace(NEW, submitter="bob"), most_waiting=5)
    claim(queues[0])
    queues[0].submit(NEW, most_waiting=5)


# -- the order, and places in it


def test_the_highest_priority_is_first_then_the_oldest(queue: TaskQueue) -> None:
    names = {}
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5)):
        names[submit(queue, priority=priority, document=name).task] = name
        wait_for_the_next_millisecond()
    waiting = queue.list_queue()
    assert [names[line.task] for line in waiting] == ["b", "e", "a", "c", "d"]
    assert [line.position for line in waiting] == [1, 2, 3, 4, 5]
    listed = {line.task: line.position for line in queue.list_lines()}
    assert listed == {line.task: line.position for line in waiting}
    assert [queue.find(line.task).position for line in waiting] == [1, 2, 3, 4, 5]
    begun = [claim(queue) for _ in range(5)]
    assert [names[line.task] for line in begun] == ["b", "e", "a", "c", "d"]
    assert queue.claim(LIMITS) is None
    assert [line.position for line in queue.list_queue()] == [None] * 5


def test_what_runs_stands_before_what_waits(queue: TaskQueue) -> None:
    for _ in range(3):
        submit(queue)
        wait_for_the_next_millisecond()
    first = claim(queue)
    listed = queue.list_queue()
    assert [(line.state, line.position) for line in listed] == [
        (TaskState.RUNNING, None),
        (TaskState.QUEUED, 1),
        (TaskState.QUEUED, 2),
    ]
    assert listed[0].task == first.task


# -- lists


def page_through(queue: TaskQueue, most: int, query: TaskQuery | None = None) -> list[str]:
    listed: list[TaskLine] = []
    after: TaskPlace | None = None
    while page := queue.list_lines(query or TaskQuery(), after=after, most=most):
        listed += page
        after = TaskPlace(submitted_ns=page[-1].submitted_ns, task=page[-1].task)
    return [line.task for line in listed]


@pytest.mark.parametrize("most", [1, 3, 7, 50])
def test_pages_name_each_task_once_also_of_one_moment(queue: TaskQueue, ledger: Ledger, most: int) -> None:
    tasks = {submit(queue).task for _ in range(20)}
    same_moment = TASKS.update().where(TASKS.c.task.in_(sorted(tasks)[:12])).values(submitted_ns=10**18)
    ledger.database.write(lambda db: db.execute(same_moment))
    listed = page_through(queue, most)
    assert len(listed) == 20
    assert {*listed} == tasks


def test_a_list_goes_on_in_its_place_while_tasks_come(queue: TaskQueue) -> None:
    old = []
    for _ in range(6):
        old.append(submit(queue).task)
        wait_for_the_next_millisecond()
    first = queue.list_lines(most=3)
    submit(queue)
    after = TaskPlace(submitted_ns=first[-1].submitted_ns, task=first[-1].task)
    assert [line.task for line in [*first, *queue.list_lines(after=after)]] == old[::-1]


def test_tasks_are_chosen_by_each_condition(queue: TaskQueue) -> None:
    lab = submit(queue, schedule="nightly")
    wait_for_the_next_millisecond()
    campaign = {"instance_types": ["m7i.large", 'od"d%_']}
    cloud = submit(queue, bench="ec2", submitter="bob", site="rack7", campaign=campaign)
    by = {
        "state": (TaskState.QUEUED, [cloud, lab]),
        "bench": ("lab", [lab]),
        "submitter": ("bob", [cloud]),
        "site": ("rack7", [cloud]),
        "schedule": ("nightly", [lab]),
        "instance_type": ("m7i.large", [cloud]),
        "since_ns": (cloud.submitted_ns, [cloud]),
        "until_ns": (lab.submitted_ns, [lab]),
    }
    for name, (value, expected) in by.items():
        query = TaskQuery(**{name: value})  # type: ignore[arg-type]
        assert [line.task for line in queue.list_lines(query)] == [line.task for line in expected], name
    for nothing in ("m7i", "%", "m7i.larg_", '"'):
        assert queue.list_lines(TaskQuery(instance_type=nothing)) == []
    claimed = claim(queue)
    queue.finish(claimed, TaskState.ENDED, exit_code=1, outcome=Outcome.FAIL)
    assert [line.task for line in queue.list_lines(TaskQuery(outcome=Outcome.FAIL))] == [lab.task]
    assert queue.list_lines(TaskQuery(outcome=Outcome.FAIL, state=TaskState.QUEUED)) == []


# -- claiming, and limits


def test_a_claimed_task_runs_and_belongs_to_its_process(queue: TaskQueue) -> None:
    submitted = submit(queue)
    line = claim(queue)
    assert (line.task, line.state, line.attempt, line.position) == (submitted.task, TaskState.RUNNING, 1, None)
    assert line.begun_ns is not None
    assert line.begun_ns >= submitted.submitted_ns


def test_a_task_of_another_site_is_not_claimed_here(queue: TaskQueue) -> None:
    submit(queue, site="rack7")
    assert (queue.count_claimable(LIMITS), queue.claim(LIMITS)) == (0, None)


def test_limits_hold_back_a_full_bench_and_a_busy_submitter_and_let_others_by(queue: TaskQueue) -> None:
    for bench, submitter in (("lab", "ada"), ("lab", "bob"), ("ec2", "ada"), ("ec2", "ada"), ("ec2", "bob")):
        submit(queue, bench=bench, submitter=submitter)
        wait_for_the_next_millisecond()
    limits = QueueLimits(tasks=4, per_bench={"lab": 1}, per_submitter=2)
    assert queue.count_claimable(limits) == 3
    begun = [claim(queue, limits) for _ in range(3)]
    assert [(line.bench, line.submitter) for line in begun] == [("lab", "ada"), ("ec2", "ada"), ("ec2", "bob")]
    assert (queue.count_claimable(limits), queue.claim(limits)) == (0, None), "ada has two, and the lab is full"
    queue.finish(begun[0], TaskState.ENDED)
    assert queue.count_claimable(limits) == 2
    assert {(line.bench, line.submitter) for line in (claim(queue, limits), claim(queue, limits))} == {
        ("lab", "bob"),
        ("ec2", "ada"),
    }
    submit(queue, bench="ec2", submitter="cid")
    assert queue.claim(limits) is None, "four run already"
    assert claim(queue, replace(limits, tasks=5)).submitter == "cid"


def test_how_many_may_begin_is_counted_in_the_order_of_turns() -> None:
    limits = QueueLimits(tasks=3, per_bench={"lab": 1}, per_submitter=2)
    names = (("lab", "ada"), ("lab", "bob"), ("ec2", "ada"), ("ec2", "ada"), ("ec2", "bob"), ("ec2", "cid"))
    waiting = [TaskUse(bench, submitter) for bench, submitter in names]
    assert count_startable([], waiting, limits) == 3
    assert count_startable([TaskUse("lab", "ada")], waiting, limits) == 2
    assert count_startable([TaskUse("ec2", "ada"), TaskUse("ec2", "ada")], waiting, limits) == 1
    assert count_startable([TaskUse("ec2", "eve")] * 3, waiting, limits) == 0
    assert count_startable([TaskUse("ec2", "eve")] * 4, waiting, limits) == 0
    assert count_startable([], [], limits) == 0
    assert count_startable([], waiting, QueueLimits(tasks=9, per_bench={})) == 6


def test_what_other_machines_carry_out_counts_where_it_is_shared() -> None:
    limits = QueueLimits(tasks=2, per_bench={"lab": 1, "ec2": 2}, per_submitter=3)
    lab, ec2 = TaskUse("lab", "ada"), TaskUse("ec2", "ada")
    elsewhere = [TaskUse("lab", "bob", here=False), TaskUse("ec2", "bob", here=False)]
    assert count_startable(elsewhere, [lab, lab, ec2], limits) == 2, (
        "a guest of another machine leaves room for one here"
    )
    assert count_startable([*elsewhere, ec2], [ec2, lab], limits) == 1, "the account is one for all machines"
    assert count_startable(elsewhere * 2, [TaskUse("lab", "bob")], limits) == 0, "bob has too many, wherever they run"


def test_a_lab_task_that_died_on_another_machine_waits_for_that_machine(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.store.owners.LEASE_S", 2.0)
    monkeypatch.setattr("harness.store.owners.HEARTBEAT_S", 0.2)
    limits = QueueLimits(tasks=5, per_bench={})
    dead, other = open_ledger(), open_ledger()
    for bench in ("lab", "ec2"):
        submit(TaskQueue(dead), bench=bench)
        claim(TaskQueue(dead), limits)
    dead.close()
    gone = {"machine": "elsewhere.example", "place": "elsewhere", "until_ns": now_ns() - 1}
    here = OWNERS.c.owner == dead.owner
    other.database.write(lambda db: db.execute(OWNERS.update().where(here).values(gone)))
    queue = TaskQueue(other)
    assert queue.count_claimable(limits) == 1
    taken = queue.take_over()
    assert taken is not None
    assert taken.bench == "ec2"
    assert (queue.count_claimable(limits), queue.take_over()) == (0, None)


def test_threads_claim_each_task_once_and_within_limits(open_ledger: OpenLedger) -> None:
    queues = [TaskQueue(open_ledger()) for _ in range(3)]
    for number in range(24):
        submit(queues[0], bench=("lab", "ec2")[number % 2], submitter=("ada", "bob", "cid")[number % 3])
    limits = QueueLimits(tasks=5, per_bench={"lab": 2}, per_submitter=2)
    barrier = threading.Barrier(12)

    def claim_at_once(number: int) -> TaskLine | None:
        barrier.wait(30)
        return queues[number % 3].claim(limits)

    ended: list[str] = []
    with ThreadPoolExecutor(12) as threads:
        for _ in range(24):
            claimed = [line for line in threads.map(claim_at_once, range(12)) if line is not None]
            running = [line for line in queues[0].list_queue() if line.state is TaskState.RUNNING]
            assert sorted(line.task for line in claimed) == sorted(line.task for line in running)
            assert len(running) <= 5
            assert sum(line.bench == "lab" for line in running) <= 2
            assert max((sum(other.submitter == line.submitter for other in running) for line in running), default=0) < 3
            for line in claimed:
                next(queue for queue in queues if owns(queue, line)).finish(line, TaskState.ENDED)
            ended += [line.task for line in claimed]
            if not claimed:
                break
    assert len(ended) == len({*ended}) == 24


def test_a_claim_whose_answer_was_lost_is_the_one_that_comes_back(
    queue: TaskQueue, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {submit(queue).task for _ in range(3)}
    before = claim(queue)
    lose_answers(ledger, monkeypatch)
    claimed = [claim(queue), claim(queue)]
    assert {before.task, *(line.task for line in claimed)} == tasks
    assert {line.attempt for line in claimed} == {1}
    assert queue.claim(LIMITS) is None
    for line in claimed:
        queue.finish(line, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
        assert queue.find(line.task).exit_code == 0


# -- the death of a process, and fencing


def test_a_task_of_a_living_process_is_not_taken_over(open_ledger: OpenLedger) -> None:
    first, second = TaskQueue(open_ledger()), TaskQueue(open_ledger())
    submit(first)
    claim(first)
    assert (second.take_over(), second.count_claimable(LIMITS)) == (None, 0)


def test_a_process_of_another_machine_is_watched_then_fenced(quick: None, open_ledger: OpenLedger) -> None:
    ledgers = [open_ledger(), open_ledger(), open_ledger()]
    first, second, third = map(TaskQueue, ledgers)
    submit(first)
    line = claim(first)
    end_lease(ledgers[0])
    watched: list[float] = []
    taken = second.take_over(watched.append)
    assert watched[0] == pytest.approx(2.0, abs=0.5)
    assert taken is not None
    assert (taken.task, taken.attempt, taken.begun_ns) == (line.task, 2, line.begun_ns)
    assert third.take_over() is None
    with pytest.raises(OwnershipLostError, match=rf"task {line.task} is no longer ours: process \d+ leads it"):
        first.finish(line, TaskState.ENDED)
    with pytest.raises(OwnershipLostError, match=f"task {line.task} is no longer ours"):
        ledgers[0].open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"}, task=line.task)
    first.give_back(line)
    assert second.find(line.task) == taken, "nothing changed"
    run = ledgers[1].open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"}, task=line.task)
    second.finish(taken, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
    ended = third.find(line.task)
    assert (ended.state, ended.run, ended.outcome, ended.attempt) == (TaskState.ENDED, run, Outcome.PASS, 2)


def test_of_two_that_take_over_one_does(quick: None, open_ledger: OpenLedger) -> None:
    dead = open_ledger()
    submit(TaskQueue(dead))
    claim(TaskQueue(dead))
    end_lease(dead)
    queues = [TaskQueue(open_ledger()) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        taken = [line for line in threads.map(TaskQueue.take_over, queues) if line is not None]
    assert [line.attempt for line in taken] == [2]


def test_a_task_that_kills_its_processes_waits_longer_each_time() -> None:
    assert [pause_after_death_s(attempt) for attempt in (0, 1, 4)] == [0, 0, 0]
    assert [pause_after_death_s(attempt) for attempt in (5, 6, 7, 10, 11, 10**6)] == [10, 20, 40, 320, 600, 600]


def test_a_task_has_one_run(ledger: Ledger, queue: TaskQueue) -> None:
    submit(queue)
    line = claim(queue)
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"}, task=line.task)
    assert queue.find(line.task).run == run
    with pytest.raises(sql.exc.IntegrityError):
        ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"}, task=line.task)


# -- the end of a task


def test_a_task_that_waits_is_cancelled_at_once(queue: TaskQueue) -> None:
    task = submit(queue).task
    line = queue.cancel(task, by="bob")
    assert (line.state, line.cancelled_by, line.ended_ns is not None) == (TaskState.CANCELLED, "bob", True)
    assert queue.cancel(task, by="cid") == line, "the first who cancels is recorded"
    assert (queue.claim(LIMITS), queue.count_claimable(LIMITS)) == (None, 0)


def test_a_task_that_runs_is_asked_to_end(queue: TaskQueue) -> None:
    submit(queue)
    line = claim(queue)
    assert not queue.is_cancelled(line.task)
    asked = queue.cancel(line.task, by="bob")
    assert (asked.state, asked.cancelled_by, asked.ended_ns) == (TaskState.RUNNING, "bob", None)
    assert queue.is_cancelled(line.task)
    assert queue.cancel(line.task, by="cid").cancelled_by == "bob"
    queue.finish(line, TaskState.CANCELLED, exit_code=3, outcome=Outcome.INCONCLUSIVE)
    assert queue.cancel(line.task, by="cid") == queue.find(line.task)


@pytest.mark.parametrize("state", [TaskState.ENDED, TaskState.FAILED, TaskState.CANCELLED])
def test_a_task_that_has_ended_stays_as_it_is(queue: TaskQueue, state: TaskState) -> None:
    submit(queue)
    line = claim(queue)
    queue.finish(line, state, exit_code=2, problem="it had \0 no room" * 1000)
    ended = queue.find(line.task)
    assert (ended.state, ended.exit_code, ended.cancelled_by) == (state, 2, None)
    assert ended.problem is not None
    assert "\0" not in ended.problem
    assert len(ended.problem) < 2100
    assert queue.cancel(line.task, by="bob") == ended
    with pytest.raises(OwnershipLostError):
        queue.finish(line, TaskState.CANCELLED if state is not TaskState.CANCELLED else TaskState.ENDED)
    queue.finish(line, state)  # as after a commit whose answer was lost
    queue.give_back(line)
    assert queue.find(line.task) == ended


def test_a_task_that_was_given_back_waits_in_its_old_place(open_ledger: OpenLedger) -> None:
    first, second = TaskQueue(open_ledger()), TaskQueue(open_ledger())
    submitted = submit(first)
    wait_for_the_next_millisecond()
    submit(first)
    line = claim(first)
    first.give_back(line)
    waiting = second.find(submitted.task)
    assert (waiting.state, waiting.position, waiting.begun_ns, waiting.attempt) == (TaskState.QUEUED, 1, None, 1)
    again = claim(second)
    assert (again.task, again.attempt) == (submitted.task, 2)
    with pytest.raises(OwnershipLostError):
        first.finish(line, TaskState.ENDED)


def test_a_task_that_was_given_back_while_it_was_cancelled_is_cancelled(queue: TaskQueue) -> None:
    submit(queue)
    line = claim(queue)
    queue.cancel(line.task, by="bob")
    queue.give_back(line)
    given_back = queue.find(line.task)
    assert (given_back.state, given_back.cancelled_by) == (TaskState.CANCELLED, "bob")
    assert given_back.ended_ns is not None


@pytest.mark.parametrize("seed", range(4))
def test_a_task_is_cancelled_or_claimed_never_both(open_ledger: OpenLedger, seed: int) -> None:
    claims, cancels = TaskQueue(open_ledger()), TaskQueue(open_ledger())
    tasks = [submit(claims, document=str(seed)).task for _ in range(10)]
    barrier = threading.Barrier(2)

    def cancel_all() -> None:
        barrier.wait(30)
        for task in tasks[::-1]:
            cancels.cancel(task, by="bob")

    thread = threading.Thread(target=cancel_all)
    thread.start()
    barrier.wait(30)
    claimed: list[TaskLine] = []
    while (line := claims.claim(LIMITS)) is not None:
        claimed.append(line)
    thread.join()
    lines = {line.task: line for line in claims.list_lines()}
    assert all(line.cancelled_by == "bob" for line in lines.values())
    assert {line.task for line in claimed} == {name for name, line in lines.items() if not line.state.final}
    assert all(lines[line.task].state is TaskState.RUNNING for line in claimed)


def owns(queue: TaskQueue, line: TaskLine) -> bool:
    owner = sql.select(TASKS.c.owner).where(TASKS.c.task == line.task)
    ledger = queue.ledger
    return bool(ledger.database.read(lambda db: db.execute(owner).scalar()) == ledger.owner)


def lose_answers(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transaction is committed, its answer lost, and then made again."""
    usual = ledger.database.write

    def twice(work: Callable[[sql.Connection], object]) -> object:
        usual(work)
        return usual(work)

    monkeypatch.setattr(ledger.database, "write", twice)


def wait_for_the_next_millisecond() -> None:
    """SQLite's time has steps of a millisecond."""
    threading.Event().wait(0.002)


def test_the_lines_of_tasks_hold_no_document(queue: TaskQueue) -> None:
    """A list of tasks reads no campaigns, which may have half a megabyte each."""
    names: Sequence[str] = [column.name for column in task_rows.LINES.selected_columns]
    assert not {"document", "campaign", "fingerprint", "idempotency_key"} & {*names}
