"""Cursors over chunks: each chunk once, whatever the order in which transactions end, and after every restart."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.store import watch_cursors
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CHUNKS, WATCH_CURSORS
from harness.store.watch_cursors import SETTLED_S, Cursor, Lane, StoredChunk, WatchCursors
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from tests.doubles.readings import make_chunk

LATER_NS = round(2 * SETTLED_S * 1e9)


@pytest.fixture
def cursors(ledger: Ledger) -> WatchCursors:
    return WatchCursors(ledger.database)


@pytest.fixture
def store(ledger: Ledger) -> Callable[..., None]:
    """Stores a chunk of ten ticks, in the ledger's order of names unless its time is given."""
    samples = WatchSamples(ledger.database)

    def store_chunk(
        stream: str, first: int, *, epoch: int = 1, replayed: bool = False, earlier_ns: int | None = None
    ) -> None:
        samples.store([make_chunk(stream, range(first, first + 10), epoch=epoch)], worker="w", replayed=replayed)
        if earlier_ns is not None:
            key = (WATCH_CHUNKS.c.stream == stream) & (WATCH_CHUNKS.c.first_tick == first)
            moved = WATCH_CHUNKS.update().where(key, WATCH_CHUNKS.c.epoch == epoch)
            moved = moved.values(stored_ns=WATCH_CHUNKS.c.stored_ns - earlier_ns)
            ledger.database.write(lambda db: db.execute(moved))

    return store_chunk


def keys(chunks: list[StoredChunk]) -> list[tuple[str, int, int]]:
    return [chunk.key for chunk in chunks]


def send_all(cursors: WatchCursors, cursor: Cursor) -> tuple[list[tuple[str, int, int]], Cursor]:
    """Send what waits, in steps of two chunks; return the keys and the cursor."""
    sent: list[tuple[str, int, int]] = []
    while chunks := cursors.list_waiting(cursor, most=2):
        sent += keys(chunks)
        moved = cursors.advance(cursor, chunks, samples=10 * len(chunks))
        assert moved is not None
        cursor = cursors.settle(moved)
    return sent, cursor


def test_each_chunk_waits_once_in_its_lane_and_a_cursor_is_found_again(
    ledger: Ledger, cursors: WatchCursors, store: Callable[..., None]
) -> None:
    WatchStreams(ledger.database).add([NewStream(stream="a", source={}, limits={}, interval_s=0.2)], by="ada")
    live, replayed = (cursors.open("store", "http://store", lane) for lane in Lane)
    store("a", 0)
    store("b", 0)
    store("a", 10)
    store("a", 500, replayed=True)
    sent, live = send_all(cursors, live)
    assert sorted(sent) == [("a", 0, 1), ("a", 10, 1), ("b", 0, 1)]
    assert keys(cursors.list_waiting(replayed, most=10)) == [("a", 500, 1)]
    again = cursors.settle(cursors.open("store", "http://store", Lane.LIVE))
    assert replace(again, through_ns=0) == replace(live, through_ns=0)
    assert (again.samples, cursors.list_waiting(again, most=10)) == (30, [])
    assert [(lag.lane, lag.samples, lag.oldest_s is None) for lag in cursors.read_lags()] == [
        (Lane.LIVE, 30, True),
        (Lane.REPLAYED, 0, False),
    ]


def test_a_chunk_that_is_seen_after_one_that_was_stored_later_is_sent(
    cursors: WatchCursors, store: Callable[..., None]
) -> None:
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    store("a", 0)
    sent, cursor = send_all(cursors, cursor)
    store("late", 0, earlier_ns=30_000_000_000)  # its transaction ended 30 s after it was stored
    sent, cursor = send_all(cursors, cursor)
    assert sent == [("late", 0, 1)]
    assert send_all(cursors, cursor)[0] == []


def test_what_was_sent_is_forgotten_once_it_is_settled(cursors: WatchCursors, store: Callable[..., None]) -> None:
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    cursor = replace(cursor, through_ns=cursor.through_ns - 2 * LATER_NS)
    for number in range(5):
        store("a", 10 * number, earlier_ns=LATER_NS)
    store("a", 100)
    sent, cursor = send_all(cursors, cursor)
    assert len(sent) == 6
    assert len(cursor.sent) == 1
    assert send_all(cursors, cursor)[0] == []


def test_of_two_senders_one_goes_on(cursors: WatchCursors, store: Callable[..., None]) -> None:
    first, second = (cursors.open("store", "http://store", Lane.LIVE) for _ in range(2))
    store("a", 0)
    waiting = cursors.list_waiting(first, most=10)
    assert cursors.advance(first, waiting, samples=10) is not None
    assert cursors.advance(second, waiting, samples=10) is None
    assert cursors.open("store", "http://store", Lane.LIVE).samples == 10


def test_after_the_time_of_the_database_was_set_back_nothing_is_left_out(
    ledger: Ledger, cursors: WatchCursors, store: Callable[..., None]
) -> None:
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    hour_ns = 3_600_000_000_000
    ahead = WATCH_CURSORS.update().values(through_ns=WATCH_CURSORS.c.through_ns + hour_ns)
    ledger.database.write(lambda db: db.execute(ahead))
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    store("a", 0)
    sent, cursor = send_all(cursors, cursor)
    assert sent == [("a", 0, 1)]
    assert send_all(cursors, cursor)[0] == []


def test_overlaps_are_other_chunks_with_ticks_in_common(
    ledger: Ledger, cursors: WatchCursors, store: Callable[..., None]
) -> None:
    for stream, first, epoch in (("a", 0, 1), ("a", 3, 2), ("a", 5, 2), ("a", 15, 3), ("a", 30, 3), ("b", 5, 2)):
        store(stream, first, epoch=epoch)
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    waiting = cursors.list_waiting(cursor, most=10)
    (own,) = [chunk for chunk in waiting if chunk.key == ("a", 5, 2)]
    assert sorted(keys(cursors.list_overlapping([own]))) == [("a", 0, 1), ("a", 3, 2)]
    assert cursors.list_overlapping([]) == []
    other = make_chunk("a", range(5, 15), epoch=5, interval_ns=2 * 10**9)
    WatchSamples(ledger.database).store([other], worker="w", replayed=False)
    assert sorted(keys(cursors.list_overlapping([own]))) == [("a", 0, 1), ("a", 3, 2)], "ticks of another grid"
    assert watch_cursors.MOST_TICKS > 600


def test_a_problem_is_told_until_a_try_succeeds(cursors: WatchCursors, store: Callable[..., None]) -> None:
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    cursors.tell_problem(cursor, "answers 503")
    (lag,) = cursors.read_lags()
    assert (lag.label, lag.problem) == ("http://store", "answers 503")
    store("a", 0)
    send_all(cursors, cursor)
    assert cursors.read_lags()[0].problem is None
