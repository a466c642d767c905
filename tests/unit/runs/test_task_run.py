"""A task is carried out by one process: its run begins once, goes on where one died, ends when it is cancelled."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.campaign import campaign, stored
from harness.errors import SetupError
from harness.model import HostState, Outcome
from harness.model.tasks import TaskState
from harness.runs import leftovers, task_run
from harness.runs.context import RunControls
from harness.runs.prepare import Benches
from harness.runs.qualification import Qualification
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.tables import OWNERS
from harness.store.task_lines import NewTask, QueueLimits, TaskLine
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings, assets_dir
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.scripted_bench import ScriptedBench

LIMITS = QueueLimits(tasks=10, per_bench={})


class Process:
    """One process that carries out tasks: a ledger, a bench's connection and controls of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.settings = Settings(state_dir=folder, cache_dir=folder, assets_dir=assets_dir(), ledger=url)
        self.ledger, self.bench = Ledger(url), ScriptedBench(folder / "bench", seed=1, refuses=0)
        self.queue, self.controls = TaskQueue(self.ledger), RunControls(listener=lambda _event: None)
        self.benches = Benches(make_bench=lambda _campaign: self.bench, resolve_types=lambda named, _campaign: named)

    def submit(self, *types: str) -> str:
        requested = campaign.from_mapping({"instance_types": types})
        new = NewTask(
            document="", campaign=stored.to_document(requested), bench="lab", hosts=1, submitter="ada", fingerprint=""
        )
        line, _ = self.queue.submit(new)
        return line.task

    def claim(self) -> TaskLine:
        line = self.queue.claim(LIMITS)
        assert line is not None
        return line

    def carry_out(self, line: TaskLine) -> TaskState:
        return task_run.carry_out(line, self.ledger, self.settings, self.benches, self.controls)

    def die(self) -> None:
        """As if this process were one of another machine, and had renewed no lease for long."""
        self.ledger.close()
        values = {"until_ns": now_ns() - 1, "place": "elsewhere"}
        update = OWNERS.update().where(OWNERS.c.owner == self.ledger.owner).values(values)
        self.ledger.database.write(lambda db: db.execute(update))


@pytest.fixture(autouse=True)
def without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_ssh(monkeypatch)
    monkeypatch.setattr("harness.store.owners.LEASE_S", 1.0)
    monkeypatch.setattr("harness.store.owners.HEARTBEAT_S", 0.2)
    monkeypatch.setattr("harness.runs.task_run.LOOK_EVERY_S", 0.05)


@pytest.fixture
def start(tmp_path: Path, ledger_url: str) -> Callable[[], Process]:
    return lambda: Process(tmp_path, ledger_url)


def test_a_task_ends_with_the_worst_outcome_of_its_run(start: Callable[[], Process]) -> None:
    process = start()
    task = process.submit("good", "bad", "good")
    assert process.carry_out(process.claim()) is TaskState.ENDED
    line = process.queue.find(task)
    assert (line.state, line.outcome, line.exit_code, line.problem) == (TaskState.ENDED, Outcome.INCONCLUSIVE, 3, None)
    assert line.run is not None
    assert [host.state for host in process.ledger.hosts(line.run)] == [HostState.RELEASED] * 3
    assert line.begun_ns is not None
    assert line.ended_ns is not None
    assert line.submitted_ns <= line.begun_ns <= line.ended_ns


def test_what_prevents_a_run_is_the_problem_of_its_task(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    task = process.submit("good")

    def fail(*_arguments: object) -> None:
        raise SetupError("QEMU is missing", next_step="install it")

    monkeypatch.setattr(process.bench, "prepare", fail)
    assert process.carry_out(process.claim()) is TaskState.FAILED
    line = process.queue.find(task)
    assert (line.state, line.run, line.exit_code) == (TaskState.FAILED, None, 2)
    assert line.problem == "QEMU is missing (install it)"


def test_a_fault_of_ours_ends_the_task_and_is_raised(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    task = process.submit("good")
    monkeypatch.setattr(process.bench, "terms", lambda _types: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        process.carry_out(process.claim())
    line = process.queue.find(task)
    assert (line.state, line.problem) == (TaskState.FAILED, "our fault: ZeroDivisionError: division by zero")


def test_another_process_goes_on_with_the_run_of_a_dead_one(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, other = start(), start()
    task = dead.submit("good", "good")
    line = dead.claim()
    with monkeypatch.context() as patch:
        patch.setattr("harness.runs.campaign_run.end", _raise_system_exit)
        with pytest.raises(SystemExit):
            dead.carry_out(line)
    run = dead.queue.find(task).run
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None
    assert (taken.task, taken.run, taken.attempt) == (task, run, 2)
    assert other.carry_out(taken) is TaskState.ENDED
    ended = other.queue.find(task)
    assert (ended.run, ended.outcome, ended.exit_code) == (run, Outcome.PASS, 0)
    assert [each.run for each in other.ledger.runs()] == [run]
    assert other.bench.list_made() == []


def test_a_process_that_died_after_the_end_of_its_run_leaves_the_end_of_the_task_to_another(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, other = start(), start()
    task = dead.submit("good")
    line = dead.claim()
    with monkeypatch.context() as patch:
        patch.setattr(TaskQueue, "finish", _raise_system_exit)
        with pytest.raises(SystemExit):
            dead.carry_out(line)
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None
    assert other.carry_out(taken) is TaskState.ENDED
    assert other.queue.find(task).outcome is Outcome.PASS
    assert len(other.ledger.runs()) == 1


def test_a_process_that_lost_its_task_begins_no_run(start: Callable[[], Process]) -> None:
    paused, other = start(), start()
    paused.submit("good")
    line = paused.claim()
    paused.die()
    taken = other.queue.take_over()
    assert taken is not None
    again = Process(paused.settings.state_dir, paused.settings.ledger_url)
    with pytest.raises(OwnershipLostError, match=f"task {line.task} is no longer ours"):
        again.carry_out(line)
    assert other.ledger.runs() == []
    assert other.carry_out(taken) is TaskState.ENDED


def test_a_cancelled_task_releases_its_hosts_and_says_who_cancelled_it(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, begun = start(), threading.Event()
    task = process.submit("good", "good", "good")

    def hold(*arguments: object) -> None:
        begun.set()
        assert process.controls.stop.wait(60)

    monkeypatch.setattr("harness.runs.steps.StepRecorder.pause", hold, raising=True)
    monkeypatch.setattr(process.bench, "prepare", hold)
    with ThreadPoolExecutor(1) as pool:
        carrying = pool.submit(process.carry_out, process.claim())
        assert begun.wait(60)
        assert process.queue.cancel(task, by="bob").state is TaskState.RUNNING
        assert carrying.result(60) is TaskState.CANCELLED
    line = process.queue.find(task)
    assert (line.state, line.cancelled_by, line.exit_code) == (TaskState.CANCELLED, "bob", 130)
    assert process.bench.list_made() == []


def _raise_system_exit(*_arguments: object, **_more: object) -> None:
    """Stands for the death of the process, which no handler of errors may catch."""
    raise SystemExit


def test_a_task_that_was_cancelled_before_its_run_began_begins_none(start: Callable[[], Process]) -> None:
    dead, other = start(), start()
    task = dead.submit("good")
    dead.claim()
    dead.queue.cancel(task, by="bob")
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None
    assert other.carry_out(taken) is TaskState.CANCELLED
    line = other.queue.find(task)
    assert (line.state, line.run, line.outcome, line.problem) == (TaskState.CANCELLED, None, None, None)
    assert other.ledger.runs() == []


def test_a_cancelled_run_that_goes_on_removes_the_hosts_of_the_process_that_died(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, other = start(), start()
    task = dead.submit("good", "bad")
    die_while_hosts_run(dead, monkeypatch)
    assert len(dead.bench.list_made()) == 2
    dead.queue.cancel(task, by="bob")
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None
    assert other.carry_out(taken) is TaskState.CANCELLED
    assert other.bench.list_made() == []
    assert (other.queue.find(task).outcome, other.queue.find(task).exit_code) == (Outcome.INCONCLUSIVE, 130)


@pytest.mark.parametrize("fault", [SetupError("QEMU is missing"), ZeroDivisionError("no")], ids=["setup", "ours"])
def test_a_run_that_cannot_go_on_is_ended_and_leaves_no_host(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    dead, other = start(), start()
    task = dead.submit("good", "bad")
    die_while_hosts_run(dead, monkeypatch)
    run = dead.queue.find(task).run
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None

    def fail(*_arguments: object) -> None:
        raise fault

    monkeypatch.setattr(other.bench, "prepare", fail)
    if isinstance(fault, SetupError):
        assert other.carry_out(taken) is TaskState.FAILED
    else:
        with pytest.raises(ZeroDivisionError):
            other.carry_out(taken)
    line = other.queue.find(task)
    assert (line.state, line.run) == (TaskState.FAILED, run)
    assert str(fault) in str(line.problem)
    assert "left" not in str(line.problem)
    assert other.bench.list_made() == []
    assert run is not None
    record = other.ledger.record(run)
    assert record is not None
    assert [host.verdict.outcome for host in record.hosts] == [Outcome.INCONCLUSIVE] * 2


def test_what_a_run_that_cannot_go_on_leaves_is_named(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, other = start(), start()
    task = dead.submit("good")
    die_while_hosts_run(dead, monkeypatch)
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None

    def fail(*_arguments: object) -> None:
        raise SetupError("the cloud is away")

    monkeypatch.setattr(other.bench, "prepare", fail)
    monkeypatch.setattr(other.bench, "release", fail)
    assert other.carry_out(taken) is TaskState.FAILED
    problem = str(other.queue.find(task).problem)
    assert problem.startswith("the cloud is away; left: ")
    assert "good/1" in problem
    assert "`ptp-harness sweep --yes`" in problem


def test_a_task_whose_processes_died_too_often_is_given_up(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, other = start(), start()
    task = dead.submit("good")
    die_while_hosts_run(dead, monkeypatch)
    dead.die()
    monkeypatch.setattr("harness.runs.task_run.MOST_ATTEMPTS", 1)
    taken = other.queue.take_over()
    assert taken is not None
    assert other.carry_out(taken) is TaskState.FAILED
    assert str(other.queue.find(task).problem).startswith(f"1 processes died of the task {task}")
    assert other.bench.list_made() == []


def test_a_run_that_a_person_goes_on_with_ends_its_task(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, person, other = start(), start(), start()
    task = dead.submit("good")
    die_while_hosts_run(dead, monkeypatch)
    run = dead.queue.find(task).run
    assert run is not None
    dead.die()
    taken = other.queue.take_over()
    assert taken is not None
    person.ledger.take_over(run)
    with ThreadPoolExecutor(1) as pool:
        carrying = pool.submit(other.carry_out, taken)
        bench = person.bench
        assert leftovers.end_run(run, person.ledger, bench) == []
        assert carrying.result(60) is TaskState.ENDED
    assert other.queue.find(task).outcome is Outcome.INCONCLUSIVE
    assert [each.run for each in other.ledger.runs()] == [run]


def die_while_hosts_run(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim a task, and die once all its hosts run."""
    with monkeypatch.context() as patch:
        patch.setattr("harness.runs.qualification.Qualification.qualify", _observe_and_exit)
        with pytest.raises(SystemExit):
            process.carry_out(process.claim())


def _observe_and_exit(host: Qualification) -> None:
    host.provision()
    raise SystemExit
