"""Keep what a worker sampled while the ledger is away, in a file of its own, until it can be told.

The file is of one worker and one ledger, and one process has it at a time. Beside whole chunks it holds the readings of
chunks that are still being made, so that a worker that is killed loses none. It is bounded: when it is full, of the
oldest chunks one reading in THIN_BY stays, and where they are thinned already they go. Both are counted, and told.
"""

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import ConflictError, SetupError
from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading
from harness.store import reading_columns
from harness.store.reading_columns import ReadingRows
from harness.store.watch_samples import ChunkKey, PackedChunk

MOST_BYTES = 1 << 30
"""A day of 1,000 streams takes some 1.2 GB; a spool that is full thins its oldest readings."""

THIN_BY = 10
_THIN_AT_ONCE = 500
_VERSION = "2"
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS whole (
    number INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, epoch INTEGER NOT NULL, first_tick INTEGER NOT NULL,
    last_tick INTEGER NOT NULL, interval_ns INTEGER NOT NULL, readings BLOB NOT NULL,
    UNIQUE (stream, first_tick, epoch));
CREATE TABLE IF NOT EXISTS thinned (
    number INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch INTEGER NOT NULL, first_tick INTEGER NOT NULL,
    last_tick INTEGER NOT NULL, interval_ns INTEGER NOT NULL, readings BLOB NOT NULL,
    UNIQUE (stream, first_tick, epoch));
CREATE TABLE IF NOT EXISTS changes (
    stream TEXT NOT NULL, tick INTEGER NOT NULL, epoch INTEGER NOT NULL, interval_ns INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT, sentence TEXT NOT NULL, PRIMARY KEY (stream, tick, epoch));
CREATE TABLE IF NOT EXISTS open_rows (
    stream TEXT NOT NULL, epoch INTEGER NOT NULL, tick INTEGER NOT NULL, chunk INTEGER NOT NULL,
    interval_ns INTEGER NOT NULL, row BLOB NOT NULL, PRIMARY KEY (stream, epoch, tick)) WITHOUT ROWID;
"""
_PLACES = ("thinned", "whole")
"""The tables of chunks, in the order of their age. What is thinned moves, so that whole pages become free."""

_COLUMNS = "stream, epoch, first_tick, last_tick, interval_ns, readings"
_CONTENT = ("whole", "thinned", "changes", "open_rows")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A packed reading of a chunk that is not closed yet; `chunk` is the first tick of the chunk."""

    stream: str
    epoch: int
    tick: int
    chunk: int
    interval_ns: int
    row: bytes


class Spool:
    """The spool of one worker. Its calls take ms, and are made by one thread at a time.

    Raises ConflictError where the file is another worker's, or another process has it; SetupError where it cannot be
    used. A file that is damaged is set aside: `set_aside` then names it.
    """

    def __init__(self, file: Path, worker: str, *, most_bytes: int = MOST_BYTES) -> None:
        self.file, self._worker, self._most_bytes = file, worker, most_bytes
        self.set_aside: Path | None = None
        self.thinned = self.dropped = 0
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(file)
        except OSError as error:
            raise SetupError(
                f"cannot use the spool {file}: {error.strerror}",
                next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
            ) from error
        try:
            self._db = self._open()
            self._check_owner()
            self._recover()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> sqlite3.Connection:
        """Open the file; one that is damaged is set aside, and a new one begun."""
        try:
            return _open_database(self.file)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "disk I/O" not in str(error):
                raise SetupError(
                    f"cannot use the spool {self.file}: {error}", next_step="make room on its disk, or correct its mode"
                ) from error
            self.set_aside = _name_unused(self.file)
            self.file.rename(self.set_aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{self.file}{suffix}").rename(f"{self.set_aside}{suffix}")
            _log.error("the spool %s is damaged (%s); it is set aside as %s", self.file, error, self.set_aside)
            return _open_database(self.file)

    def _check_owner(self) -> None:
        about = self._about()
        if not about:
            self._tell_about(version=_VERSION, worker=self._worker)
        elif about.get("version") != _VERSION:
            raise ConflictError(
                f"the spool {self.file} is of another version of ptp-harness",
                next_step="let that version send it, or move it away",
            )
        elif about.get("worker") != self._worker:
            raise ConflictError(
                f"the spool {self.file} is of the worker {about.get('worker')}, not of {self._worker}",
                next_step="start a worker of that name to send it, or move it away",
            )

    def check_ledger(self, ledger_id: str) -> None:
        """Check that this spool is of a ledger. Raises ConflictError where it holds what is meant for another one."""
        known = self._about().get("ledger")
        if known is not None and known != ledger_id and self.count():
            raise ConflictError(
                f"the spool {self.file} holds {self.count()} chunks for another ledger",
                next_step="name that ledger by --ledger to send them, or move the file away",
            )
        if known != ledger_id:
            self._tell_about(ledger=ledger_id)

    def _about(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM about").fetchall())

    def _tell_about(self, **values: str) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", [*values.items()])

    # -- what is being made

    def keep_open(self, rows: Sequence[OpenRow]) -> None:
        """Keep readings of chunks that are still being made."""
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO open_rows VALUES (?, ?, ?, ?, ?, ?)",
                [(row.stream, row.epoch, row.tick, row.chunk, row.interval_ns, row.row) for row in rows],
            )

    def forget_open(self, chunks: Iterable[PackedChunk]) -> None:
        """Forget the readings of chunks that are stored."""
        with self._db:
            self._forget_open(chunks)

    def _forget_open(self, chunks: Iterable[PackedChunk]) -> None:
        self._db.executemany(
            "DELETE FROM open_rows WHERE stream = ? AND epoch = ? AND tick <= ?",
            [(chunk.stream, chunk.epoch, chunk.last_tick) for chunk in chunks],
        )

    def _recover(self) -> None:
        """Close the chunks that a process which ended at once was making."""
        rows = self._db.execute(
            "SELECT stream, epoch, chunk, interval_ns, tick, row FROM open_rows ORDER BY 1, 2, 3, 4, 5"
        ).fetchall()
        groups: dict[tuple[str, int, int, int], list[tuple[int, bytes]]] = {}
        for *chunk, tick, row in rows:
            groups.setdefault(tuple(chunk), []).append((tick, row))
        for begin in range(0, len(groups), _THIN_AT_ONCE):
            self.add(
                [
                    PackedChunk(
                        stream=stream,
                        epoch=epoch,
                        interval_ns=interval_ns,
                        first_tick=min(chunk, taken[0][0]),  # as the chunk would have it that it was to become
                        last_tick=taken[-1][0],
                        columns=ReadingRows(packed=b"".join(row for _, row in taken)).encode(),
                    )
                    for (stream, epoch, chunk, interval_ns), taken in [*groups.items()][begin : begin + _THIN_AT_ONCE]
                ]
            )

    # -- chunks and changes

    def add(self, chunks: Sequence[PackedChunk]) -> None:
        """Add chunks; one that is there already stays as it is."""
        self._make_room()
        with self._db:
            self._db.executemany(
                f"INSERT OR IGNORE INTO whole ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (each.stream, each.epoch, each.first_tick, each.last_tick, each.interval_ns, each.columns)
                    for each in chunks
                ],
            )
            self._forget_open(chunks)

    def add_changes(self, changes: Sequence[tuple[str, int, StateChange]]) -> None:
        """Add changes of state: of a stream, in an epoch."""
        with self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        stream,
                        change.tick,
                        epoch,
                        change.interval_ns,
                        str(change.state),
                        change.reason and str(change.reason),
                        change.sentence,
                    )
                    for stream, epoch, change in changes
                ],
            )

    def read_oldest(self, most: int) -> list[PackedChunk]:
        """Read the chunks that were added first."""
        chunks: list[PackedChunk] = []
        for place in _PLACES:
            query = f"SELECT {_COLUMNS} FROM {place} ORDER BY number LIMIT ?"
            chunks += [
                PackedChunk(
                    stream=stream,
                    epoch=epoch,
                    interval_ns=interval_ns,
                    first_tick=first,
                    last_tick=last,
                    columns=columns,
                )
                for stream, epoch, first, last, interval_ns, columns in self._db.execute(query, (most - len(chunks),))
            ]
        return chunks

    def read_changes(self, most: int) -> list[tuple[str, int, StateChange]]:
        """Read changes of state, the earliest first."""
        rows = self._db.execute(
            "SELECT stream, epoch, tick, interval_ns, state, reason, sentence FROM changes "
            "ORDER BY tick * interval_ns, stream LIMIT ?",
            (most,),
        )
        return [
            (
                stream,
                epoch,
                StateChange(
                    tick=tick,
                    interval_ns=interval_ns,
                    state=StreamState(state),
                    reason=reason and Reason(reason),
                    sentence=text,
                ),
            )
            for stream, epoch, tick, interval_ns, state, reason, text in rows
        ]

    def drop(self, keys: Iterable[ChunkKey]) -> None:
        """Remove chunks that the ledger has."""
        rows = [*keys]
        with self._db:
            for place in _PLACES:
                self._db.executemany(f"DELETE FROM {place} WHERE stream = ? AND first_tick = ? AND epoch = ?", rows)

    def drop_changes(self, changes: Iterable[tuple[str, int, StateChange]]) -> None:
        """Remove changes that the ledger has."""
        with self._db:
            self._db.executemany(
                "DELETE FROM changes WHERE stream = ? AND epoch = ? AND tick = ?",
                [(stream, epoch, change.tick) for stream, epoch, change in changes],
            )

    def count(self) -> int:
        """Count the chunks."""
        return sum(int(self._db.execute(f"SELECT COUNT(*) FROM {place}").fetchone()[0]) for place in _PLACES)

    def count_bytes(self) -> int:
        """Count the bytes in use."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    # -- a full spool

    def _make_room(self) -> None:
        """Thin the oldest chunks while the spool is full; where all are thinned, drop the oldest."""
        before = self.thinned, self.dropped
        while self.count_bytes() >= self._most_bytes:
            oldest = f"SELECT number, {_COLUMNS} FROM whole ORDER BY number LIMIT ?"
            whole = self._db.execute(oldest, (_THIN_AT_ONCE,)).fetchall()
            if whole:
                self._thin(whole)
            elif not self._drop_oldest():
                break
        if (self.thinned, self.dropped) != before:
            _log.warning(
                "the spool %s is full: of %d chunks one reading in %d stays, and %d chunks are dropped",
                self.file, self.thinned, THIN_BY, self.dropped,
            )  # fmt: skip

    def _thin(self, rows: Sequence[tuple[int, str, int, int, int, int, bytes]]) -> None:
        thinned = [(*row[:-1], _thin(row[-1])) for row in rows]
        with self._db:
            self._db.executemany(
                f"INSERT OR REPLACE INTO thinned (number, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", thinned
            )
            self._db.executemany("DELETE FROM whole WHERE number = ?", [(row[0],) for row in rows])
        self.thinned += len(rows)

    def _drop_oldest(self) -> int:
        with self._db:
            oldest = "DELETE FROM thinned WHERE number IN (SELECT number FROM thinned ORDER BY number LIMIT ?)"
            dropped = self._db.execute(oldest, (_THIN_AT_ONCE,)).rowcount
        self.dropped += dropped
        return dropped


def _thin(columns: bytes) -> bytes:
    """Keep the first and last reading of a chunk, and one in THIN_BY of those between."""
    readings: list[TickReading] = reading_columns.decode(columns)
    kept = [each for place, each in enumerate(readings) if place % THIN_BY == 0 or place == len(readings) - 1]
    return ReadingRows(kept).encode()


def _open_database(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, check_same_thread=False, timeout=10)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")  # a kill loses nothing; a crash of the machine its last moments
        words = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if words != "ok":
            raise sqlite3.DatabaseError(str(words))
        _drop_earlier_tables(database)
        database.executescript(_TABLES)
    except BaseException:
        database.close()
        raise
    return database


def _drop_earlier_tables(database: sqlite3.Connection) -> None:
    """Drop the tables of another version where they hold nothing; else they stay, and the spool is refused."""
    names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names.issuperset(("about", *_CONTENT)):
        return
    version = database.execute("SELECT value FROM about WHERE name = 'version'").fetchone()
    if version == (_VERSION,) or any(database.execute(f"SELECT 1 FROM {name}").fetchone() for name in _CONTENT):
        return
    with database:
        for name in ("about", *_CONTENT):
            database.execute(f"DROP TABLE {name}")


def _lock(file: Path) -> IO[str]:
    """Have the spool for this process alone. Raises ConflictError."""
    lock = Path(f"{file}.lock").open("w")  # noqa: SIM115 - held as long as the spool
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConflictError(
            f"another process uses the spool {file}", next_step="give this worker another name, or end that one"
        ) from None
    return lock


def _name_unused(file: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return Path(f"{file}.damaged-{stamp}-{os.getpid()}")
