"""Keep the queue of tasks: campaigns that were submitted, and the processes that carry them out.

A task belongs to a process by the lease of that process in the ledger, as runs and hosts do (owners.py). A task whose
process died is taken over, and its run goes on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.store import owners
from harness.store.database import POSTGRESQL, now_ns
from harness.store.ledger import Ledger
from harness.store.names_at_random import TASK_CHARACTERS, draw_name
from harness.store.owners import OwnerLine
from harness.store.tables import OWNERS, TASKS
from harness.store.task_claims import (
    OwnedTask,
    TaskUse,
    count_here,
    count_startable,
    find_running,
    find_uses,
    make_conditions,
)
from harness.store.task_lines import NewTask, QueueLimits, TaskLine, TaskPlace, TaskQuery
from harness.store.task_rows import (
    HERE,
    IN_ORDER,
    LINES,
    QUEUED,
    RUNNING,
    FullQueueError,
    RepeatedKeyError,
    UnknownTaskError,
    insert_task,
    make_end_values,
    make_task_line,
    number_lines,
    read_task,
    unknown_task,
)
from harness.system.proc import ProcessId

__all__ = ["FullQueueError", "RepeatedKeyError", "TaskQueue", "UnknownTaskError"]

_CLAIM_LOCK = 7_428_163_056
"""Processes that claim tasks in one PostgreSQL database take turns by this number: they count what runs."""

_MOST_LOOKED_AT = 1000  # tasks that wait, to count those that may begin
_ALL = TaskQuery()


class TaskQueue:
    """The tasks of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._claimed: set[str] = set()  # those that a thread of ours knows of; works of transactions alone use it

    # -- for those who submit

    def submit(self, new: NewTask, *, most_waiting: int | None = None) -> tuple[TaskLine, bool]:
        """Submit a campaign; return its task, and whether it is new.

        The task of an earlier request of the same submitter with the same idempotency key is returned instead.
        `most_waiting`: how many tasks of a submitter may wait. Raises RepeatedKeyError where the earlier request was
        another one, and FullQueueError.
        """
        while (submitted := self._insert(draw_name(TASK_CHARACTERS), new, most_waiting)) is None:
            pass
        return submitted

    def _insert(self, task: str, new: NewTask, most_waiting: int | None) -> tuple[TaskLine, bool] | None:
        """Insert a task under this name; None where another task has the name."""
        tries: list[int] = []

        def insert(db: sql.Connection) -> tuple[TaskLine, bool] | None:
            inserted = insert_task(db, task, new, most_waiting=most_waiting, again=bool(tries))
            tries.append(1)
            return inserted

        try:
            return self.ledger.database.write(insert)
        except IntegrityError:  # at the same moment, another process took the name or got the same request
            return None

    def cancel(self, task: str, *, by: str) -> TaskLine:
        """Cancel a task that waits; ask one that runs, or waits at a site, to end. One that has ended stays as it is.

        The first who cancels is recorded. Raises UnknownTaskError.
        """
        here = TASKS.c.task == task
        open_here = here & TASKS.c.state.in_([TaskState.QUEUED, TaskState.RUNNING])

        def cancel(db: sql.Connection) -> TaskLine:
            waiting = TASKS.update().where(here, QUEUED, TASKS.c.remote_task.is_(None))
            db.execute(waiting.values(state=TaskState.CANCELLED, cancelled_by=by, ended_ns=now_ns()))
            db.execute(TASKS.update().where(open_here, TASKS.c.cancelled_by.is_(None)).values(cancelled_by=by))
            return read_task(db, task)

        return self.ledger.database.write(cancel)

    # -- for those who look

    def find(self, task: str) -> TaskLine:
        """Find a task. Raises UnknownTaskError."""
        return self.ledger.database.read(lambda db: number_lines(db, [read_task(db, task)])[0])

    def document(self, task: str) -> str:
        """Return the campaign of a task as it was submitted. Raises UnknownTaskError."""
        query = sql.select(TASKS.c.document).where(TASKS.c.task == task)
        document = self.ledger.database.read(lambda db: db.execute(query).scalar())
        if document is None:
            raise unknown_task(task)
        return str(document)

    def campaign(self, task: str) -> Mapping[str, Any]:
        """Return the campaign of a task as it is stored. Raises UnknownTaskError."""
        query = sql.select(TASKS.c.campaign).where(TASKS.c.task == task)
        campaign = self.ledger.database.read(lambda db: db.execute(query).scalar())
        if campaign is None:
            raise unknown_task(task)
        return dict(campaign)

    def list_lines(
        self,
        query: TaskQuery = _ALL,
        *,
        after: TaskPlace | None = None,
        most: int = 50,
    ) -> list[TaskLine]:
        """List the tasks that meet all conditions, the newest first; `after`: only those behind this place."""
        chosen = LINES.where(*_conditions(query)).order_by(TASKS.c.submitted_ns.desc(), TASKS.c.task).limit(most)
        if after is not None:
            same = (TASKS.c.submitted_ns == after.submitted_ns) & (TASKS.c.task > after.task)
            chosen = chosen.where((TASKS.c.submitted_ns < after.submitted_ns) | same)

        def read(db: sql.Connection) -> list[TaskLine]:
            return number_lines(db, [make_task_line(row) for row in db.execute(chosen).all()])

        return self.ledger.database.read(read)

    def list_queue(self) -> list[TaskLine]:
        """List the tasks that run, the longest running first, then those that wait, in the order of their turns."""

        def read(db: sql.Connection) -> list[TaskLine]:
            running = db.execute(LINES.where(RUNNING).order_by(TASKS.c.begun_ns, TASKS.c.task)).all()
            waiting = db.execute(LINES.where(QUEUED).order_by(*IN_ORDER)).all()
            return [*map(make_task_line, running), *number_lines(db, [make_task_line(row) for row in waiting])]

        return self.ledger.database.read(read)

    def count_machines(self) -> int:
        """Count the machines on which tasks run."""
        query = sql.select(sql.func.count(sql.distinct(OWNERS.c.place))).join(TASKS, OWNERS.c.owner == TASKS.c.owner)
        return self.ledger.database.read(lambda db: db.execute(query.where(RUNNING, HERE)).scalar_one())

    # -- for those who carry out

    def count_claimable(self, limits: QueueLimits) -> int:
        """Count the tasks that `claim` and `take_over` would give now."""

        def count(db: sql.Connection) -> int:
            dead = sum(_may_be_taken_here(each) for each in find_running(db))
            running = find_uses(db)
            waiting = sql.select(TASKS.c.bench, TASKS.c.submitter).where(*make_conditions(running, limits))
            rows = db.execute(waiting.order_by(*IN_ORDER).limit(_MOST_LOOKED_AT)).all()
            return dead + count_startable(running, [TaskUse(row.bench, row.submitter) for row in rows], limits)

        return self.ledger.database.read(count)

    def find_processes_here(self) -> set[ProcessId]:
        """Find the processes that carry out tasks, as far as they are of this machine and its space of process ids."""
        running = self.ledger.database.read(find_running)
        return {each.owner.process for each in running if each.owner.place == owners.own_place()}

    def claim(self, limits: QueueLimits) -> TaskLine | None:
        """Claim the task whose turn it is for this process; None where none waits, or none may begin now."""
        owner = self.ledger.own()
        ours, tries = list[str](), list[int]()

        def claim(db: sql.Connection) -> TaskLine | None:
            self._claimed.difference_update(ours)
            ours.clear()
            line = self._find_unknown_claim(db, owner) if tries else None  # the answer to a commit was lost
            line = line or self._claim(db, owner, limits)
            tries.append(1)
            if line is not None:
                ours.append(line.task)
                self._claimed.add(line.task)
            return line

        return self.ledger.database.write(claim)

    def _find_unknown_claim(self, db: sql.Connection, owner: str) -> TaskLine | None:
        rows = db.execute(LINES.where(RUNNING, TASKS.c.owner == owner)).all()
        return next((line for line in map(make_task_line, rows) if line.task not in self._claimed), None)

    def _claim(self, db: sql.Connection, owner: str, limits: QueueLimits) -> TaskLine | None:
        if self.ledger.database.kind == POSTGRESQL:
            db.execute(sql.select(sql.func.pg_advisory_xact_lock(_CLAIM_LOCK)))
        running = find_uses(db)
        if count_here(running) >= limits.tasks:
            return None
        turn = sql.select(TASKS.c.task).where(*make_conditions(running, limits)).order_by(*IN_ORDER).limit(1)
        task = db.execute(turn.with_for_update(skip_locked=True)).scalar()
        if task is None:
            return None
        values = {"state": TaskState.RUNNING, "owner": owner, "attempt": TASKS.c.attempt + 1, "begun_ns": now_ns()}
        db.execute(TASKS.update().where(TASKS.c.task == task).values(values))
        return read_task(db, task)

    def take_over(self, progress: Callable[[float], None] = lambda _left: None) -> TaskLine | None:
        """Take over a task whose process died; None where there is none.

        A process of another machine is watched for the length of a lease first; `progress` gets the seconds left. A
        task that took several processes with it is taken over after a pause, which grows.
        """
        owner = self.ledger.own()
        for each in self.ledger.database.read(find_running):
            if not _may_be_taken_here(each):
                continue
            dead = owners.confirm_dead(self.ledger.database, each.owner, progress)
            if dead is not None and (taken := self._take(each.task, dead, owner)) is not None:
                return taken
        return None

    def _take(self, task: str, dead: OwnerLine, owner: str) -> TaskLine | None:
        def take(db: sql.Connection) -> TaskLine | None:
            still_dead = sql.exists().where(OWNERS.c.owner == dead.owner, OWNERS.c.beats == dead.beats)
            here = (TASKS.c.task == task) & RUNNING
            of_dead = TASKS.update().where(here, TASKS.c.owner == dead.owner, still_dead)
            db.execute(of_dead.values(owner=owner, attempt=TASKS.c.attempt + 1))
            ours = db.execute(LINES.where(here, TASKS.c.owner == owner)).first()
            if ours is not None:
                self._claimed.add(task)
            return None if ours is None else make_task_line(ours)

        return self.ledger.database.write(take)

    def is_cancelled(self, task: str) -> bool:
        """Whether somebody asked a task to end."""
        query = sql.select(TASKS.c.cancelled_by).where(TASKS.c.task == task)
        return self.ledger.database.read(lambda db: db.execute(query).scalar()) is not None

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
        owner = self.ledger.own()
        values = make_end_values(state, exit_code=exit_code, outcome=outcome, problem=problem)

        def finish(db: sql.Connection) -> None:
            ours = (TASKS.c.task == line.task) & (TASKS.c.owner == owner) & (TASKS.c.attempt == line.attempt)
            if db.execute(TASKS.update().where(ours, RUNNING).values(values)).rowcount:
                return
            if db.execute(sql.select(TASKS.c.task).where(ours, TASKS.c.state == state)).first() is None:
                raise owners.lost(f"task {line.task}", owners.find_owner(db, TASKS, TASKS.c.task == line.task))

        self.ledger.database.write(finish)

    def give_back(self, line: TaskLine) -> None:
        """Give back a task of this process whose run did not begin: it waits again, in its old place.

        One that was to be cancelled is cancelled.
        """
        owner = self.ledger.own()
        ours = RUNNING & (TASKS.c.task == line.task) & (TASKS.c.owner == owner) & (TASKS.c.attempt == line.attempt)
        cancelled = TASKS.update().where(ours, TASKS.c.cancelled_by.is_not(None))
        waits = TASKS.update().where(ours).values(state=TaskState.QUEUED, owner=None, begun_ns=None)

        def give_back(db: sql.Connection) -> None:
            db.execute(cancelled.values(state=TaskState.CANCELLED, ended_ns=now_ns()))
            db.execute(waits)

        self.ledger.database.write(give_back)


def _may_be_taken_here(task: OwnedTask) -> bool:
    return not task.owner.alive() and task.may_be_taken() and task.can_go_on_here()


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
