"""Find the days of streams that may leave the ledger, and record where their samples are then."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.owners import read_now
from harness.store.tables import WATCH_CHUNKS, WATCH_DAYS, WATCH_STREAMS

DAY_NS = 86_400_000_000_000
_OF = WATCH_CHUNKS.c
_AT_ONCE = 200
ChunkKey = tuple[str, int, int]
"""Stream, first tick, epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedDay:
    """A day of a stream, in UTC, whose chunks are still in the ledger."""

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

        Chunks of streams that were removed are left out: without its grid a tick has no time.
        """
        own = _OF.stream == WATCH_STREAMS.c.stream
        oldest = sql.select(_OF.last_tick).where(own).order_by(_OF.first_tick, _OF.epoch).limit(1)
        query = sql.select(
            WATCH_STREAMS.c.stream, WATCH_STREAMS.c.interval_s, oldest.correlate(WATCH_STREAMS).scalar_subquery()
        )

        def read(db: sql.Connection) -> list[FinishedDay]:
            end_ns = (read_now(db) // DAY_NS - kept_days) * DAY_NS
            days = []
            for stream, interval_s, tick in db.execute(query).all():
                interval_ns = max(1, round(interval_s * 1e9))
                if tick is not None and tick * interval_ns < end_ns:
                    days.append(FinishedDay(stream=stream, day=_day_of(tick * interval_ns), interval_ns=interval_ns))
            return sorted(days, key=lambda each: (each.day, each.stream))

        return self._database.read(read)

    def list_keys(self, day: FinishedDay) -> list[ChunkKey]:
        """List the chunks that end in a day."""
        ends = sql.and_(_OF.stream == day.stream, _OF.last_tick >= day.first_tick, _OF.last_tick <= day.last_tick)
        query = sql.select(_OF.stream, _OF.first_tick, _OF.epoch).where(ends).order_by(_OF.first_tick, _OF.epoch)
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

    def count_left_over(self) -> int:
        """Count the streams that were removed and still have chunks."""
        known = sql.exists().where(WATCH_STREAMS.c.stream == _OF.stream)
        query = sql.select(sql.func.count(_OF.stream.distinct())).where(sql.not_(known))
        return self._database.read(lambda db: int(db.execute(query).scalar_one()))

    def find_archive(self, stream: str, day: datetime.date) -> str | None:
        """Find the file of a day."""
        query = sql.select(WATCH_DAYS.c.archive).where(WATCH_DAYS.c.stream == stream, WATCH_DAYS.c.day == f"{day}")
        return self._database.read(lambda db: db.execute(query).scalar())


def _begin_ns(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days * DAY_NS


def _day_of(at_ns: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=at_ns // DAY_NS)
