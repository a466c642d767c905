"""Chunks are stored once, and of two readings of one tick that of the later epoch is read."""

from dataclasses import replace

import pytest
import sqlalchemy as sql

from harness.errors import HarnessError
from harness.model.watched import TickReading
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CHUNKS
from harness.store.watch_samples import Chunk, WatchSamples


def a_reading(tick: int, offset_ns: int = 0) -> TickReading:
    return TickReading(
        tick=tick,
        offset_ns=offset_ns,
        window_ns=4_000,
        reads=5,
        read_errors=0,
        device_bound_ns=None,
        chrony_offset_ns=None,
        chrony_bound_ns=6_000,
        follows_phc=True,
        opinion_ns=None,
    )


def a_chunk(first: int, last: int, *, epoch: int = 1, offset_ns: int = 0, stream: str = "a") -> Chunk:
    readings = [a_reading(tick, offset_ns) for tick in range(first, last + 1)]
    return Chunk(stream=stream, epoch=epoch, interval_ns=10**9, first_tick=first, last_tick=last, readings=readings)


@pytest.fixture
def samples(ledger: Ledger) -> WatchSamples:
    return WatchSamples(ledger.database)


def test_what_is_stored_is_read_from_one_tick_to_another(samples: WatchSamples) -> None:
    samples.store([a_chunk(0, 59), a_chunk(60, 119), a_chunk(0, 59, stream="b")], worker="w", replayed=False)
    assert [reading.tick for reading in samples.read("a", 58, 61, interval_ns=10**9)] == [58, 59, 60, 61]
    assert samples.read("a", 500, 600, interval_ns=10**9) == []
    assert samples.read("c", 0, 600, interval_ns=10**9) == []


def test_of_two_readings_of_one_tick_that_of_the_later_epoch_counts(samples: WatchSamples) -> None:
    samples.store([a_chunk(50, 70, epoch=3, offset_ns=3)], worker="w2", replayed=False)
    samples.store([a_chunk(0, 59, epoch=2, offset_ns=2)], worker="w1", replayed=True)
    read = samples.read("a", 0, 100, interval_ns=10**9)
    assert [reading.tick for reading in read] == [*range(71)]
    assert [reading.offset_ns for reading in read] == [2] * 50 + [3] * 21


def test_a_chunk_that_is_there_stays_as_it_is(samples: WatchSamples, ledger: Ledger) -> None:
    samples.store([a_chunk(0, 59)], worker="w", replayed=False)
    samples.store([a_chunk(0, 59, offset_ns=9)], worker="w", replayed=True)
    assert {reading.offset_ns for reading in samples.read("a", 0, 59, interval_ns=10**9)} == {0}
    rows = ledger.database.read(lambda db: db.execute(sql.select(WATCH_CHUNKS)).all())
    assert [(row.worker, row.replayed) for row in rows] == [("w", False)]
    assert abs(rows[0].stored_ns - ledger.now_ns()) < 60e9


def test_chunks_are_listed_read_by_their_keys_and_dropped(samples: WatchSamples) -> None:
    chunks = [a_chunk(60 * number, 60 * number + 59, stream=stream) for stream in "ab" for number in range(300)]
    samples.store(chunks, worker="w", replayed=False)
    finished = samples.list_finished(600)
    assert finished == [(stream, 60 * number, 1) for stream in "ab" for number in range(10)]
    assert samples.list_finished(600, stream="b") == finished[10:]
    assert [chunk.key for chunk in samples.read_chunks([*finished, ("z", 0, 1)])] == finished
    everything = samples.list_finished(10**9)
    assert samples.read_chunks(everything) == chunks
    assert samples.drop([*finished, ("z", 0, 1)]) == 20
    assert samples.drop(finished) == 0
    assert [reading.tick for reading in samples.read("a", 0, 620, interval_ns=10**9)] == [*range(600, 621)]
    assert samples.find_last_ticks() == {"a": 300 * 60 - 1, "b": 300 * 60 - 1}


def test_a_stream_that_was_added_again_with_another_interval_is_read_on_its_own_grid(samples: WatchSamples) -> None:
    earlier = a_chunk(1000, 1059, epoch=7, offset_ns=7)
    samples.store([earlier, replace(a_chunk(1030, 1059), interval_ns=1_001_000_000)], worker="w", replayed=False)
    assert [each.offset_ns for each in samples.read("a", 0, 2000, interval_ns=10**9)] == [7] * 60
    assert [each.tick for each in samples.read("a", 0, 2000, interval_ns=1_001_000_000)] == [*range(1030, 1060)]
    assert [chunk.interval_ns for chunk in samples.read_chunks([("a", 1000, 7), ("a", 1030, 1)])] == [
        10**9,
        1_001_000_000,
    ]


def test_the_first_tick_within_others_is_found(samples: WatchSamples) -> None:
    samples.store([a_chunk(100, 159), a_chunk(160, 219), a_chunk(500, 559)], worker="w", replayed=False)
    for first, last, found in ((0, 1000, 100), (130, 1000, 130), (250, 1000, 500), (560, 1000, None), (0, 99, None)):
        assert samples.find_first_tick("a", first, last, interval_ns=10**9) == found
    assert samples.find_first_tick("a", 0, 1000, interval_ns=2 * 10**9) is None
    assert samples.find_first_tick("b", 0, 1000, interval_ns=10**9) is None


def test_a_damaged_chunk_is_named(samples: WatchSamples, ledger: Ledger) -> None:
    samples.store([a_chunk(0, 59)], worker="w", replayed=False)
    ledger.database.write(lambda db: db.execute(WATCH_CHUNKS.update().values(readings=b"\x01nonsense")) and None)
    with pytest.raises(HarnessError, match="readings of a from tick 0 are damaged"):
        samples.read("a", 0, 10, interval_ns=10**9)
