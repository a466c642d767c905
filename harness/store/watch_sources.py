"""Read what a worker needs to sample streams: how hosts are reached, how often, what their clocks are held against."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.tables import VERSIONS, WATCH_STREAMS

_OF = WATCH_STREAMS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSetup:
    """A stream as it was added. `source`: how its host is reached; `limits`: what its clock is held against."""

    stream: str
    source: Mapping[str, Any]
    limits: Mapping[str, Any]
    interval_s: float
    weight: float
    added_ns: int
    added_by: str


class WatchSources:
    """The streams of a ledger, as they were added."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, streams: Iterable[str] | None = None) -> dict[str, StreamSetup]:
        """Read streams by their names, or all; those that are gone are left out."""
        names = [_OF[name] for name in ("stream", "source", "limits", "interval_s", "weight", "added_ns", "added_by")]
        query = sql.select(*names).order_by(_OF.stream)
        if streams is not None:
            query = query.where(_OF.stream.in_([*streams]))
        rows: Sequence[Any] = self._database.read(lambda db: db.execute(query).all())
        return {row.stream: StreamSetup(**row._asdict()) for row in rows}

    def read_time_ns(self) -> int:
        """Read the database's time, ns since the epoch."""
        return int(self._database.read(lambda db: db.execute(sql.select(now_ns())).scalar_one()))

    def read_ledger_id(self) -> str:
        """Read what tells this ledger from others: the moment at which its tables were made, which a copy has too."""
        first = sql.select(sql.func.min(VERSIONS.c.made_ns))
        return f"{self._database.read(lambda db: db.execute(first).scalar_one()):x}"
