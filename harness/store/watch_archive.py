"""Find the days of streams that may leave the ledger, and record where their samples are then."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.owners import read_now
from harness.store.tables import WATCH_CHUNKS, WATCH_DAYS

DAY_NS = 86_400_000_000_000
_OF = WATCH_CHUNKS.c
_AT_ONCE = 200
ChunkKey = tuple[str, int, int]
"""Stream, first tick, epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedDay:
    """A day of a stream, in UTC, whose chunks are still in the ledger. `interval_ns`: of the grid of their ticks."""

    stream: str
    day: datetime.date
    interval_ns: int

    @property
    def first_tick(self) -> int:
        """The first tick that begins in the day."""
        return -(-_begin_ns(self.day) // self.interval_ns)

    @property
    def last_tick(self) -> int:
        return -(-_begin_ns(self.day + datetime.timedelta(days=1)) // self.interval_ns) - 1


class WatchArchives:
    """The days of a ledger's streams."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_finished(self, *, kept_days: int) -> list[FinishedDay]:
        """List the oldest day of each stream that ended `kept_days` ago or earlier, and whose chunks are here.

        Chunks of streams that were removed are among them. A day on which a stream had two intervals is listed once
        for each, one after the other.
        """

        def read(db: sql.Connection) -> list[FinishedDay]:
            end_ns = (read_now(db) // DAY_NS - kept_days) * DAY_NS
            days = []
            for stream, interval_ns, tick in _list_oldest(db):
                if tick * interval_ns < end_ns:
                    days.append(FinishedDay(stream=stream, day=_day_of(tick * interval_ns), interval_ns=interval_ns))
            return sorted(days, key=lambda each: (each.day, each.stream))

        return self._database.read(read)

    def list_keys(self, day: FinishedDay) -> list[ChunkKey]:
        """List the chunks that end in a day."""
        ends = sql.and_(_OF.last_tick >= day.first_tick, _OF.last_tick <= day.last_tick)
        query = sql.select(_OF.stream, _OF.first_tick, _OF.epoch).where(
            _OF.stream == day.stream, _OF.interval_ns == day.interval_ns, ends
        )
        query = query.order_by(_OF.first_tick, _OF.epoch)
        rows = self._database.read(lambda db: db.execute(query).all())
        return [(row.stream, row.first_tick, row.epoch) for row in rows]

    def record(self, day: FinishedDay, archive: str, keys: Sequence[ChunkKey]) -> None:
        """Record a day's file, and remove the chunks that are in it; one that came meanwhile stays."""
        values: dict[str, Any] = {"archive": archive, "stored_ns": now_ns()}

        def record(db: sql.Connection) -> None:
            insert = self._database.insert(WATCH_DAYS)
            new = insert.values(stream=day.stream, day=f"{day.day}", figures={}, **values)
            db.execute(new.on_conflict_do_update(index_elements=["stream", "day"], set_=values))
            for begin in range(0, len(keys), _AT_ONCE):
                part = keys[begin : begin + _AT_ONCE]
                db.execute(sql.delete(WATCH_CHUNKS).where(sql.tuple_(_OF.stream, _OF.first_tick, _OF.epoch).in_(part)))

        self._database.write(record)

    def find_archive(self, stream: str, day: datetime.date) -> str | None:
        """Find the file of a day."""
        query = sql.select(WATCH_DAYS.c.archive).where(WATCH_DAYS.c.stream == stream, WATCH_DAYS.c.day == f"{day}")
        return self._database.read(lambda db: db.execute(query).scalar())


def _list_oldest(db: sql.Connection) -> list[tuple[str, int, int]]:
    """List the last tick of the oldest chunk of each stream that has chunks, with the interval of its grid.

    The names are found one after the other in the index: all chunks are many times more. The chunks of a stream with
    another interval are numbered apart, so its first and its last chunk in the order of ticks show that it has some.
    """
    first = sql.select(sql.func.min(_OF.stream).label("stream")).cte("names", recursive=True)
    behind = sql.select(sql.func.min(_OF.stream)).where(_OF.stream > first.c.stream).correlate(first)
    names = first.union_all(sql.select(behind.scalar_subquery()).where(first.c.stream.is_not(None)))
    ends = []
    for order in (sql.asc, sql.desc):
        for column in (_OF.interval_ns, _OF.last_tick):
            end = sql.select(column).where(_OF.stream == names.c.stream).correlate(names)
            ends.append(end.order_by(order(_OF.first_tick), order(_OF.epoch)).limit(1).scalar_subquery())
    query = sql.select(names.c.stream, *ends).where(names.c.stream.is_not(None))
    oldest = []
    for stream, interval_ns, tick, interval_at_end_ns, _ in db.execute(query).all():
        if interval_at_end_ns == interval_ns:
            oldest.append((stream, interval_ns, tick))
            continue
        of_each = sql.select(_OF.interval_ns, sql.func.min(_OF.last_tick)).where(_OF.stream == stream)
        rows = db.execute(of_each.group_by(_OF.interval_ns)).all()
        oldest.append(min(((stream, *row) for row in rows), key=lambda each: each[1] * each[2]))
    return oldest


def _begin_ns(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days * DAY_NS


def _day_of(at_ns: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=at_ns // DAY_NS)
