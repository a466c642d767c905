"""Store what workers sampled, in chunks that are never changed, and read it back with one reading a tick."""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite

from harness.errors import HarnessError
from harness.model.watched import TickReading
from harness.store.database import SQLITE, Database, now_ns
from harness.store.tables import WATCH_CHUNKS

_COLUMNS = [field.name for field in fields(TickReading)]
_OF = WATCH_CHUNKS.c
ChunkKey = tuple[str, int, int]
"""Stream, first tick, epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The readings that one worker took of a stream, in the order of their ticks; ticks may be missing."""

    stream: str
    epoch: int
    first_tick: int
    last_tick: int
    readings: Sequence[TickReading]


class WatchSamples:
    """The chunks of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def store(self, chunks: Sequence[Chunk], *, worker: str, replayed: bool) -> None:
        """Store chunks; one that is there already stays as it is."""
        rows = [
            {
                "stream": chunk.stream,
                "first_tick": chunk.first_tick,
                "epoch": chunk.epoch,
                "last_tick": chunk.last_tick,
                "worker": worker,
                "replayed": replayed,
                "readings": _encode(chunk.readings),
            }
            for chunk in chunks
        ]
        insert = (sqlite.insert if self._database.kind == SQLITE else postgresql.insert)(WATCH_CHUNKS)
        statement = insert.values(stored_ns=now_ns()).on_conflict_do_nothing()
        if rows:
            self._database.write(lambda db: db.execute(statement, rows))

    def read(self, stream: str, first_tick: int, last_tick: int) -> list[TickReading]:
        """Read a stream from one tick to another; of two readings of one tick that of the later epoch counts."""
        overlaps = (_OF.stream == stream) & (_OF.first_tick <= last_tick) & (_OF.last_tick >= first_tick)
        query = sql.select(_OF.readings).where(overlaps).order_by(_OF.epoch)
        rows = self._database.read(lambda db: db.execute(query).scalars().all())
        merged = {reading.tick: reading for row in rows for reading in _decode(row)}
        return [merged[tick] for tick in sorted(merged) if first_tick <= tick <= last_tick]

    def read_chunks(self, keys: Iterable[ChunkKey]) -> list[Chunk]:
        """Read chunks by their keys; those that are gone are left out."""
        wanted = sql.tuple_(_OF.stream, _OF.first_tick, _OF.epoch).in_(sorted(keys))
        rows = self._database.read(lambda db: db.execute(sql.select(WATCH_CHUNKS).where(wanted)).all())
        return [
            Chunk(
                stream=row.stream,
                epoch=row.epoch,
                first_tick=row.first_tick,
                last_tick=row.last_tick,
                readings=_decode(row.readings),
            )
            for row in rows
        ]


def _encode(readings: Sequence[TickReading]) -> bytes:
    return zlib.compress(json.dumps([[getattr(each, name) for name in _COLUMNS] for each in readings]).encode())


def _decode(content: bytes) -> list[TickReading]:
    try:
        rows = json.loads(zlib.decompress(content))
    except (zlib.error, ValueError) as error:
        raise HarnessError(f"readings are damaged in the ledger: {error}") from error
    return [TickReading(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]
