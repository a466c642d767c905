"""Read and insert tasks: the statements of one transaction of the queue of tasks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sql

from harness.errors import HarnessError, RequestError, UnknownNameError
from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.store.database import POSTGRESQL, now_ns
from harness.store.tables import RUNS, TASKS
from harness.store.task_lines import NewTask, TaskLine
from harness.untrusted.plain_text import clip, printable

QUEUED, RUNNING = TASKS.c.state == TaskState.QUEUED, TASKS.c.state == TaskState.RUNNING
HERE = TASKS.c.site.is_(None)
IN_ORDER = (TASKS.c.priority.desc(), TASKS.c.submitted_ns, TASKS.c.task)
_MOST_CHARACTERS = 2000
_SUBMIT_LOCK = 7_428_163
"""Processes that submit for one submitter to one PostgreSQL database take turns: they count what waits."""

_NOT_IN_LINE = {"document", "campaign", "idempotency_key", "fingerprint", "owner", "remote_run"}
_RUN = sql.func.coalesce(RUNS.c.run, TASKS.c.remote_run).label("run")
LINES = sql.select(*(c for c in TASKS.c if c.name not in _NOT_IN_LINE), _RUN).outerjoin(
    RUNS, RUNS.c.task == TASKS.c.task
)


class UnknownTaskError(UnknownNameError):
    """A name that no task has."""


class RepeatedKeyError(RequestError):
    """An idempotency key that came before with another request."""


class FullQueueError(RequestError):
    """A submitter of whom as many tasks wait as may."""


def insert_task(
    db: sql.Connection, task: str, new: NewTask, *, most_waiting: int | None = None, again: bool = False
) -> tuple[TaskLine, bool] | None:
    """Insert a task under this name, in a transaction of the caller's; None where another task has the name.

    `again`: the transaction is made again, and may have been committed before. Raises what `TaskQueue.submit` raises,
    and IntegrityError where another process inserts the same at this moment.
    """
    earlier = _find_repeated(db, new)
    if earlier is not None:
        return read_task(db, earlier), again and earlier == task
    if db.execute(sql.select(TASKS.c.task).where(TASKS.c.task == task)).first() is not None:
        return (read_task(db, task), True) if again else None
    _refuse_too_many(db, new.submitter, most_waiting)
    values = {name: getattr(new, name) for name in NewTask.__dataclass_fields__} | {"campaign": dict(new.campaign)}
    db.execute(TASKS.insert().values(task=task, state=TaskState.QUEUED, submitted_ns=now_ns(), **values))
    return read_task(db, task), True


def _find_repeated(db: sql.Connection, new: NewTask) -> str | None:
    if new.idempotency_key is None:
        return None
    query = sql.select(TASKS.c.task, TASKS.c.fingerprint).where(
        TASKS.c.submitter == new.submitter, TASKS.c.idempotency_key == new.idempotency_key
    )
    row = db.execute(query).first()
    if row is None:
        return None
    if row.fingerprint != new.fingerprint:
        raise RepeatedKeyError(
            f"the idempotency key {clip(printable(new.idempotency_key), 80)!r} came before, with another request",
            next_step=f"take a new key, or look at the task {row.task}, which that request made",
        )
    return str(row.task)


def _refuse_too_many(db: sql.Connection, submitter: str, most_waiting: int | None) -> None:
    """Raise FullQueueError where as many tasks of a submitter wait as may."""
    if most_waiting is None:
        return
    if db.dialect.name == POSTGRESQL:
        db.execute(sql.select(sql.func.pg_advisory_xact_lock(_SUBMIT_LOCK, sql.func.hashtext(submitter))))
    query = sql.select(sql.func.count()).select_from(TASKS).where(QUEUED, TASKS.c.submitter == submitter)
    if db.execute(query).scalar_one() >= most_waiting:
        raise FullQueueError(
            f"{most_waiting} campaigns of {submitter} wait already",
            next_step="wait until some have begun, or cancel some",
        )


def make_end_values(
    state: TaskState, *, exit_code: int | None, outcome: Outcome | None, problem: str | None
) -> dict[str, Any]:
    """Make the values of TASKS that record the end of a task, at this moment of the database's time."""
    return {
        "state": state,
        "exit_code": exit_code,
        "outcome": outcome,
        "ended_ns": now_ns(),
        "problem": None if problem is None else shorten_problem(problem),
    }


def shorten_problem(problem: str) -> str:
    """Make the text of a problem one that the ledger keeps: printable, and not too long."""
    return clip(printable(problem), _MOST_CHARACTERS)


def number_lines(db: sql.Connection, lines: Sequence[TaskLine]) -> list[TaskLine]:
    """Give the tasks that wait their positions: among those of the same site, or of this service itself."""
    waiting = [line.task for line in lines if line.state is TaskState.QUEUED]
    if not waiting:
        return list(lines)
    place = sql.func.row_number().over(partition_by=TASKS.c.site, order_by=IN_ORDER).label("place")
    numbered = sql.select(TASKS.c.task, place).where(QUEUED).subquery()
    rows = db.execute(sql.select(numbered).where(numbered.c.task.in_(waiting))).all()
    places = {row.task: row.place for row in rows}
    return [replace(line, position=places.get(line.task)) for line in lines]


def read_task(db: sql.Connection, task: str) -> TaskLine:
    """Read a task, without its position. Raises UnknownTaskError."""
    row = db.execute(LINES.where(TASKS.c.task == task)).first()
    if row is None:
        raise unknown_task(task)
    return make_task_line(row)


def unknown_task(task: str) -> HarnessError:
    """Make the error of a name that no task has."""
    return UnknownTaskError(f"there is no task {clip(printable(task), 40)!r}", next_step="list the tasks")


def make_task_line(row: Any) -> TaskLine:
    """Make the line of a row of LINES."""
    outcome = None if row.outcome is None else Outcome(row.outcome)
    return TaskLine(**{**row._mapping, "state": TaskState(row.state), "outcome": outcome})
