"""Samples reach a store once: whatever it answers, whoever ends, and whenever they were spooled."""

import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cramjam
import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CHUNKS, WATCH_CURSORS
from harness.store.watch_cursors import WatchCursors
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from harness.watch import remote_write
from harness.watch.remote_write import MISDIRECTED_PAUSE_S, RemoteStore, RemoteWriter
from tests.doubles.readings import make_chunk
from tests.servers.receiver import Post, Receiver, ScriptedAnswer
from tests.unit.watch.conftest import AddStreams

OK = ScriptedAnswer(204)
TOO_OLD = b"too old sample\n"
"""What Prometheus 2.42 answers, with 500, to a sample that is older than its out_of_order_time_window."""


class Time:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def writer(ledger: Ledger, receiver: Receiver, time: Time) -> Iterator[RemoteWriter]:
    made = make_writer(ledger, receiver, time)
    yield made
    made.close()


def make_writer(ledger: Ledger, receiver: Receiver, time: Time, answer_s: float = 10.0) -> RemoteWriter:
    store = RemoteStore(name="store", label="http://store", url=receiver.url, headers={"Authorization": "Bearer xyz"})
    return RemoteWriter(ledger.database, store, now=time, answer_s=answer_s)


def store(ledger: Ledger, *chunks: object, replayed: bool = False) -> None:
    WatchSamples(ledger.database).store(chunks, worker="w", replayed=replayed)  # type: ignore[arg-type]


def drain(writer: RemoteWriter, time: Time, *, steps: int = 50) -> None:
    """Step until nothing waits."""
    for _ in range(steps):
        pause_s = writer.step()
        if pause_s == remote_write.IDLE_S:
            return
        time.now_s += pause_s
    raise AssertionError("something still waits")


def read_offsets(posts: list[Post]) -> list[tuple[str, int, float]]:
    """Read the samples of the offset: stream, time in s, value in ns."""
    read = []
    for post in posts:
        for number, series in fields(bytes(cramjam.snappy.decompress_raw(post.body))):
            assert number == 1
            labels = dict(tuple(each.decode() for _, each in fields(label)) for n, label in fields(series) if n == 1)
            if labels["__name__"] == "ptp_harness_watch_sample_offset_seconds":
                for sample in (content for n, content in fields(series) if n == 2):
                    value = struct.unpack("<d", sample[1:9])[0]
                    read.append((labels["stream"], number_of(sample[10:])[0] // 1000, round(value * 1e9)))
    return read


def fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Read the fields of a message that have a length."""
    while content:
        key, used = number_of(content)
        length, more = number_of(content[used:])
        begin = used + more
        yield key >> 3, content[begin : begin + length]
        content = content[begin + length :]


def number_of(content: bytes) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(content):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, place + 1
    raise AssertionError("a number without an end")


def lags(ledger: Ledger) -> list[tuple[str, int, int]]:
    return [(lag.lane, lag.samples, lag.refused) for lag in WatchCursors(ledger.database).read_lags()]


def test_a_request_has_the_headers_of_remote_write_and_those_that_were_given(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    store(ledger, make_chunk("a", range(1000, 1060)))
    drain(writer, time)
    (post,) = receiver.posts
    assert post.headers["content-encoding"] == "snappy"
    assert post.headers["content-type"] == "application/x-protobuf"
    assert post.headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert post.headers["authorization"] == "Bearer xyz"
    assert post.headers["user-agent"].startswith("ptp-harness/")
    assert read_offsets([post]) == [("a", tick, 120 + tick % 7) for tick in range(1000, 1060)]
    assert "xyz" not in repr(RemoteStore(name="s", label="l", url="http://h/secret", headers={"a": "xyz"}))


def test_another_process_goes_on_where_this_one_ended(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    for minute in range(3):
        store(ledger, make_chunk("a", range(60 * minute, 60 * minute + 60)))
        drain(writer, time)
        writer.close()
        writer = make_writer(ledger, receiver, time)
    drain(writer, time)
    writer.close()
    assert [tick for _, tick, _ in read_offsets(receiver.posts)] == [*range(180)]


def test_a_store_that_fails_or_has_too_much_to_do_gets_the_same_again_later(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    store(ledger, make_chunk("a", range(60)))
    busy = ScriptedAnswer(429, {"Retry-After": "17"}, b"too many samples")
    receiver.script(ScriptedAnswer(503), busy, ScriptedAnswer(500), OK)
    pauses = [writer.step()]
    assert writer.step() == pauses[0]
    assert len(receiver.posts) == 1, "nothing is sent before the pause is over"
    for _ in range(2):
        time.now_s += pauses[-1]
        pauses.append(writer.step())
    assert 0.5 <= pauses[0] <= 1.0
    assert pauses[1] == 17.0
    assert 2.0 <= pauses[2] <= 4.0
    (lag,) = WatchCursors(ledger.database).read_lags()
    assert lag.problem == "answers 500"
    time.now_s += pauses[-1]
    drain(writer, time)
    assert len({post.body for post in receiver.posts}) == 1
    assert lags(ledger)[0] == ("live", 540 - 120, 0)  # seven of nine quantities were observed
    assert WatchCursors(ledger.database).read_lags()[0].problem is None


def test_a_store_that_is_away_gets_everything_once_it_is_there(
    ledger: Ledger, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    port, receiver.port = receiver.port, 1  # nobody listens there
    writer = make_writer(ledger, receiver, time)
    store(ledger, make_chunk("a", range(60)))
    assert 0 < writer.step() <= 1.0
    assert WatchCursors(ledger.database).read_lags()[0].problem == "refused the connection"
    writer.close()
    receiver.port = port
    writer = make_writer(ledger, receiver, time)
    drain(writer, time)
    writer.close()
    assert [tick for _, tick, _ in read_offsets(receiver.posts)] == [*range(60)]


def test_a_store_that_is_silent_is_given_up_within_the_deadline(
    ledger: Ledger, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    store(ledger, make_chunk("a", range(60)))
    receiver.script(ScriptedAnswer(204, pause_s=1.5), OK)
    writer = make_writer(ledger, receiver, time, answer_s=0.3)
    time.now_s += writer.step()
    assert WatchCursors(ledger.database).read_lags()[0].problem == "did not answer in time"
    drain(writer, time)
    writer.close()
    assert lags(ledger)[0] == ("live", 420, 0)


@pytest.mark.parametrize("refusal", [ScriptedAnswer(400, body=b"out of bounds"), ScriptedAnswer(500, body=TOO_OLD)])
def test_a_sample_that_is_refused_takes_only_its_chunk_with_it_and_is_never_sent_again(
    ledger: Ledger,
    writer: RemoteWriter,
    receiver: Receiver,
    add_streams: AddStreams,
    time: Time,
    refusal: ScriptedAnswer,
) -> None:
    add_streams("a", "bad", "c")
    for stream in ("a", "bad", "c"):
        store(ledger, make_chunk(stream, range(60)))

    def answer(post: Post) -> ScriptedAnswer:
        streams = {stream for stream, _, _ in read_offsets([post])}
        return refusal if "bad" in streams else OK

    receiver.answer = answer
    drain(writer, time)
    assert lags(ledger)[0] == ("live", 840, 420)
    asked = len(receiver.posts)
    drain(writer, time)
    assert len(receiver.posts) == asked


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_store_that_is_not_there_or_denies_access_is_left_alone_for_minutes_and_loses_nothing(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time, status: int
) -> None:
    add_streams("a")
    store(ledger, make_chunk("a", range(60)))
    receiver.script(ScriptedAnswer(status, {"Location": f"{receiver.url}/elsewhere"}), OK)
    assert writer.step() == MISDIRECTED_PAUSE_S
    assert str(status) in str(WatchCursors(ledger.database).read_lags()[0].problem)
    assert [post.path for post in receiver.posts] == ["/hook"]
    time.now_s += MISDIRECTED_PAUSE_S
    drain(writer, time)
    assert lags(ledger)[0] == ("live", 420, 0)


def test_what_was_spooled_goes_apart_from_what_is_live_and_after_it(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    for minute in range(3):
        store(ledger, make_chunk("a", range(60 * minute, 60 * minute + 60)), replayed=True)
    store(ledger, make_chunk("a", range(180, 240)))
    drain(writer, time)
    assert [{tick // 60 for _, tick, _ in read_offsets([post])} for post in receiver.posts] == [{3}, {0, 1, 2}]
    assert lags(ledger) == [("live", 420, 0), ("replayed", 1260, 0)]


def test_what_was_sampled_before_a_stream_was_removed_or_changed_its_interval_is_sent_once_with_its_times(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a")
    store(ledger, make_chunk("a", range(1000, 1060)), make_chunk("gone", range(1000, 1060)))
    WatchStreams(ledger.database).remove(["a"])
    add_streams("a", interval_s=2.0)
    store(ledger, make_chunk("a", range(530, 560), epoch=2, interval_ns=2 * 10**9))
    drain(writer, time)
    store(ledger, make_chunk("gone", range(1060, 1120)), replayed=True)
    drain(writer, time)
    sent = read_offsets(receiver.posts)
    assert sorted(second for stream, second, _ in sent if stream == "gone") == [*range(1000, 1120)]
    assert sorted(second for stream, second, _ in sent if stream == "a") == [*range(1000, 1060), *range(1060, 1120, 2)]
    asked = len(receiver.posts)
    drain(writer, time)
    assert len(receiver.posts) == asked


@pytest.mark.parametrize("together", [True, False])
def test_a_tick_that_two_workers_sampled_is_sent_once(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time, together: bool
) -> None:
    add_streams("a")
    store(ledger, make_chunk("a", [tick for tick in range(64) if tick != 61], epoch=1))
    if not together:
        drain(writer, time)
    store(ledger, make_chunk("a", range(60, 120), epoch=2, offset_ns=7))
    drain(writer, time)
    sent = {(tick, value) for _, tick, value in read_offsets(receiver.posts)}
    assert len(sent) == 120
    assert {tick for tick, _ in sent} == {*range(120)}
    assert (61, 7) in sent, "the tick that the first one missed"
    assert (60, 7) not in sent


def test_a_damaged_chunk_holds_up_no_other(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    add_streams("a", "b")
    store(ledger, make_chunk("a", range(60)), make_chunk("b", range(60)), make_chunk("a", range(60, 120)))
    damaged = WATCH_CHUNKS.update().where(WATCH_CHUNKS.c.stream == "a", WATCH_CHUNKS.c.first_tick == 0)
    ledger.database.write(lambda db: db.execute(damaged.values(readings=b"damaged")))
    drain(writer, time)
    assert {(stream, tick // 60) for stream, tick, _ in read_offsets(receiver.posts)} == {("b", 0), ("a", 1)}


def test_requests_are_bounded(
    ledger: Ledger, writer: RemoteWriter, receiver: Receiver, add_streams: AddStreams, time: Time
) -> None:
    names = [f"s{number:02}" for number in range(40)]
    add_streams(*names)
    store(ledger, *(make_chunk(name, range(60)) for name in names))
    drain(writer, time)
    assert len(receiver.posts) == 2  # of at most 10,000 samples
    assert {stream for stream, _, _ in read_offsets(receiver.posts)} == {*names}
    assert lags(ledger)[0] == ("live", 40 * 420, 0)


# --- any order --------------------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from("ab"), st.integers(0, 8), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("step"), st.sampled_from([204, 204, 204, 503, 429, 401])),
        st.tuples(st.just("restart")),
        st.tuples(st.just("lose the answer")),
    ),
    max_size=25,
)
"""Chunks of ten ticks that begin at multiples of five, so that those of two epochs overlap; and what senders meet."""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_in_any_order_each_tick_arrives_and_only_after_a_lost_answer_twice(
    receiver: Receiver, tmp_path: Path, events: list[tuple[Any, ...]]
) -> None:
    """Only where a process ends before it wrote down what the store took do samples come twice."""
    ledger = Ledger(f"sqlite:///{tmp_path}/{secrets.token_hex(4)}.sqlite")
    WatchStreams(ledger.database).add([NewStream(stream=name, source={}, limits={}) for name in "ab"], by="x")
    receiver.posts.clear()
    taken: list[Post] = []
    statuses = {"next": 204}

    def answer(post: Post) -> ScriptedAnswer:
        if statuses["next"] == 204:
            taken.append(post)
        return ScriptedAnswer(statuses["next"])

    receiver.answer = answer
    time, expected = Time(), set[tuple[str, int]]()
    writer = make_writer(ledger, receiver, time)
    may_repeat = False
    for kind, *values in [*events, ("step", 204)]:
        if kind == "store":
            stream, place, epoch, replayed = values
            chunk = make_chunk(stream, range(5 * place, 5 * place + 10), epoch=epoch, offset_ns=1000 * epoch + place)
            store(ledger, chunk, replayed=replayed)
            expected |= {(stream, reading.tick) for reading in chunk.readings}
        elif kind == "step":
            statuses["next"] = values[0]
            time.now_s += 400
            writer.step()
        else:
            if kind == "lose the answer":  # the store took it, and the process ended before it wrote that down
                with ledger.database.connect() as db:
                    saved = db.execute(sql.select(WATCH_CURSORS)).all()
                statuses["next"] = 204
                time.now_s += 400
                writer.step()
                may_repeat = True
                with ledger.database.connect() as db:
                    for row in saved:
                        moved = WATCH_CURSORS.update().where(WATCH_CURSORS.c.cursor == row.cursor)
                        db.execute(moved.values(sent=row.sent, through_ns=row.through_ns))
            writer.close()
            writer = make_writer(ledger, receiver, time)
    statuses["next"] = 204
    time.now_s += 400
    drain(writer, time)
    writer.close()
    ledger.close()
    sent = read_offsets(taken)
    assert {(stream, tick) for stream, tick, _ in sent} == expected
    assert may_repeat or len(sent) == len(expected)
