"""Number and keep the events of runs: 1, 2, 3 ... in each run, without gaps, in the transaction of what they tell of.

A number is given under the lock of the run's row: a sequence of the database would leave gaps, and commit out of order,
so that a follower that goes on behind the last number would miss events. What is only said waits in memory for the next
state of its run that is written, at most a second.
"""

import datetime
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql

from harness.model import Event, Stage
from harness.store.database import Result, now_ns
from harness.store.tables import EVENTS, HOSTS, RUNS

MOST_IN_ONE_WRITE = 5000


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
        with self._lock:
            waiting = self._by_run.get(run, [])[:MOST_IN_ONE_WRITE]

        def both(db: sql.Connection) -> Result:
            insert_events(db, run, [*waiting, *drafts], owner)
            return work(db)

        result = write(both)
        written = {draft.ident for draft in waiting}
        with self._lock:
            self._by_run[run] = [draft for draft in self._by_run.get(run, []) if draft.ident not in written]
        return result


def insert_events(db: sql.Connection, run: str, drafts: Sequence[EventDraft], owner: str) -> None:
    """Number and insert the drafts that are not there yet. Nothing is inserted by an owner that lost run and hosts."""
    if not drafts:
        return
    row = db.execute(sql.select(RUNS.c.owner, RUNS.c.events).where(RUNS.c.run == run).with_for_update()).first()
    if row is None:
        return
    if row.owner != owner:
        ours = sql.select(HOSTS.c.host).where(HOSTS.c.run == run, HOSTS.c.owner == owner).limit(1)
        if db.execute(ours).first() is None:
            return
    idents = [draft.ident for draft in drafts]
    there = {*db.execute(sql.select(EVENTS.c.ident).where(EVENTS.c.run == run, EVENTS.c.ident.in_(idents))).scalars()}
    new = [draft for draft in drafts if draft.ident not in there]
    if not new:
        return
    now = int(db.execute(sql.select(now_ns())).scalar_one())
    db.execute(
        EVENTS.insert(),
        [
            {
                "run": run,
                "number": row.events + place,
                "ident": draft.ident,
                "host": draft.host,
                "stage": draft.stage,
                "text": draft.text.replace("\0", "\\0"),
                "at_ns": draft.at_ns or now,
            }
            for place, draft in enumerate(new, start=1)
        ],
    )
    db.execute(RUNS.update().where(RUNS.c.run == run).values(events=row.events + len(new)))


def read_events(db: sql.Connection, run: str, *, after: int, most: int) -> list[NumberedEvent]:
    """Read the events of a run behind a number, in order, at most so many."""
    query = EVENTS.select().where(EVENTS.c.run == run, EVENTS.c.number > after).order_by(EVENTS.c.number).limit(most)
    return [_numbered(row) for row in db.execute(query).all()]


def prune_events(db: sql.Connection, *, older_than_ns: int) -> int:
    """Delete the events of ended runs that began before this time; return how many. Their count stays with the run."""
    old = sql.select(RUNS.c.run).where(RUNS.c.record.is_not(None), RUNS.c.started_ns < older_than_ns)
    return db.execute(EVENTS.delete().where(EVENTS.c.run.in_(old))).rowcount


def _numbered(row: Any) -> NumberedEvent:
    at = datetime.datetime.fromtimestamp(row.at_ns / 1e9, datetime.UTC)
    stage = Stage(row.stage) if row.stage else None
    return NumberedEvent(number=row.number, event=Event(run=row.run, host=row.host, stage=stage, text=row.text, at=at))
