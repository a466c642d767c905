"""Submit the campaigns of schedules when they are due. Services that share a ledger make one task for each time."""

import logging
import threading

from harness.errors import HarnessError, RequestError
from harness.runs.due_times import PassedTimes, find_passed
from harness.service.context import ServiceContext
from harness.service.task_making import prepare_task, wake
from harness.store.audit_log import AuditEntry
from harness.store.schedules import DuePass, ScheduleLine
from harness.store.task_lines import NewTask, TaskLine
from harness.store.task_queue import FullQueueError

LOOK_EVERY_S = 1.0
_AGAIN_AFTER_NS = 3600 * 10**9
_log = logging.getLogger(__name__)


class Scheduler:
    """Looks after the schedules of a ledger in a thread of its own."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="scheduler", daemon=True)

    def start(self) -> None:
        """Begin to look after the schedules."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more tasks. One that is being made is finished, unless the ledger is away."""
        self._ending.set()
        self._thread.join(timeout=5.0)

    def look(self) -> list[TaskLine]:
        """Look once; return the tasks that were made."""
        now_ns, due = self._context.schedules.list_due()
        made = [submit_due(line, now_ns, self._context) for line in due if not self._ending.is_set()]
        return [task for task in made if task is not None]

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                for task in self.look():
                    wake(self._context, task)
            except HarnessError as error:
                _log.warning("the schedules were not looked at: %s", error)
            except Exception:
                _log.exception("our fault: the schedules were not looked at")
            self._ending.wait(LOOK_EVERY_S)


def submit_due(line: ScheduleLine, now_ns: int, context: ServiceContext) -> TaskLine | None:
    """Submit the campaign of a schedule whose time has come, once for all times that passed.

    What prevents it is noted as the last problem of the schedule, which then waits for its next time.
    """
    try:
        passed = find_passed(line.cron, line.zone, line.due_ns, now_ns)
    except RequestError as error:  # the zone is not known on this machine
        passed = PassedTimes(latest_ns=line.due_ns, next_ns=now_ns + _AGAIN_AFTER_NS, missed=0)
        return _go_on(line, passed, None, error.message, context)
    task, problem = _prepare(line, passed, context)
    try:
        made = _go_on(line, passed, task, problem, context)
    except FullQueueError as error:
        return _go_on(line, passed, None, error.message, context)
    if made is not None:
        entry = AuditEntry(
            actor=line.submitter, address="", action="schedule.submit", object=f"{line.name} {made.task}", status=201
        )
        context.audit.add(entry)
    return made


def _prepare(line: ScheduleLine, passed: PassedTimes, context: ServiceContext) -> tuple[NewTask | None, str | None]:
    """Make the task of a schedule; or say why there is none."""
    token = context.tokens.find_named(line.submitter)
    if token is not None and token.state != "valid":
        return None, f"the token {line.submitter} is {token.state}: add the schedule again with a token that is valid"
    try:
        task = prepare_task(
            context.schedules.document(line.name),
            context,
            submitter=line.submitter,
            priority=line.priority,
            site=line.site,
            idempotency_key=f"schedule {line.name} {line.created_ns} {passed.latest_ns}",
            schedule=line.name,
        )
    except HarnessError as error:
        return None, str(error)
    except Exception as error:
        _log.exception("our fault: schedule %s", line.name)
        return None, f"our fault: {type(error).__name__}; the log of the service has more"
    return task, None


def _go_on(
    line: ScheduleLine, passed: PassedTimes, task: NewTask | None, problem: str | None, context: ServiceContext
) -> TaskLine | None:
    due = DuePass(time_ns=passed.latest_ns, next_ns=passed.next_ns, missed=passed.missed, task=task, problem=problem)
    if problem is not None:
        _log.warning("schedule %s made no task: %s", line.name, problem)
    if passed.missed:
        _log.warning("schedule %s: missed %d while no service ran", line.name, passed.missed)
    return context.schedules.pass_due(line, due, most_waiting=context.options.most_waiting)
