"""Past days of samples go to the evidence store whole, and leave the ledger only then."""

import datetime
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SetupError
from harness.model.watched import TickReading
from harness.store.ledger import Ledger
from harness.store.object_store import ObjectStore, StoreAwayError, open_store
from harness.store.tables import WATCH_CHUNKS, WATCH_DAYS
from harness.store.watch_archive import FinishedDay, WatchArchives
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from harness.watch.archive import ArchiveError, SampleArchive, decode_day, encode_day, read_archive, require_parquet
from tests.doubles.readings import make_chunk, make_reading

DAY_S = 86_400
NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
READINGS = st.builds(
    TickReading,
    tick=st.integers(0, 2**40),
    follows_phc=st.none() | st.booleans(),
    **{name: NUMBERS for name in TickReading.__dataclass_fields__ if name not in ("tick", "follows_phc")},
)


@pytest.fixture
def store(evidence_url: str) -> ObjectStore:
    return open_store(evidence_url)


@pytest.fixture
def archive(ledger: Ledger, store: ObjectStore) -> SampleArchive:
    WatchStreams(ledger.database).add([NewStream(stream=name, source={}, limits={}) for name in ("a", "../b")], by="x")
    return SampleArchive(ledger.database, store)


def day_ago(days: int) -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=days)


def first_tick(days: int) -> int:
    """The first tick of the day so many days ago, at 1 Hz."""
    return (day_ago(days) - datetime.date(1970, 1, 1)).days * DAY_S


def fill(ledger: Ledger, stream: str, days: int, *, minutes: range = range(3), replayed: bool = False) -> list[int]:
    """Store some minutes of a day; return the ticks."""
    begin = first_tick(days)
    chunks = [make_chunk(stream, range(begin + 60 * minute, begin + 60 * minute + 60)) for minute in minutes]
    WatchSamples(ledger.database).store(chunks, worker="w", replayed=replayed)
    return [reading.tick for chunk in chunks for reading in chunk.readings]


def count_chunks(ledger: Ledger) -> int:
    with ledger.database.connect() as db:
        return int(db.execute(sql.select(sql.func.count()).select_from(WATCH_CHUNKS)).scalar_one())


def test_a_day_that_ended_two_days_ago_is_archived_and_reads_back(
    ledger: Ledger, archive: SampleArchive, store: ObjectStore
) -> None:
    ticks = fill(ledger, "a", 3)
    fill(ledger, "../b", 3)
    kept = [fill(ledger, "a", days) for days in (0, 1, 2)]
    assert len(archive.step()) == 2
    assert archive.step() == []
    assert count_chunks(ledger) == 3 * len(kept)
    read = archive.read_day("a", day_ago(3))
    assert read == [make_reading(tick) for tick in ticks]
    assert archive.read_day("a", day_ago(2)) == []
    assert WatchSamples(ledger.database).read("a", ticks[0], ticks[-1]) == []
    reference = WatchArchives(ledger.database).find_archive("../b", day_ago(3))
    assert str(reference).startswith(f"watch/{day_ago(3)}/..%2Fb.")
    assert len(read_archive(store, str(reference))) == len(ticks)


def test_days_are_archived_one_after_the_other(ledger: Ledger, archive: SampleArchive) -> None:
    for days in (5, 4, 3):
        fill(ledger, "a", days)
    assert [archive.step()[0][:10] for _ in range(3)] == [f"{day_ago(days)}" for days in (5, 4, 3)]
    assert count_chunks(ledger) == 0


def test_samples_that_come_later_are_added_and_no_file_is_changed(
    ledger: Ledger, archive: SampleArchive, store: ObjectStore
) -> None:
    first = fill(ledger, "a", 3, minutes=range(2))
    archive.step()
    before = str(WatchArchives(ledger.database).find_archive("a", day_ago(3)))
    late = fill(ledger, "a", 3, minutes=range(5, 6), replayed=True)
    archive.step()
    assert [reading.tick for reading in archive.read_day("a", day_ago(3))] == first + late
    assert [reading.tick for reading in read_archive(store, before)] == first
    assert count_chunks(ledger) == 0


def test_a_chunk_that_comes_while_its_day_is_archived_stays(ledger: Ledger, archive: SampleArchive) -> None:
    fill(ledger, "a", 3, minutes=range(1))
    (day,) = WatchArchives(ledger.database).list_finished(kept_days=2)
    keys = WatchArchives(ledger.database).list_keys(day)
    fill(ledger, "a", 3, minutes=range(1, 2))
    WatchArchives(ledger.database).record(day, "x#sha256=0", keys)
    assert count_chunks(ledger) == 1


def test_a_store_that_is_away_or_loses_what_it_got_costs_no_sample(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WatchStreams(ledger.database).add([NewStream(stream="a", source={}, limits={})], by="x")
    archive = SampleArchive(ledger.database, open_store(f"file://{tmp_path}/away"))
    fill(ledger, "a", 3)
    with pytest.raises(StoreAwayError, match="no folder for evidence"):
        archive.step()
    (tmp_path / "away").mkdir()
    monkeypatch.setattr(ObjectStore, "put_file", lambda *_: None)
    with pytest.raises(ArchiveError, match="the file is missing"):
        archive.step()
    with ledger.database.connect() as db:
        assert db.execute(sql.select(WATCH_DAYS)).all() == []
    assert count_chunks(ledger) == 3
    monkeypatch.undo()
    archive.step()
    assert count_chunks(ledger) == 0


def test_a_file_that_was_changed_is_not_used(ledger: Ledger, tmp_path: Path) -> None:
    WatchStreams(ledger.database).add([NewStream(stream="a", source={}, limits={})], by="x")
    (tmp_path / "store").mkdir()
    archive = SampleArchive(ledger.database, open_store(f"file://{tmp_path}/store"))
    fill(ledger, "a", 3)
    archive.step()
    (file,) = (tmp_path / "store").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ArchiveError, match="was changed"):
        archive.read_day("a", day_ago(3))
    with pytest.raises(ArchiveError, match="cannot be read"):
        decode_day(b"PAR1 nothing", "x")


@given(readings=st.lists(READINGS, max_size=20, unique_by=lambda reading: reading.tick))
def test_every_reading_comes_back_as_it_was(readings: list[TickReading]) -> None:
    day = FinishedDay(stream="a/b", day=datetime.date(2026, 11, 30), interval_ns=1)
    assert decode_day(encode_day(day, readings), "x") == readings


@given(day=st.dates(datetime.date(1970, 1, 1), datetime.date(2200, 1, 1)), interval_ns=st.integers(10**6, 10**11))
def test_each_tick_is_of_one_day(day: datetime.date, interval_ns: int) -> None:
    today = FinishedDay(stream="a", day=day, interval_ns=interval_ns)
    tomorrow = FinishedDay(stream="a", day=day + datetime.timedelta(days=1), interval_ns=interval_ns)
    assert tomorrow.first_tick == today.last_tick + 1
    begin_ns = (day - datetime.date(1970, 1, 1)).days * DAY_S * 10**9
    assert begin_ns <= today.first_tick * interval_ns < begin_ns + interval_ns
    assert today.last_tick * interval_ns < begin_ns + DAY_S * 10**9


def test_without_pyarrow_the_chunks_stay_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    require_parquet()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SetupError, match="samples of past days stay in the ledger"):
        require_parquet()


def test_a_day_of_samples_is_small_and_quick() -> None:
    day = FinishedDay(stream="a", day=datetime.date(2026, 11, 30), interval_ns=10**9)
    readings = [make_reading(day.first_tick + number) for number in range(DAY_S)]
    begun = time.process_time()
    content = encode_day(day, readings)
    assert time.process_time() - begun < 5
    assert len(content) < 4 << 20
