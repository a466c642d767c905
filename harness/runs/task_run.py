"""Carry out a task: begin the run of its campaign, or go on with the run that a dead process began."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.campaign import stored
from harness.errors import HarnessError, RequestError, SetupError
from harness.model import RunRecord
from harness.model.outcomes import worst_outcome
from harness.model.tasks import TaskState
from harness.report.exit_codes import exit_code_of
from harness.runs import campaign_run, leftovers
from harness.runs.context import RunControls
from harness.runs.prepare import Benches, Prepared, prepare, prepare_resolved
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.task_lines import TaskLine
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings

LOOK_EVERY_S = 1.0
MOST_ATTEMPTS = 20
"""A task whose processes died so often is given up: each would begin its hosts anew."""

_log = logging.getLogger(__name__)


def carry_out(line: TaskLine, ledger: Ledger, settings: Settings, benches: Benches, controls: RunControls) -> TaskState:
    """Carry out a task of this process, and record its end; return its final state.

    An error of the task is recorded as its problem, and its run is ended, if it had begun. Somebody who cancels the
    task sets `controls.stop`. Raises OwnershipLostError where another process has the task by now.
    """
    queue = TaskQueue(ledger)
    try:
        with _stopping_when_cancelled(line, queue, controls.stop):
            record = _lead(line, ledger, settings, benches, controls)
    except OwnershipLostError:
        raise
    except HarnessError as error:
        remains = _end_run(line, ledger, benches)
        queue.finish(line, TaskState.FAILED, exit_code=int(error.exit_code), problem=f"{error}{remains}")
        return TaskState.FAILED
    except Exception as error:
        remains = _end_run(line, ledger, benches)
        queue.finish(line, TaskState.FAILED, problem=f"our fault: {type(error).__name__}: {error}{remains}")
        raise
    state = TaskState.CANCELLED if queue.is_cancelled(line.task) else TaskState.ENDED
    if record is None:
        queue.finish(line, state)
    else:
        outcome = worst_outcome(host.verdict.outcome for host in record.hosts) if record.hosts else None
        queue.finish(line, state, exit_code=int(exit_code_of(record)), outcome=outcome)
    return state


def _lead(
    line: TaskLine, ledger: Ledger, settings: Settings, benches: Benches, controls: RunControls
) -> RunRecord | None:
    """Begin the run of a task; go on with the one that its earlier process began.

    None: the task was cancelled before its run began. Raises SetupError for a task whose processes died too often.
    """
    if line.attempt > MOST_ATTEMPTS:
        raise SetupError(
            f"{MOST_ATTEMPTS} processes died of the task {line.task}",
            next_step="see why in the log of the kernel (memory?) and of the service, then submit it again",
        )
    if line.run is None:
        if line.cancelled_by is not None:
            return None
        prepared = prepare(stored.from_document(TaskQueue(ledger).campaign(line.task)), settings, benches)
        return campaign_run.start(prepared, ledger, settings, controls, task=line.task)
    while (record := _wait_for_other_leader(line.run, ledger)) is None:
        try:
            prepared = _prepare_again(line.run, ledger, settings, benches)
            return campaign_run.resume(line.run, prepared, ledger, settings, controls)
        except RequestError:
            if not _has_other_leader(line.run, ledger):
                raise
    return record


def _wait_for_other_leader(run: str, ledger: Ledger) -> RunRecord | None:
    """Wait while a person's command leads a run, by `resume` or `sweep`; return the run's record if it has ended."""
    while not (line := ledger.find(run)).ended:
        if not line.alive():
            return None
        time.sleep(LOOK_EVERY_S)
    return ledger.record(run)


def _has_other_leader(run: str, ledger: Ledger) -> bool:
    line = ledger.find(run)
    return line.owner.owner != ledger.owner and (line.ended or line.alive())


def _end_run(line: TaskLine, ledger: Ledger, benches: Benches) -> str:
    """Remove the hosts of a task's run that cannot go on, and close it; return what is left, to end a sentence."""
    try:
        run = TaskQueue(ledger).find(line.task).run
        if run is None or ledger.record(run) is not None:
            return ""
        remains = leftovers.end_run(run, ledger, benches.make_bench(campaign_run.read_campaign(run, ledger)))
    except OwnershipLostError:
        raise
    except Exception as error:
        _log.warning("the run of task %s was not ended: %s", line.task, error)
        remains = [f"what its run made ({error})"]
    return f"; left: {', '.join(remains)}: `ptp-harness sweep --yes`" if remains else ""


def _prepare_again(run: str, ledger: Ledger, settings: Settings, benches: Benches) -> Prepared:
    return prepare_resolved(campaign_run.read_dead_campaign(run, ledger), settings, benches)


@contextmanager
def _stopping_when_cancelled(line: TaskLine, queue: TaskQueue, stop: threading.Event) -> Iterator[None]:
    """Set `stop` once somebody cancels the task. A ledger that is away for a moment delays that."""
    if line.cancelled_by is not None:
        stop.set()
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(lambda: queue.is_cancelled(line.task), stop, done), daemon=True)
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
