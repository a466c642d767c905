"""Past days of samples go to the evidence store whole, and leave the ledger only then."""

import datetime
import io
import sys
import time
from pathlib import Path

import pyarrow
import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

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
    assert read == {10**9: [make_reading(tick) for tick in ticks]}
    assert archive.read_day("a", day_ago(2)) == {}
    assert WatchSamples(ledger.database).read("a", ticks[0], ticks[-1], interval_ns=10**9) == []
    reference = WatchArchives(ledger.database).find_archive("../b", day_ago(3))
    assert str(reference).startswith(f"watch/{day_ago(3)}/..%2Fb.")
    assert len(read_archive(store, str(reference))[10**9]) == len(ticks)


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
    assert [reading.tick for reading in archive.read_day("a", day_ago(3))[10**9]] == first + late
    assert [reading.tick for reading in read_archive(store, before)[10**9]] == first
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


@given(
    samples=st.dictionaries(
        st.integers(1, 2**20), st.lists(READINGS, min_size=1, max_size=20, unique_by=lambda each: each.tick), max_size=3
    )
)
def test_every_reading_comes_back_as_it_was(samples: dict[int, list[TickReading]]) -> None:
    day = FinishedDay(stream="a/b", day=datetime.date(2026, 11, 30), interval_ns=1)
    in_order = {each: sorted(readings, key=lambda reading: reading.tick) for each, readings in samples.items()}
    assert decode_day(encode_day(day, samples), "x") == in_order


def test_a_file_of_format_1_has_the_interval_of_its_day() -> None:
    day = FinishedDay(stream="a", day=datetime.date(2026, 11, 30), interval_ns=2 * 10**9)
    readings = [make_reading(day.first_tick + number) for number in range(3)]
    table = parquet.read_table(pyarrow.BufferReader(encode_day(day, {day.interval_ns: readings})))
    buffer = io.BytesIO()
    about = {"ptp-harness.format": "1", "ptp-harness.interval_ns": f"{day.interval_ns}"}
    parquet.write_table(table.drop_columns(["interval_ns"]).replace_schema_metadata(about), buffer)
    assert decode_day(buffer.getvalue(), "x") == {day.interval_ns: readings}


def test_what_was_sampled_of_a_stream_that_was_removed_is_archived(ledger: Ledger, archive: SampleArchive) -> None:
    ticks = fill(ledger, "a", 3)
    others = fill(ledger, "gone", 4)
    WatchStreams(ledger.database).remove(["a"])
    archive.step()
    assert count_chunks(ledger) == 0
    assert [reading.tick for reading in archive.read_day("a", day_ago(3))[10**9]] == ticks
    assert [reading.tick for reading in archive.read_day("gone", day_ago(4))[10**9]] == others


@pytest.mark.parametrize("later_ns", [10**9 // 2, 2 * 10**9])
def test_a_stream_that_was_added_again_with_another_interval_has_the_right_times_in_the_archive(
    ledger: Ledger, archive: SampleArchive, store: ObjectStore, later_ns: int
) -> None:
    fill(ledger, "a", 4)
    fill(ledger, "a", 3)
    noon_ns = (first_tick(3) + DAY_S // 2) * 10**9
    later = range(noon_ns // later_ns, noon_ns // later_ns + 60)
    today = range(first_tick(0) * 10**9 // later_ns, first_tick(0) * 10**9 // later_ns + 60)
    chunks = [make_chunk("a", ticks, epoch=9, interval_ns=later_ns) for ticks in (later, today)]
    WatchSamples(ledger.database).store(chunks, worker="w", replayed=False)
    while archive.step():
        pass
    assert count_chunks(ledger) == 1, "today's"
    assert len(archive.read_day("a", day_ago(4))[10**9]) == 180
    samples = archive.read_day("a", day_ago(3))
    assert {interval_ns: len(readings) for interval_ns, readings in samples.items()} == {10**9: 180, later_ns: 60}
    reference = str(WatchArchives(ledger.database).find_archive("a", day_ago(3)))
    content = store.read(reference.partition("#")[0], most=1 << 20)
    assert content is not None
    table = parquet.read_table(pyarrow.BufferReader(content))
    times_ns = table.column("utc_ns").to_pylist()
    assert times_ns == sorted(times_ns)
    assert [times_ns[0], times_ns[-1]] == [first_tick(3) * 10**9, noon_ns + 59 * later_ns]


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
    content = encode_day(day, {day.interval_ns: readings})
    assert time.process_time() - begun < 5
    assert len(content) < 4 << 20
