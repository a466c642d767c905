"""Remember in the ledger which chunks were sent to another store of series, so that a restart sends none twice.

Transactions end in another order than they begin: a chunk may be seen only after one that was stored later. So a cursor
has two parts: all chunks that were stored until `through_ns` were sent, and of those stored later the ones whose
digests it holds. `through_ns` stays SETTLED_S behind the database's time, longer than a transaction may take. Where
that time was set back, chunks of the time in between are sent once more: the other store has them already.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.owners import read_now
from harness.store.tables import WATCH_CHUNKS, WATCH_CURSORS

SETTLED_S = 120.0
"""A server ends a transaction that is idle for 30 s, and `Database.write` gives up after 120 s."""

MOST_TICKS = 4096
"""Longest chunk whose overlap with another one is looked for: a minute of 50 ms."""

_OF = WATCH_CHUNKS.c


class Lane(StrEnum):
    """Chunks that are sent apart: those of now, and those that were spooled while the ledger was away."""

    LIVE = "live"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the chunks of a lane. `sent`: by the digest of each chunk, when it was stored.

    `samples`, `refused`: how many were sent, and refused there, of all times.
    """

    name: str
    lane: Lane
    revision: int
    through_ns: int
    sent: Mapping[str, int]
    samples: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A chunk without its readings. `interval_ns`: of the grid of its ticks."""

    stream: str
    first_tick: int
    epoch: int
    last_tick: int
    interval_ns: int
    stored_ns: int
    replayed: bool

    @property
    def key(self) -> tuple[str, int, int]:
        return self.stream, self.first_tick, self.epoch

    @property
    def digest(self) -> str:
        text = f"{self.first_tick} {self.epoch} {self.stream}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """The delay of a sender. `oldest_s`: age of the oldest chunk that waits; None: none waits."""

    label: str
    lane: Lane
    samples: int
    refused: int
    problem: str | None
    oldest_s: float | None


class WatchCursors:
    """The cursors of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, target: str, label: str, lane: Lane) -> Cursor:
        """Read the cursor of a target; the first time, make one that begins two minutes ago.

        `target`: names it for ever, such as a digest of its URL; `label`: names it for people.
        """
        name = f"{target}/{lane}"
        begin_ns = now_ns() - round(SETTLED_S * 1e9)
        fresh = {"revision": 0, "sent": {}, "samples": 0, "refused": 0, "through_ns": begin_ns, "written_ns": now_ns()}

        def open_cursor(db: sql.Connection) -> Cursor:
            insert = self._database.insert(WATCH_CURSORS)
            db.execute(insert.values(cursor=name, label=label, **fresh).on_conflict_do_nothing())
            row = db.execute(sql.select(WATCH_CURSORS).where(WATCH_CURSORS.c.cursor == name)).one()
            return Cursor(
                name=name,
                lane=lane,
                revision=row.revision,
                through_ns=row.through_ns,
                sent=dict(row.sent),
                samples=row.samples,
                refused=row.refused,
            )

        return self._database.write(open_cursor)

    def list_waiting(self, cursor: Cursor, *, most: int) -> list[StoredChunk]:
        """List chunks of the cursor's lane that were not sent, in the order in which they were stored."""
        return self._database.read(lambda db: _list_waiting(db, cursor, most))

    def list_overlapping(self, chunks: Collection[StoredChunk]) -> list[StoredChunk]:
        """List the other chunks of the same streams that may hold ticks of these."""
        if not chunks:
            return []
        own = WATCH_CHUNKS.alias("own")
        keys = sql.tuple_(own.c.stream, own.c.first_tick, own.c.epoch).in_(sorted(chunk.key for chunk in chunks))
        overlaps = sql.and_(
            _OF.stream == own.c.stream,
            _OF.interval_ns == own.c.interval_ns,
            sql.or_(_OF.epoch != own.c.epoch, _OF.first_tick != own.c.first_tick),
            _OF.first_tick > own.c.first_tick - MOST_TICKS,
            _OF.first_tick <= own.c.last_tick,
            _OF.last_tick >= own.c.first_tick,
        )
        query = sql.select(*_columns()).select_from(own.join(WATCH_CHUNKS, overlaps)).where(keys).distinct()
        rows = self._database.read(lambda db: db.execute(query).all())
        return [StoredChunk(**row._asdict()) for row in rows]

    def advance(
        self, cursor: Cursor, chunks: Sequence[StoredChunk], *, samples: int = 0, refused: int = 0
    ) -> Cursor | None:
        """Record chunks as sent; None where another process has moved the cursor meanwhile: it is the sender now."""

        moved = replace(
            cursor,
            revision=cursor.revision + 1,
            sent={**cursor.sent, **{chunk.digest: chunk.stored_ns for chunk in chunks}},
            samples=cursor.samples + samples,
            refused=cursor.refused + refused,
        )
        values = {
            "revision": moved.revision,
            "through_ns": moved.through_ns,
            "sent": dict(moved.sent),
            "samples": moved.samples,
            "refused": moved.refused,
            "problem": None,
        }
        return moved if self._database.write(lambda db: _write(db, cursor, values)) else None

    def settle(self, cursor: Cursor) -> Cursor:
        """Return a cursor that holds as few digests as possible; it is written when it advances next."""

        def settle(db: sql.Connection) -> Cursor:
            settled_ns = _settled_ns(db)
            waiting = _list_waiting(db, cursor, 1)
            through_ns = min(settled_ns, waiting[0].stored_ns - 1) if waiting else settled_ns
            through_ns = max(min(cursor.through_ns, settled_ns), through_ns)
            later = {digest: stored_ns for digest, stored_ns in cursor.sent.items() if stored_ns > through_ns}
            return replace(cursor, through_ns=through_ns, sent=later)

        return self._database.read(settle)

    def tell_problem(self, cursor: Cursor, problem: str) -> None:
        """Record why chunks are not sent. The cursor stays where it is."""
        self._database.write(lambda db: _write(db, cursor, {"problem": problem}))

    def read_lags(self, *, within_s: float = math.inf) -> list[Lag]:
        """Read how far each sender is behind, of those that did something within so many seconds."""

        def read(db: sql.Connection) -> list[Lag]:
            now = read_now(db)
            lags = []
            for row in db.execute(sql.select(WATCH_CURSORS).order_by(WATCH_CURSORS.c.cursor)).all():
                if now - row.written_ns > within_s * 1e9:
                    continue
                lane = Lane(row.cursor.rpartition("/")[2])
                cursor = Cursor(name=row.cursor, lane=lane, revision=0, through_ns=row.through_ns, sent=dict(row.sent))
                waiting = _list_waiting(db, cursor, 1)
                lags.append(
                    Lag(
                        label=row.label,
                        lane=lane,
                        samples=row.samples,
                        refused=row.refused,
                        problem=row.problem,
                        oldest_s=max(0.0, (now - waiting[0].stored_ns) / 1e9) if waiting else None,
                    )
                )
            return lags

        return self._database.read(read)


def _settled_ns(db: sql.Connection) -> int:
    return read_now(db) - round(SETTLED_S * 1e9)


def _columns() -> Iterable[sql.ColumnElement[object]]:
    names = ("stream", "first_tick", "epoch", "last_tick", "interval_ns", "stored_ns", "replayed")
    return (WATCH_CHUNKS.c[name] for name in names)


def _list_waiting(db: sql.Connection, cursor: Cursor, most: int) -> list[StoredChunk]:
    after_ns = min(cursor.through_ns, _settled_ns(db))
    query = (
        sql.select(*_columns())
        .where(_OF.stored_ns > after_ns, _OF.replayed == sql.literal(cursor.lane is Lane.REPLAYED))
        .order_by(_OF.stored_ns, _OF.stream, _OF.first_tick, _OF.epoch)
        .limit(most + len(cursor.sent))
    )
    chunks = (StoredChunk(**row._asdict()) for row in db.execute(query).all())
    return [chunk for chunk in chunks if chunk.digest not in cursor.sent][:most]


def _write(db: sql.Connection, cursor: Cursor, values: dict[str, object]) -> bool:
    ours = (WATCH_CURSORS.c.cursor == cursor.name) & (WATCH_CURSORS.c.revision == cursor.revision)
    return bool(db.execute(WATCH_CURSORS.update().where(ours).values(**values, written_ns=now_ns())).rowcount)
