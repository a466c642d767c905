"""Carry out a task: begin the run of its campaign, or go on with the run that a dead process began."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.campaign import stored
from harness.errors import HarnessError
from harness.model import Outcome, RunRecord
from harness.model.tasks import TaskState
from harness.report.exit_codes import exit_code_of
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.prepare import Benches, Prepared, prepare, prepare_resolved
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.task_lines import TaskLine
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings

LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)

WORST_FIRST = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED, Outcome.PASS)


def carry_out(line: TaskLine, ledger: Ledger, settings: Settings, benches: Benches, controls: RunControls) -> TaskState:
    """Carry out a task of this process, and record its end; return its final state.

    An error before the run began is recorded as the problem of the task. Somebody who cancels the task sets
    `controls.stop`. Raises OwnershipLostError where another process has the task by now.
    """
    queue = TaskQueue(ledger)
    try:
        with _stopping_when_cancelled(line.task, queue, controls.stop):
            record = _lead(line, ledger, settings, benches, controls)
    except OwnershipLostError:
        raise
    except HarnessError as error:
        queue.finish(line, TaskState.FAILED, exit_code=int(error.exit_code), problem=str(error))
        return TaskState.FAILED
    except Exception as error:
        queue.finish(line, TaskState.FAILED, problem=f"our fault: {type(error).__name__}: {error}")
        raise
    state = TaskState.CANCELLED if queue.is_cancelled(line.task) else TaskState.ENDED
    queue.finish(line, state, exit_code=int(exit_code_of(record)), outcome=find_worst(record))
    return state


def find_worst(record: RunRecord) -> Outcome | None:
    """Find the worst outcome of a run's hosts; None for a run without hosts."""
    outcomes = {host.verdict.outcome for host in record.hosts}
    return next((outcome for outcome in WORST_FIRST if outcome in outcomes), None)


def _lead(line: TaskLine, ledger: Ledger, settings: Settings, benches: Benches, controls: RunControls) -> RunRecord:
    """Begin the run of a task; go on with the one that its earlier process began."""
    if line.run is None:
        prepared = prepare(stored.from_document(TaskQueue(ledger).campaign(line.task)), settings, benches)
        return campaign_run.start(prepared, ledger, settings, controls, task=line.task)
    ended = ledger.record(line.run)
    if ended is not None:
        return ended
    return campaign_run.resume(
        line.run, _prepare_again(line.run, ledger, settings, benches), ledger, settings, controls
    )


def _prepare_again(run: str, ledger: Ledger, settings: Settings, benches: Benches) -> Prepared:
    return prepare_resolved(campaign_run.read_dead_campaign(run, ledger), settings, benches)


@contextmanager
def _stopping_when_cancelled(task: str, queue: TaskQueue, stop: threading.Event) -> Iterator[None]:
    """Set `stop` once somebody cancels the task. A ledger that is away for a moment delays that."""
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(lambda: queue.is_cancelled(task), stop, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(is_cancelled: Callable[[], bool], stop: threading.Event, done: threading.Event) -> None:
    while not stop.is_set() and not done.is_set():
        try:
            if is_cancelled():
                stop.set()
        except HarnessError as error:
            _log.warning("whether the task is cancelled was not read: %s", error)
        done.wait(LOOK_EVERY_S)
