"""Number and keep the events of runs: 1, 2, 3 ... in each run, without gaps, in the transaction of what they tell of.

Numbers are given under the lock of the run's row, once for all events of a transaction: a sequence of the database
would leave gaps, and commit out of order, so that a follower that goes on behind the last number would miss events.
What is only said waits in memory for the next state of its run that is written, at most a second.
"""

import datetime
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql

from harness.model import Event, Stage
from harness.store.database import Result, find_part, now_ns
from harness.store.tables import EVENTS, HOSTS, RUNS
from harness.untrusted.plain_text import one_line

MOST_IN_ONE_WRITE = 5000
_MOST_CHARACTERS = 300

# Statements that each transaction needs are made once.
_LOCK_RUN = sql.select(RUNS.c.owner, RUNS.c.events).where(RUNS.c.run == sql.bindparam("of_run")).with_for_update()
_COUNT = RUNS.update().where(RUNS.c.run == sql.bindparam("of_run"))
_NOW = sql.select(now_ns())
_INSERT = EVENTS.insert()


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedEvent:
    """An event as a follower gets it; `number` is its place in its run, from 1."""

    number: int
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event that has no number yet. `ident` lets it be written once. Without `at_ns` its time is that of writing."""

    host: str | None
    stage: Stage | None
    text: str
    at_ns: int | None = None
    ident: str = field(default_factory=lambda: secrets.token_hex(8))


def make_draft(text: str, host: str | None = None, stage: Stage | None = None) -> EventDraft:
    """Make an event without a number. Its text becomes one line of at most 300 characters."""
    return EventDraft(host=host, stage=stage, text=one_line(text, _MOST_CHARACTERS))


class WaitingEvents:
    """Events that were said, and are written with the next state of their run. Threads share an instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_run: dict[str, list[EventDraft]] = {}

    def add(self, event: Event) -> None:
        """Keep an event of a run until it is written."""
        if event.run is None:
            return
        at_ns = round(event.at.timestamp() * 1e6) * 1000
        draft = EventDraft(host=event.host, stage=event.stage, text=event.text, at_ns=at_ns)
        with self._lock:
            self._by_run.setdefault(event.run, []).append(draft)

    def runs(self) -> Sequence[str]:
        """List the runs that have waiting events."""
        with self._lock:
            return [run for run, drafts in self._by_run.items() if drafts]

    def write_with(
        self,
        run: str,
        drafts: Sequence[EventDraft],
        owner: str,
        write: Callable[[Callable[[sql.Connection], Result]], Result],
        work: Callable[[sql.Connection], Result],
    ) -> Result:
        """Do the work in one transaction with the run's waiting events and then the drafts."""
        taken: list[EventDraft] = []
        tries: list[int] = []

        def both(db: sql.Connection) -> Result:
            taken.extend(self._take(run, MOST_IN_ONE_WRITE - len(taken)))
            insert_events(db, run, [*taken, *drafts], owner, again=bool(tries))
            tries.append(1)
            return work(db)

        try:
            return write(both)
        except BaseException:
            with self._lock:
                self._by_run[run] = [*taken, *self._by_run.get(run, [])]
            raise

    def _take(self, run: str, most: int) -> list[EventDraft]:
        with self._lock:
            waiting = self._by_run.get(run, [])
            taken, self._by_run[run] = waiting[:most], waiting[most:]
        return taken


def insert_events(
    db: sql.Connection, run: str, drafts: Sequence[EventDraft], owner: str, *, again: bool = False
) -> None:
    """Number and insert the drafts before the transaction is committed, with those of other works in it.

    Nothing is inserted by an owner that lost run and hosts. `again`: this was tried before, and some may be there.
    """
    if drafts:
        find_part(db, ("events", run), lambda: _EventsOfRun(db, run, owner)).add(drafts, again=again)


class _EventsOfRun:
    """The events of one owner that a transaction inserts in a run, whose row it holds from the first of them on."""

    def __init__(self, db: sql.Connection, run: str, owner: str) -> None:
        self._run = run
        self._drafts: list[EventDraft] = []
        self._tried_before: list[str] = []
        row = db.execute(_LOCK_RUN, {"of_run": run}).first()
        self._last_number = None if row is None or not _takes_part(db, run, owner, row.owner) else int(row.events)

    def add(self, drafts: Sequence[EventDraft], *, again: bool) -> None:
        """Add drafts to those that are inserted. `again`: some of these may be there."""
        self._drafts += drafts
        if again:
            self._tried_before += [draft.ident for draft in drafts]

    def write(self, db: sql.Connection) -> None:
        """Number and insert the drafts that are not there yet."""
        if self._last_number is None:
            return
        there = self._find_inserted(db)
        new = [draft for draft in self._drafts if draft.ident not in there]
        if not new:
            return
        now = int(db.execute(_NOW).scalar_one())
        db.execute(_INSERT, [_row(self._run, self._last_number + at, one, now) for at, one in enumerate(new, 1)])
        db.execute(_COUNT, {"of_run": self._run, "events": self._last_number + len(new)})

    def _find_inserted(self, db: sql.Connection) -> set[str]:
        if not self._tried_before:
            return set()
        here = (EVENTS.c.run == self._run) & EVENTS.c.ident.in_(self._tried_before)
        return {*db.execute(sql.select(EVENTS.c.ident).where(here)).scalars()}


def _takes_part(db: sql.Connection, run: str, owner: str, leader: str | None) -> bool:
    """Whether an owner leads the run or works on a host of it."""
    ours = sql.select(HOSTS.c.host).where(HOSTS.c.run == run, HOSTS.c.owner == owner).limit(1)
    return owner == leader or db.execute(ours).first() is not None


def _row(run: str, number: int, draft: EventDraft, now: int) -> dict[str, object]:
    return {
        "run": run,
        "number": number,
        "ident": draft.ident,
        "host": draft.host,
        "stage": draft.stage,
        "text": draft.text.replace("\0", "\\0"),
        "at_ns": draft.at_ns or now,
    }


def read_events(db: sql.Connection, run: str, *, after: int, most: int) -> list[NumberedEvent]:
    """Read the events of a run behind a number, in order, at most so many."""
    query = EVENTS.select().where(EVENTS.c.run == run, EVENTS.c.number > after).order_by(EVENTS.c.number).limit(most)
    return [_numbered(row) for row in db.execute(query).all()]


def read_latest_events(
    db: sql.Connection, run: str, *, host: str | None, most: int, before: int | None = None
) -> list[NumberedEvent]:
    """Read the latest events of a run, or of one host of it, in order, at most so many; `before`: this number."""
    query = EVENTS.select().where(EVENTS.c.run == run).order_by(EVENTS.c.number.desc()).limit(most)
    if host is not None:
        query = query.where(EVENTS.c.host == host)
    if before is not None:
        query = query.where(EVENTS.c.number < before)
    return [_numbered(row) for row in reversed(db.execute(query).all())]


def prune_events(db: sql.Connection, *, older_than_ns: int) -> int:
    """Delete the events of ended runs that began before this time; return how many. Their count stays with the run."""
    old = sql.select(RUNS.c.run).where(RUNS.c.record.is_not(None), RUNS.c.started_ns < older_than_ns)
    return db.execute(EVENTS.delete().where(EVENTS.c.run.in_(old))).rowcount


def _numbered(row: Any) -> NumberedEvent:
    at = datetime.datetime.fromtimestamp(row.at_ns / 1e9, datetime.UTC)
    stage = Stage(row.stage) if row.stage else None
    return NumberedEvent(number=row.number, event=Event(run=row.run, host=row.host, stage=stage, text=row.text, at=at))
