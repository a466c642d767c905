"""Store what workers sampled, in chunks that are never changed, and read it back with one reading a tick.

A chunk holds a minute of a stream, of one owner. Of two readings of one tick, taken while a stream went from one worker
to another, that of the later epoch counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.errors import HarnessError
from harness.model.watched import TickReading
from harness.store import reading_columns
from harness.store.database import Database, now_ns
from harness.store.reading_columns import MOST_READINGS, ReadingRows
from harness.store.tables import WATCH_CHUNKS

_OF = WATCH_CHUNKS.c
_AT_ONCE = 200
"""Keys in one statement: SQLite takes at most 32,766 values, of which a key has three."""

ChunkKey = tuple[str, int, int]
"""Stream, first tick, epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The readings that one owner took of a stream, in the order of their ticks; ticks may be missing.

    `first_tick` and `last_tick` bound the readings; `epoch`: of the owner; `interval_ns`: of the grid of these ticks.
    """

    stream: str
    epoch: int
    interval_ns: int
    first_tick: int
    last_tick: int
    readings: Sequence[TickReading]

    @property
    def key(self) -> ChunkKey:
        return self.stream, self.first_tick, self.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedChunk:
    """A chunk whose readings are written as columns: what a worker sends, and spools."""

    stream: str
    epoch: int
    interval_ns: int
    first_tick: int
    last_tick: int
    columns: bytes


class WatchSamples:
    """The chunks of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def store(self, chunks: Sequence[Chunk], *, worker: str, replayed: bool) -> None:
        """Store chunks; one that is there already stays as it is. `replayed`: they were spooled meanwhile.

        Raises ValueError for readings that are not in the order of their ticks, or are more than MOST_READINGS.
        """
        self.store_packed([pack_chunk(chunk) for chunk in chunks], worker=worker, replayed=replayed)

    def store_packed(self, chunks: Sequence[PackedChunk], *, worker: str, replayed: bool) -> None:
        """Store chunks as `store` does."""
        rows = [
            {
                "stream": chunk.stream,
                "first_tick": chunk.first_tick,
                "epoch": chunk.epoch,
                "last_tick": chunk.last_tick,
                "interval_ns": chunk.interval_ns,
                "worker": worker,
                "replayed": replayed,
                "readings": chunk.columns,
            }
            for chunk in chunks
        ]
        insert = self._database.insert(WATCH_CHUNKS)
        statement = insert.values(stored_ns=now_ns()).on_conflict_do_nothing()

        def store(db: sql.Connection) -> None:
            db.execute(statement, rows)

        if rows:
            self._database.write(store)

    def read(self, stream: str, first_tick: int, last_tick: int, *, interval_ns: int) -> list[TickReading]:
        """Read a stream from one tick to another, both included: one reading a tick, that of the latest epoch.

        `interval_ns`: of the grid of these ticks. What was sampled on another one, before the stream was removed and
        added again, is left out.

        Raises HarnessError for a chunk that is damaged.
        """
        begins = _OF.first_tick.between(first_tick - MOST_READINGS, last_tick)
        query = sql.select(_OF.first_tick, _OF.readings).where(
            _OF.stream == stream, begins, _OF.last_tick >= first_tick, _OF.interval_ns == interval_ns
        )
        rows = self._database.read(lambda db: db.execute(query.order_by(_OF.epoch, _OF.first_tick)).all())
        merged = {reading.tick: reading for row in rows for reading in _decode(row.readings, stream, row.first_tick)}
        return [merged[tick] for tick in sorted(merged) if first_tick <= tick <= last_tick]

    def find_first_tick(self, stream: str, first_tick: int, last_tick: int, *, interval_ns: int) -> int | None:
        """Find the first tick within others of which a stream has a chunk; None without one."""
        begins = _OF.first_tick.between(first_tick - MOST_READINGS, last_tick)
        query = sql.select(_OF.first_tick).where(
            _OF.stream == stream, begins, _OF.last_tick >= first_tick, _OF.interval_ns == interval_ns
        )
        begin = self._database.read(lambda db: db.execute(query.order_by(_OF.first_tick).limit(1)).scalar())
        return None if begin is None else max(begin, first_tick)

    def read_chunks(self, keys: Iterable[ChunkKey]) -> list[Chunk]:
        """Read chunks by their keys, in the order of these; those that are gone are left out."""
        ordered, chunks = sorted({*keys}), []
        for begin in range(0, len(ordered), _AT_ONCE):
            query = sql.select(WATCH_CHUNKS).where(_has_key(ordered[begin : begin + _AT_ONCE]))
            query = query.order_by(_OF.stream, _OF.first_tick, _OF.epoch)
            chunks += [
                Chunk(
                    stream=row.stream,
                    epoch=row.epoch,
                    interval_ns=row.interval_ns,
                    first_tick=row.first_tick,
                    last_tick=row.last_tick,
                    readings=_decode(row.readings, row.stream, row.first_tick),
                )
                for row in self._database.read(lambda db, query=query: db.execute(query).all())  # type: ignore[misc]
            ]
        return chunks

    def list_finished(self, before_tick: int, *, stream: str | None = None) -> list[ChunkKey]:
        """List the chunks that end before a tick, by stream and tick. Ticks of streams with other intervals differ."""
        query = sql.select(_OF.stream, _OF.first_tick, _OF.epoch).where(_OF.last_tick < before_tick)
        if stream is not None:
            query = query.where(_OF.stream == stream)
        query = query.order_by(_OF.stream, _OF.first_tick, _OF.epoch)
        return [
            (row.stream, row.first_tick, row.epoch) for row in self._database.read(lambda db: db.execute(query).all())
        ]

    def drop(self, keys: Iterable[ChunkKey]) -> int:
        """Remove chunks, which are then archived elsewhere; return how many were there."""
        ordered = sorted({*keys})

        def drop(db: sql.Connection) -> int:
            parts = [ordered[begin : begin + _AT_ONCE] for begin in range(0, len(ordered), _AT_ONCE)]
            return sum(db.execute(sql.delete(WATCH_CHUNKS).where(_has_key(part))).rowcount for part in parts)

        return self._database.write(drop) if ordered else 0

    def find_last_ticks(self) -> dict[str, int]:
        """Find the last tick that is stored of each stream."""
        query = sql.select(_OF.stream, sql.func.max(_OF.last_tick).label("last")).group_by(_OF.stream)
        return {row.stream: row.last for row in self._database.read(lambda db: db.execute(query).all())}


def pack_chunk(chunk: Chunk) -> PackedChunk:
    """Write a chunk's readings as columns. Raises ValueError as `WatchSamples.store` does."""
    return PackedChunk(
        stream=chunk.stream,
        epoch=chunk.epoch,
        interval_ns=chunk.interval_ns,
        first_tick=chunk.first_tick,
        last_tick=chunk.last_tick,
        columns=ReadingRows(chunk.readings).encode(),
    )


def _has_key(keys: Sequence[ChunkKey]) -> sql.ColumnElement[bool]:
    return sql.tuple_(_OF.stream, _OF.first_tick, _OF.epoch).in_(keys)


def _decode(columns: bytes, stream: str, first_tick: int) -> list[TickReading]:
    try:
        return reading_columns.decode(columns)
    except ValueError as error:
        raise HarnessError(
            f"the readings of {stream} from tick {first_tick} are damaged in the ledger: {error}",
            next_step="restore the ledger from a backup, or remove this row of watch_chunks",
        ) from error
