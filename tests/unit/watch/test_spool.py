"""Is nothing that was spooled lost without a word: a restart, another worker, a damaged file, a full spool?"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import ConflictError, SetupError
from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading
from harness.store import reading_columns
from harness.store.reading_columns import ReadingRows, pack
from harness.store.watch_samples import PackedChunk
from harness.watch.spool import OpenRow, Spool


def a_reading(tick: int) -> TickReading:
    return TickReading(
        tick=tick,
        offset_ns=tick % 97,
        window_ns=4_000 + tick % 31,
        reads=5,
        read_errors=0,
        device_bound_ns=None,
        chrony_offset_ns=None,
        chrony_bound_ns=6_000 + tick % 11,
        follows_phc=True,
        opinion_ns=None,
    )


def a_chunk(first: int, *, stream: str = "a", epoch: int = 1, ticks: int = 60) -> PackedChunk:
    rows = ReadingRows(a_reading(tick) for tick in range(first, first + ticks))
    return PackedChunk(
        stream=stream,
        epoch=epoch,
        interval_ns=2 * 10**9,
        first_tick=first,
        last_tick=first + ticks - 1,
        columns=rows.encode(),
    )


def a_row(tick: int, *, chunk: int = 0, stream: str = "a") -> OpenRow:
    return OpenRow(stream, 1, tick, chunk, 2 * 10**9, pack(a_reading(tick)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "w1.spool"


@pytest.fixture
def spool(file: Path) -> Iterator[Spool]:
    made = Spool(file, "w1")
    yield made
    made.close()


def test_chunks_come_back_once_in_their_order_after_a_restart(spool: Spool, file: Path) -> None:
    chunks = [a_chunk(60 * number) for number in range(5)]
    spool.add(chunks)
    spool.add(chunks[:2])
    spool.close()
    again = Spool(file, "w1")
    assert again.read_oldest(100) == chunks
    assert again.read_oldest(2) == chunks[:2]
    again.drop([("a", 0, 1), ("a", 60, 1), ("z", 0, 1)])
    assert (again.count(), again.read_oldest(100)) == (3, chunks[2:])
    again.close()


def test_changes_of_state_come_back(spool: Spool) -> None:
    broken = StateChange(
        tick=7, interval_ns=10**9, state=StreamState.BROKEN, reason=Reason.OUT_OF_LIMITS, sentence="offset"
    )
    fine = StateChange(tick=9, interval_ns=2 * 10**9, state=StreamState.OK, reason=None, sentence="")
    spool.add_changes([("b", 2, fine), ("a", 1, broken)])
    spool.add_changes([("a", 1, broken)])
    assert spool.read_changes(10) == [("a", 1, broken), ("b", 2, fine)]
    spool.drop_changes([("a", 1, broken)])
    assert spool.read_changes(10) == [("b", 2, fine)]


def test_the_readings_of_a_worker_that_was_killed_are_the_chunks_that_it_was_making(spool: Spool, file: Path) -> None:
    rows = [a_row(tick, chunk=max(30, tick // 60 * 60)) for tick in range(30, 90)]
    spool.keep_open(rows[:40])
    spool.keep_open(rows[35:])
    spool.keep_open([a_row(5, chunk=5, stream="b")])
    spool.close()
    again = Spool(file, "w1")
    read = {(chunk.stream, chunk.first_tick): chunk for chunk in again.read_oldest(100)}
    assert {*read} == {("a", 30), ("a", 60), ("b", 5)}
    assert reading_columns.decode(read["a", 30].columns) == [a_reading(tick) for tick in range(30, 60)]
    assert reading_columns.decode(read["a", 60].columns) == [a_reading(tick) for tick in range(60, 90)]
    again.close()
    third = Spool(file, "w1")
    assert third.count() == 3, "recovered once"
    third.close()


def test_what_is_stored_is_no_longer_open(spool: Spool, file: Path) -> None:
    spool.keep_open([a_row(tick, chunk=tick // 60 * 60) for tick in range(70)])
    spool.forget_open([a_chunk(0)])
    spool.add([a_chunk(0)])
    spool.close()
    again = Spool(file, "w1")
    assert [(chunk.first_tick, chunk.last_tick) for chunk in again.read_oldest(9)] == [(0, 59), (60, 69)]
    again.close()


def test_a_spool_of_another_worker_is_refused(spool: Spool, file: Path) -> None:
    spool.add([a_chunk(0)])
    spool.close()
    with pytest.raises(ConflictError, match="is of the worker w1, not of w2"):
        Spool(file, "w2")
    again = Spool(file, "w1")
    assert again.count() == 1
    again.close()


def test_a_spool_for_another_ledger_is_refused_while_it_holds_something(spool: Spool) -> None:
    spool.check_ledger("one")
    spool.check_ledger("two")
    spool.add([a_chunk(0)])
    spool.check_ledger("two")
    with pytest.raises(ConflictError, match="holds 1 chunks for another ledger"):
        spool.check_ledger("one")
    assert spool.count() == 1


def test_a_spool_has_one_process_at_a_time(spool: Spool, file: Path) -> None:
    with pytest.raises(ConflictError, match="another process uses the spool"):
        Spool(file, "w1")


def test_a_spool_of_another_version_is_refused_while_it_holds_something(spool: Spool, file: Path) -> None:
    spool.add([a_chunk(0)])
    spool.close()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE about SET value = '1' WHERE name = 'version'")
        database.execute("ALTER TABLE whole DROP COLUMN interval_ns")
    with pytest.raises(ConflictError, match="another version"):
        Spool(file, "w1")
    with database:
        database.execute("DELETE FROM whole")
    database.close()
    again = Spool(file, "w1")
    again.add([a_chunk(0)])
    assert again.read_oldest(9) == [a_chunk(0)]
    again.close()


@pytest.mark.parametrize("damage", ["nonsense", "a page", "cut"])
def test_a_damaged_spool_is_set_aside_and_a_new_one_begun(spool: Spool, file: Path, damage: str) -> None:
    spool.add([a_chunk(60 * number) for number in range(200)])
    spool.close()
    content = bytearray(file.read_bytes())
    if damage == "nonsense":
        content = bytearray(b"this is no database" * 100)
    elif damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[8192:20000] = b"\xff" * (20000 - 8192)
    file.write_bytes(content)
    again = Spool(file, "w1")
    assert again.set_aside is not None
    assert again.set_aside.read_bytes()[:100] == bytes(content[:100])
    assert again.count() == 0
    again.add([a_chunk(0)])
    assert again.count() == 1
    again.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot use the spool"):
        Spool(tmp_path / "file" / "w1.spool", "w1")


def test_a_full_spool_thins_its_oldest_chunks_first_and_drops_only_thinned_ones(file: Path) -> None:
    spool = Spool(file, "w1", most_bytes=400_000)
    number = 0
    while not spool.thinned:
        spool.add([a_chunk(60 * (number + more)) for more in range(200)])
        number += 200
    chunks = spool.read_oldest(10_000)
    assert len(chunks) == number, "none is dropped"
    sizes = [len(reading_columns.decode(chunk.columns)) for chunk in chunks]
    assert sizes[:500] == [7] * 500
    assert sizes[-200:] == [60] * 200
    thinned = reading_columns.decode(chunks[0].columns)
    assert [reading.tick for reading in thinned] == [0, 10, 20, 30, 40, 50, 59]
    assert [chunk.first_tick for chunk in chunks] == [60 * each for each in range(number)]
    while not spool.dropped:
        spool.add([a_chunk(60 * (number + more)) for more in range(500)])
        number += 500
    assert spool.count_bytes() < 800_000
    assert spool.count() == number - spool.dropped
    assert spool.read_oldest(1)[0].first_tick == 60 * spool.dropped
    assert len(reading_columns.decode(spool.read_oldest(10_000)[-1].columns)) == 60
    spool.close()
