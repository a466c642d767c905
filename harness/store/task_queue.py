"""Keep the queue of tasks: campaigns that were submitted, and the processes that carry them out.

A task belongs to a process by the lease of that process in the ledger, as runs and hosts do (owners.py). A task whose
process died is taken over, and its run goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from harness.errors import HarnessError, RequestError, UnknownNameError
from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.store import owners
from harness.store.database import POSTGRESQL, now_ns
from harness.store.ledger import Ledger
from harness.store.names_at_random import draw_name
from harness.store.owners import OwnerLine, make_owner_line
from harness.store.tables import OWNERS, RUNS, TASKS
from harness.store.task_lines import NewTask, QueueLimits, TaskLine, TaskPlace, TaskQuery
from harness.untrusted.plain_text import clip, printable

_QUEUED, _RUNNING = TASKS.c.state == TaskState.QUEUED, TASKS.c.state == TaskState.RUNNING
_HERE = TASKS.c.site.is_(None)
_IN_ORDER = (TASKS.c.priority.desc(), TASKS.c.submitted_ns, TASKS.c.task)
_NOT_IN_LINE = {"document", "campaign", "idempotency_key", "fingerprint", "owner"}
_LINES = sql.select(*(c for c in TASKS.c if c.name not in _NOT_IN_LINE), RUNS.c.run).outerjoin(
    RUNS, RUNS.c.task == TASKS.c.task
)
_CLAIM_LOCK = 7_428_163_056
"""Processes that claim tasks in one PostgreSQL database take turns by this number: they count what runs."""

_NAME_CHARACTERS = 6  # a name of a run has four
_MOST_CHARACTERS = 2000
_ALL = TaskQuery()


class UnknownTaskError(UnknownNameError):
    """A name that no task has."""


class RepeatedKeyError(RequestError):
    """An idempotency key that came before with another request."""


class TaskQueue:
    """The tasks of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    # -- for those who submit

    def submit(self, new: NewTask) -> tuple[TaskLine, bool]:
        """Submit a campaign; return its task, and whether it is new.

        The task of an earlier request of the same submitter with the same idempotency key is returned instead. Raises
        RepeatedKeyError where that was another request.
        """
        while (submitted := self._insert(draw_name(_NAME_CHARACTERS), new)) is None:
            pass
        return submitted

    def _insert(self, task: str, new: NewTask) -> tuple[TaskLine, bool] | None:
        """Insert a task under this name; None where another task has the name."""
        tries: list[int] = []

        def insert(db: sql.Connection) -> tuple[TaskLine, bool] | None:
            earlier = self._find_repeated(db, new)
            if earlier is not None:
                return _read(db, earlier), bool(tries) and earlier == task
            if db.execute(sql.select(TASKS.c.task).where(TASKS.c.task == task)).first() is not None:
                return (_read(db, task), True) if tries else None
            tries.append(1)
            values = {name: getattr(new, name) for name in NewTask.__dataclass_fields__} | {
                "campaign": dict(new.campaign)
            }
            db.execute(TASKS.insert().values(task=task, state=TaskState.QUEUED, submitted_ns=now_ns(), **values))
            return _read(db, task), True

        try:
            return self._ledger.database.write(insert)
        except IntegrityError:  # at the same moment, another process took the name or got the same request
            return None

    def _find_repeated(self, db: sql.Connection, new: NewTask) -> str | None:
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

    def cancel(self, task: str, *, by: str) -> TaskLine:
        """Cancel a task that waits; ask one that runs to end. One that has ended stays as it is.

        Raises UnknownTaskError.
        """
        here = TASKS.c.task == task

        def cancel(db: sql.Connection) -> TaskLine:
            waiting = TASKS.update().where(here, _QUEUED)
            db.execute(waiting.values(state=TaskState.CANCELLED, cancelled_by=by, ended_ns=now_ns()))
            db.execute(TASKS.update().where(here, _RUNNING, TASKS.c.cancelled_by.is_(None)).values(cancelled_by=by))
            return _read(db, task)

        return self._ledger.database.write(cancel)

    # -- for those who look

    def find(self, task: str) -> TaskLine:
        """Find a task. Raises UnknownTaskError."""
        return self._ledger.database.read(lambda db: self._with_position(db, _read(db, task)))

    def document(self, task: str) -> str:
        """Return the campaign of a task as it was submitted. Raises UnknownTaskError."""
        query = sql.select(TASKS.c.document).where(TASKS.c.task == task)
        document = self._ledger.database.read(lambda db: db.execute(query).scalar())
        if document is None:
            raise _unknown(task)
        return str(document)

    def campaign(self, task: str) -> Mapping[str, Any]:
        """Return the campaign of a task as it is stored. Raises UnknownTaskError."""
        query = sql.select(TASKS.c.campaign).where(TASKS.c.task == task)
        campaign = self._ledger.database.read(lambda db: db.execute(query).scalar())
        if campaign is None:
            raise _unknown(task)
        return dict(campaign)

    def list_lines(
        self,
        query: TaskQuery = _ALL,
        *,
        after: TaskPlace | None = None,
        most: int = 50,
    ) -> list[TaskLine]:
        """List the tasks that meet all conditions, the newest first; `after`: only those behind this place."""
        chosen = _LINES.where(*_conditions(query)).order_by(TASKS.c.submitted_ns.desc(), TASKS.c.task).limit(most)
        if after is not None:
            same = (TASKS.c.submitted_ns == after.submitted_ns) & (TASKS.c.task > after.task)
            chosen = chosen.where((TASKS.c.submitted_ns < after.submitted_ns) | same)

        def read(db: sql.Connection) -> list[TaskLine]:
            return [self._with_position(db, _line(row)) for row in db.execute(chosen).all()]

        return self._ledger.database.read(read)

    def list_queue(self) -> list[TaskLine]:
        """List the tasks that run, the longest running first, then those that wait, in the order of their turns."""

        def read(db: sql.Connection) -> list[TaskLine]:
            running = db.execute(_LINES.where(_RUNNING).order_by(TASKS.c.begun_ns, TASKS.c.task)).all()
            waiting = db.execute(_LINES.where(_QUEUED).order_by(*_IN_ORDER)).all()
            numbered = (replace(_line(row), position=number) for number, row in enumerate(waiting, 1))
            return [*map(_line, running), *numbered]

        return self._ledger.database.read(read)

    def _with_position(self, db: sql.Connection, line: TaskLine) -> TaskLine:
        if line.state is not TaskState.QUEUED:
            return line
        older = (TASKS.c.submitted_ns < line.submitted_ns) | (
            (TASKS.c.submitted_ns == line.submitted_ns) & (TASKS.c.task < line.task)
        )
        before = (TASKS.c.priority > line.priority) | ((TASKS.c.priority == line.priority) & older)
        number = db.execute(sql.select(sql.func.count()).select_from(TASKS).where(_QUEUED, before)).scalar_one()
        return replace(line, position=int(number) + 1)

    # -- for those who carry out

    def count_claimable(self, limits: QueueLimits) -> int:
        """Count the tasks that `claim` and `take_over` would give now; at most as many as may begin at once."""

        def count(db: sql.Connection) -> int:
            dead = sum(not owner.alive() for _, owner in _find_owners(db))
            free = limits.tasks - self._count_running(db)
            if free <= 0:
                return dead
            waiting = sql.select(TASKS.c.task).where(*self._claimable(db, limits)).limit(free)
            return dead + len(db.execute(waiting).all())

        return self._ledger.database.read(count)

    def claim(self, limits: QueueLimits) -> TaskLine | None:
        """Claim the task whose turn it is for this process; None where none waits, or none may begin now."""
        owner, tries = self._ledger.own(), list[int]()

        def claim(db: sql.Connection) -> TaskLine | None:
            if tries:  # the answer to a commit was lost
                ours = db.execute(_LINES.where(_RUNNING, TASKS.c.owner == owner)).first()
                if ours is not None:
                    return _line(ours)
            tries.append(1)
            if self._ledger.database.kind == POSTGRESQL:
                db.execute(sql.select(sql.func.pg_advisory_xact_lock(_CLAIM_LOCK)))
            if self._count_running(db) >= limits.tasks:
                return None
            turn = sql.select(TASKS.c.task).where(*self._claimable(db, limits)).order_by(*_IN_ORDER).limit(1)
            task = db.execute(turn.with_for_update(skip_locked=True)).scalar()
            if task is None:
                return None
            values = {"state": TaskState.RUNNING, "owner": owner, "attempt": TASKS.c.attempt + 1, "begun_ns": now_ns()}
            db.execute(TASKS.update().where(TASKS.c.task == task).values(values))
            return _read(db, task)

        return self._ledger.database.write(claim)

    def take_over(self, progress: Callable[[float], None] = lambda _left: None) -> TaskLine | None:
        """Take over a task whose process died; None where there is none.

        A process of another machine is watched for the length of a lease first; `progress` gets the seconds left.
        """
        owner = self._ledger.own()
        for task, line in self._ledger.database.read(_find_owners):
            if line.alive():
                continue
            dead = owners.confirm_dead(self._ledger.database, line, progress)
            if dead is not None and (taken := self._take(task, dead, owner)) is not None:
                return taken
        return None

    def _take(self, task: str, dead: OwnerLine, owner: str) -> TaskLine | None:
        def take(db: sql.Connection) -> TaskLine | None:
            still_dead = sql.exists().where(OWNERS.c.owner == dead.owner, OWNERS.c.beats == dead.beats)
            here = (TASKS.c.task == task) & _RUNNING
            of_dead = TASKS.update().where(here, TASKS.c.owner == dead.owner, still_dead)
            db.execute(of_dead.values(owner=owner, attempt=TASKS.c.attempt + 1))
            ours = db.execute(_LINES.where(here, TASKS.c.owner == owner)).first()
            return None if ours is None else _line(ours)

        return self._ledger.database.write(take)

    def is_cancelled(self, task: str) -> bool:
        """Whether somebody asked a task to end."""
        query = sql.select(TASKS.c.cancelled_by).where(TASKS.c.task == task)
        return self._ledger.database.read(lambda db: db.execute(query).scalar()) is not None

    def finish(
        self,
        line: TaskLine,
        state: TaskState,
        *,
        exit_code: int | None = None,
        outcome: Outcome | None = None,
        problem: str | None = None,
    ) -> None:
        """Record the end of a task of this process. Raises OwnershipLostError where another process has it."""
        owner = self._ledger.own()
        values: dict[str, Any] = {"state": state, "exit_code": exit_code, "outcome": outcome, "ended_ns": now_ns()}
        values["problem"] = None if problem is None else clip(printable(problem), _MOST_CHARACTERS)

        def finish(db: sql.Connection) -> None:
            ours = (TASKS.c.task == line.task) & (TASKS.c.owner == owner) & (TASKS.c.attempt == line.attempt)
            if db.execute(TASKS.update().where(ours, _RUNNING).values(values)).rowcount:
                return
            if db.execute(sql.select(TASKS.c.task).where(ours, TASKS.c.state == state)).first() is None:
                raise owners.lost(f"task {line.task}", None)

        self._ledger.database.write(finish)

    def give_back(self, line: TaskLine) -> None:
        """Give back a task of this process whose run did not begin: it waits again, in its old place."""
        owner = self._ledger.own()
        ours = (TASKS.c.task == line.task) & (TASKS.c.owner == owner) & (TASKS.c.attempt == line.attempt)
        waits = TASKS.update().where(ours, _RUNNING).values(state=TaskState.QUEUED, owner=None, begun_ns=None)
        self._ledger.database.write(lambda db: db.execute(waits))

    def _count_running(self, db: sql.Connection) -> int:
        return int(db.execute(sql.select(sql.func.count()).select_from(TASKS).where(_RUNNING, _HERE)).scalar_one())

    def _claimable(self, db: sql.Connection, limits: QueueLimits) -> Sequence[sql.ColumnElement[bool]]:
        """Make the conditions of a task that may begin: benches and submitters with too many that run are left out."""
        running = db.execute(sql.select(TASKS.c.bench, TASKS.c.submitter).where(_RUNNING, _HERE)).all()
        benches, submitters = [row.bench for row in running], [row.submitter for row in running]
        full = [name for name, most in limits.per_bench.items() if benches.count(name) >= most]
        most = limits.per_submitter
        busy = [] if most is None else [name for name in {*submitters} if submitters.count(name) >= most]
        return _QUEUED, _HERE, TASKS.c.bench.not_in(full), TASKS.c.submitter.not_in(busy)


def _find_owners(db: sql.Connection) -> list[tuple[str, OwnerLine]]:
    """Find the tasks that run here, each with the process that carries it out."""
    query = sql.select(TASKS.c.task, *OWNERS.c, now_ns()).join(OWNERS, OWNERS.c.owner == TASKS.c.owner)
    return [(task, make_owner_line(line)) for task, *line in db.execute(query.where(_RUNNING, _HERE)).all()]


def _conditions(query: TaskQuery) -> list[sql.ColumnElement[bool]]:
    names = ("state", "outcome", "bench", "site", "submitter", "schedule")
    conditions = [TASKS.c[name] == getattr(query, name) for name in names if getattr(query, name) is not None]
    if query.instance_type is not None:
        types = sql.cast(TASKS.c.campaign["instance_types"], sql.Text)
        conditions.append(types.contains(f'"{query.instance_type}"', autoescape=True))
    if query.since_ns is not None:
        conditions.append(TASKS.c.submitted_ns >= query.since_ns)
    if query.until_ns is not None:
        conditions.append(TASKS.c.submitted_ns <= query.until_ns)
    return conditions


def _read(db: sql.Connection, task: str) -> TaskLine:
    row = db.execute(_LINES.where(TASKS.c.task == task)).first()
    if row is None:
        raise _unknown(task)
    return _line(row)


def _unknown(task: str) -> HarnessError:
    return UnknownTaskError(f"there is no task {clip(printable(task), 40)!r}", next_step="list the tasks")


def _line(row: Any) -> TaskLine:
    outcome = None if row.outcome is None else Outcome(row.outcome)
    return TaskLine(**{**row._mapping, "state": TaskState(row.state), "outcome": outcome})
