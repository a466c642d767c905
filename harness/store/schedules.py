"""Keep schedules: campaigns that are submitted at set times, each time once, whichever services look after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from harness.errors import ConflictError, RequestError, UnknownNameError
from harness.store.database import Database
from harness.store.names_at_random import TASK_CHARACTERS, draw_name
from harness.store.owners import read_now
from harness.store.tables import SCHEDULES, TASKS
from harness.store.task_lines import NewTask, TaskLine
from harness.store.task_rows import QUEUED, insert_task, read_task, shorten_problem
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

MOST_SCHEDULES = 1000


class UnknownScheduleError(UnknownNameError):
    """A name that no schedule has."""


class TakenScheduleError(ConflictError):
    """A name that another schedule has, or a ledger with as many as may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A schedule to be added. `document`: the campaign, as it was written; `submitter`: whose tasks it makes."""

    name: str
    cron: str
    zone: str
    document: str
    submitter: str
    site: str | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleLine:
    """A schedule in a list. Times are ns since the epoch, of the database.

    `due_ns`: its next time; `last_ns`: the latest time that was seen, for which `last_task` was made, or none because
    of `last_problem`. `missed`: how many times passed while no service ran.
    """

    name: str
    cron: str
    zone: str
    site: str | None
    priority: int
    submitter: str
    created_ns: int
    due_ns: int
    last_ns: int | None
    last_task: str | None
    last_problem: str | None
    missed: int
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePass:
    """The change of a schedule whose time has come. `next_ns`: when it is due again; None: never, it is paused.

    `task`: the task to make, or None with the `problem` for which there is none. `missed`: how many times were missed.
    """

    time_ns: int
    next_ns: int | None
    missed: int
    task: NewTask | None
    problem: str | None = None


class Schedules:
    """The schedules of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: NewSchedule, *, due_ns: int) -> ScheduleLine:
        """Add a schedule that is due at this time. Raises RequestError."""
        check_name(new.name)
        values = {name: getattr(new, name) for name in NewSchedule.__dataclass_fields__}
        here, tries = SCHEDULES.c.name == new.name, list[int]()

        def add(db: sql.Connection) -> ScheduleLine | None:
            there = db.execute(SCHEDULES.select().where(here)).first()
            if there is not None:  # the answer to a commit was lost, or it is another one
                return _line(there) if tries and there.document == new.document else None
            if db.execute(sql.select(sql.func.count()).select_from(SCHEDULES)).scalar_one() >= MOST_SCHEDULES:
                raise TakenScheduleError(f"there are {MOST_SCHEDULES} schedules already", next_step="remove some")
            tries.append(1)
            db.execute(SCHEDULES.insert().values(**values, created_ns=read_now(db), due_ns=due_ns))
            return _read(db, new.name)

        try:
            line = self._database.write(add)
        except IntegrityError:  # at the same moment, another process took the name
            line = None
        if line is None:
            raise TakenScheduleError(
                f"there is a schedule {new.name!r} already", next_step="take another name, or remove that one first"
            )
        return line

    def find(self, name: str) -> ScheduleLine:
        """Find a schedule. Raises UnknownScheduleError."""
        return self._database.read(lambda db: _read(db, name))

    def document(self, name: str) -> str:
        """Return the campaign of a schedule as it was written. Raises UnknownScheduleError."""
        query = sql.select(SCHEDULES.c.document).where(SCHEDULES.c.name == name)
        document = self._database.read(lambda db: db.execute(query).scalar()) if _fits(name) else None
        if document is None:
            raise _unknown(name)
        return str(document)

    def list_lines(self, *, after: str = "", most: int = MOST_SCHEDULES) -> list[ScheduleLine]:
        """List schedules by name; `after`: only those behind this name."""
        query = _LINES.where(SCHEDULES.c.name > after).order_by(SCHEDULES.c.name).limit(most)
        return [_line(row) for row in self._database.read(lambda db: db.execute(query).all())]

    def list_due(self) -> tuple[int, list[ScheduleLine]]:
        """Return the database's time, and the schedules whose time has come."""
        query = _LINES.where(SCHEDULES.c.due_ns <= sql.bindparam("now"), ~SCHEDULES.c.paused)

        def read(db: sql.Connection) -> tuple[int, list[ScheduleLine]]:
            now = read_now(db)
            return now, [_line(row) for row in db.execute(query.order_by(SCHEDULES.c.due_ns), {"now": now}).all()]

        return self._database.read(read)

    def remove(self, name: str) -> None:
        """Remove a schedule; its tasks stay. Raises UnknownScheduleError."""
        tries: list[int] = []

        def remove(db: sql.Connection) -> bool:
            removed = db.execute(SCHEDULES.delete().where(SCHEDULES.c.name == name)).rowcount > 0
            tries.append(removed)
            return any(tries)

        if not (_fits(name) and self._database.write(remove)):
            raise _unknown(name)

    def pause(self, name: str) -> ScheduleLine:
        """Let a schedule make no tasks until it goes on. Raises UnknownScheduleError."""
        return self._change(name, paused=True)

    def go_on(self, name: str, *, due_ns: int) -> ScheduleLine:
        """Let a schedule that was paused go on, due at this time. Raises UnknownScheduleError."""
        return self._change(name, paused=False, due_ns=due_ns)

    def _change(self, name: str, **values: object) -> ScheduleLine:
        def change(db: sql.Connection) -> ScheduleLine:
            db.execute(SCHEDULES.update().where(SCHEDULES.c.name == name).values(values))
            return _read(db, name)

        return self._database.write(change) if _fits(name) else self.find(name)

    def pass_due(self, line: ScheduleLine, due: DuePass, *, most_waiting: int | None = None) -> TaskLine | None:
        """Go to the next time of a schedule that is due, and make the task of this one, in one transaction.

        None where no task is made: another service saw this time before, or the schedule was changed or removed
        meanwhile, or `due` has none, or its last task still waits. Raises what `TaskQueue.submit` raises.
        """
        drawn, tries = list[str](), list[int]()
        here = (SCHEDULES.c.name == line.name) & (SCHEDULES.c.created_ns == line.created_ns)

        def go_to_next(db: sql.Connection) -> TaskLine | None:
            query = _LINES.where(here, SCHEDULES.c.due_ns == line.due_ns, ~SCHEDULES.c.paused)
            if db.execute(query.with_for_update()).first() is None:
                return _find_made(db, drawn) if tries else None
            tries.append(1)
            problem, made = due.problem, None
            if due.task is not None and _waits(db, line.last_task):
                problem = f"no new task, since task {line.last_task} of the time before still waits"
            while due.task is not None and problem is None and made is None:
                drawn.append(draw_name(TASK_CHARACTERS))
                made, _ = insert_task(db, drawn[-1], due.task, most_waiting=most_waiting) or (None, False)
            values = {
                "due_ns": line.due_ns if due.next_ns is None else due.next_ns,
                "paused": due.next_ns is None,
                "last_ns": due.time_ns,
                "last_problem": None if problem is None else shorten_problem(problem),
                "missed": SCHEDULES.c.missed + due.missed,
                **({} if made is None else {"last_task": made.task}),
            }
            db.execute(SCHEDULES.update().where(here).values(values))
            return made

        return self._database.write(go_to_next)


def check_name(name: str) -> None:
    """Raise RequestError for a text that is no name of a schedule."""
    if not _fits(name):
        raise RequestError(
            f"{shorten_value(name)} is no name of a schedule",
            next_step="small letters, digits, and . _ - behind the first, at most 63: nightly, c8-weekly",
        )


_LINES = sql.select(*(column for column in SCHEDULES.c if column.name != "document"))


def _fits(name: str) -> bool:
    return names.fits(names.SCHEDULE, name)


def _read(db: sql.Connection, name: str) -> ScheduleLine:
    row = db.execute(_LINES.where(SCHEDULES.c.name == name)).first() if _fits(name) else None
    if row is None:
        raise _unknown(name)
    return _line(row)


def _unknown(name: str) -> UnknownScheduleError:
    return UnknownScheduleError(
        f"there is no schedule {shorten_value(name)}", next_step="`ptp-harness schedule list` shows the schedules"
    )


def _waits(db: sql.Connection, task: str | None) -> bool:
    return db.execute(sql.select(TASKS.c.task).where(TASKS.c.task == task, QUEUED)).first() is not None


def _find_made(db: sql.Connection, drawn: Sequence[str]) -> TaskLine | None:
    """Find the task that was made under one of these names, before the answer to the commit was lost."""
    made = db.execute(sql.select(TASKS.c.task).where(TASKS.c.task.in_(drawn), TASKS.c.schedule.is_not(None))).scalar()
    return None if made is None else read_task(db, made)


def _line(row: Any) -> ScheduleLine:
    return ScheduleLine(**{name: getattr(row, name) for name in ScheduleLine.__dataclass_fields__})
