"""Keep the log of the watch: what leaders moved, found and mended, and names that two workers had."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.tables import WATCH_LOG
from harness.untrusted.plain_text import printable

KEPT_DAYS, KEPT_ENTRIES = 30, 200_000
"""What `prune` leaves: so many days, and of these so many entries."""

_AT_ONCE = 500
_OF = WATCH_LOG.c


class LogKind(StrEnum):
    """The subject of an entry."""

    LEADER = "leader"  # another process leads
    MOVE = "move"  # streams are to go to a worker, or to none
    WORKER = "worker"  # a worker came, died, drains, or its row was removed
    INCONSISTENCY = "inconsistency"  # found, and which streams or workers it concerns
    ENDED = "ended"  # an inconsistency that was found is no more
    MEND = "mend"  # what was done about one
    RECOVERY = "recovery"  # recovery mode begins or ends
    FAULT = "fault"  # the leader itself could not go on
    DUTY = "duty"  # what another duty of the leader did: incidents, deliveries
    FINDING = "finding"  # what a worker found out about itself or its hosts
    NAME_TAKEN = "name taken"  # a second process came with the name of a worker that lives


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An entry to add."""

    kind: LogKind
    sentence: str
    stream: str | None = None
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """An entry with its number, its time by the database, ns, and the epoch of the leader that wrote it, 0 for none."""

    number: int
    logged_ns: int
    epoch: int
    entry: LogEntry


class WatchLog:
    """The log of a ledger's watch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, entries: Sequence[LogEntry], *, epoch: int = 0) -> None:
        """Add entries, in one transaction; long texts are cut."""
        if entries:
            self._database.write(lambda db: add_entries(db, entries, epoch=epoch))

    def list_lines(
        self,
        *,
        before: int | None = None,
        most: int = 100,
        kinds: Collection[LogKind] = (),
        stream: str | None = None,
        worker: str | None = None,
        since_ns: int | None = None,
    ) -> list[LogLine]:
        """List entries, the newest first. `before`: only those with a smaller number."""
        query = sql.select(WATCH_LOG).order_by(_OF.number.desc()).limit(most)
        if before is not None:
            query = query.where(_OF.number < before)
        if kinds:
            query = query.where(_OF.kind.in_([kind.value for kind in kinds]))
        if stream is not None:
            query = query.where(_OF.stream == stream)
        if worker is not None:
            query = query.where(_OF.worker == worker)
        if since_ns is not None:
            query = query.where(_OF.logged_ns >= since_ns)
        return [
            LogLine(
                number=row.number,
                logged_ns=row.logged_ns,
                epoch=row.epoch,
                entry=LogEntry(kind=LogKind(row.kind), sentence=row.sentence, stream=row.stream, worker=row.worker),
            )
            for row in self._database.read(lambda db: db.execute(query).all())
        ]

    def prune(self, *, days: float = KEPT_DAYS, entries: int = KEPT_ENTRIES) -> int:
        """Remove what is older than so many days, and what is beyond so many entries; return how many were removed."""
        too_old = _OF.logged_ns < now_ns() - round(days * 86_400e9)
        newest = sql.select(_OF.number).order_by(_OF.number.desc()).offset(entries).limit(1).scalar_subquery()
        gone = sql.delete(WATCH_LOG).where(sql.or_(too_old, _OF.number <= newest))
        return self._database.write(lambda db: db.execute(gone).rowcount)


def add_entries(db: sql.Connection, entries: Sequence[LogEntry], *, epoch: int = 0) -> None:
    """Add entries within a transaction; long texts are cut."""
    rows = [
        {
            "epoch": epoch,
            "kind": entry.kind.value,
            "stream": entry.stream,
            "worker": entry.worker,
            "sentence": printable(entry.sentence)[:2000],
        }
        for entry in entries
    ]
    insert = WATCH_LOG.insert().values(logged_ns=now_ns())
    for first in range(0, len(rows), _AT_ONCE):
        db.execute(insert, rows[first : first + _AT_ONCE])
