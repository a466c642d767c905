"""Keep the samples of past days as Parquet files in the evidence store, and remove their chunks from the ledger.

A file is written whole or not at all, read back, and named with its SHA-256 in the ledger before a chunk is removed.
Its name has a part of that digest: no file is ever changed. Samples of a day that come after its file was written make
another file, with those of the one before.
"""

import datetime
import hashlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.errors import HarnessError, SetupError
from harness.model.watched import TickReading
from harness.store.database import Database
from harness.store.object_store import ObjectStore
from harness.store.watch_archive import FinishedDay, WatchArchives
from harness.store.watch_samples import WatchSamples
from harness.untrusted.plain_text import printable

KEPT_DAYS = 2
FORMAT = "2"
_MOST_BYTES = 256 << 20
_STEP_S = 60.0
_COLUMNS = [field.name for field in fields(TickReading)]
_FLAG = "follows_phc"
_INTERVAL = "interval_ns"
_log = logging.getLogger(__name__)


Samples = Mapping[int, Sequence[TickReading]]
"""Readings in the order of their ticks, by the interval of the grid of these, ns: as a rule there is one."""


class ArchiveError(SetupError):
    """A file of a day that is not what was written: it is missing, changed or damaged."""


class SampleArchive:
    """Moves finished days of a ledger's streams into a store. `kept_days`: whole days that stay in the ledger."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        *,
        kept_days: int = KEPT_DAYS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archives, self._samples = WatchArchives(database), WatchSamples(database)
        self._store, self._kept_days, self._now = store, kept_days, now

    def step(self) -> list[str]:
        """Archive what is finished, for a minute at most; return a sentence for each day, also for one that failed.

        Raises what the database raises, StoreAwayError, and SetupError without pyarrow: then the chunks stay.
        """
        begun, told = self._now(), list[str]()
        days = self._archives.list_finished(kept_days=self._kept_days)
        if days:
            require_parquet()
        for day in days:
            try:
                told.append(self._archive(day))
            except SetupError:
                raise
            except HarnessError as error:  # a damaged chunk holds up its own stream alone
                told.append(f"{day.day} of {printable(day.stream)} stays in the ledger: {error}")
            if self._now() - begun > _STEP_S:
                break
        return told

    def read_day(self, stream: str, day: datetime.date) -> Samples:
        """Read the samples of an archived day; none where it was not archived. Raises ArchiveError, StoreAwayError."""
        archive = self._archives.find_archive(stream, day)
        return {} if archive is None else read_archive(self._store, archive)

    def _archive(self, day: FinishedDay) -> str:
        keys = self._archives.list_keys(day)
        readings = self._samples.read(day.stream, day.first_tick, day.last_tick, interval_ns=day.interval_ns)
        before = self.read_day(day.stream, day.day)
        merged = {reading.tick: reading for reading in (*readings, *before.get(day.interval_ns, ()))}
        samples = {**before, day.interval_ns: [merged[tick] for tick in sorted(merged)]}
        archive = write_archive(self._store, day, samples)
        self._archives.record(day, archive, keys)
        count = sum(len(each) for each in samples.values())
        return f"{day.day} of {printable(day.stream)}: {count} samples are in {self._store.label}"


def require_parquet() -> None:
    """Raise SetupError where files of Parquet cannot be written here."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise SetupError(
            "samples of past days stay in the ledger: an archive of them needs the package pyarrow",
            next_step="pip install 'ptp-harness[parquet]'",
        ) from error


def write_archive(store: ObjectStore, day: FinishedDay, samples: Samples) -> str:
    """Write the file of a day; return its reference: the name in the store, and its SHA-256."""
    content = encode_day(day, samples)
    digest = hashlib.sha256(content).hexdigest()
    name = f"watch/{day.day}/{quote(day.stream, safe='')}.{digest[:16]}.parquet"
    reference = f"{name}#sha256={digest}"
    with tempfile.NamedTemporaryFile(prefix="ptp-harness-", suffix=".parquet") as file:
        file.write(content)
        file.flush()
        store.put_file(name, Path(file.name))
    _read_checked(store, reference)
    return reference


def read_archive(store: ObjectStore, reference: str) -> Samples:
    """Read a file by its reference. Raises ArchiveError for one that is not what was written."""
    return decode_day(_read_checked(store, reference), reference)


def encode_day(day: FinishedDay, samples: Samples) -> bytes:
    """Encode a day as Parquet: a row a sample, in the order of time, with `utc_ns`, the begin of its tick."""
    import pyarrow
    from pyarrow import parquet

    types = {name: pyarrow.bool_() if name == _FLAG else pyarrow.int64() for name in _COLUMNS}
    rows = [(interval_ns, reading) for interval_ns, readings in samples.items() for reading in readings]
    rows.sort(key=lambda row: row[0] * row[1].tick)
    columns: dict[str, Any] = {
        name: pyarrow.array([getattr(reading, name) for _, reading in rows], kind) for name, kind in types.items()
    }
    columns["utc_ns"] = pyarrow.array([reading.tick * interval_ns for interval_ns, reading in rows], pyarrow.int64())
    columns[_INTERVAL] = pyarrow.array([interval_ns for interval_ns, _ in rows], pyarrow.int64())
    about = {"format": FORMAT, "stream": day.stream, "day": f"{day.day}"}
    table = pyarrow.table(columns).replace_schema_metadata({f"ptp-harness.{key}": about[key] for key in about})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def decode_day(content: bytes, name: str) -> Samples:
    """Decode the samples of a day, of FORMAT or of format 1, which has one interval. Raises ArchiveError."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
        columns = [table.column(column).to_pylist() for column in _COLUMNS]
        if _INTERVAL in table.column_names:
            intervals = table.column(_INTERVAL).to_pylist()
        else:
            intervals = [int((table.schema.metadata or {})[b"ptp-harness.interval_ns"])] * table.num_rows
    except (pyarrow.ArrowException, KeyError, ValueError, OSError) as error:
        raise ArchiveError(
            f"the archived samples {name} cannot be read: {printable(f'{error}'[:300])}",
            next_step="see who wrote this file: it is not one of this version",
        ) from error
    samples: dict[int, list[TickReading]] = {}
    for interval_ns, *row in zip(intervals, *columns, strict=True):
        samples.setdefault(interval_ns, []).append(TickReading(**dict(zip(_COLUMNS, row, strict=True))))
    return samples


def _read_checked(store: ObjectStore, reference: str) -> bytes:
    name, _, digest = reference.partition("#sha256=")
    content = store.read(name, most=_MOST_BYTES)
    if content is None or hashlib.sha256(content).hexdigest() != digest:
        found = "is missing" if content is None else "was changed: its SHA-256 is another one than in the ledger"
        raise ArchiveError(
            f"the archived samples {store.label}/{name}: the file {found}",
            next_step="see who removes or writes files there",
        )
    return content
