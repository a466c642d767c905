"""Streams and workers in the ledger: one owner an epoch, epochs grow, and nobody writes by a lease of another."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from harness.errors import ConflictError
from harness.model.watched import StreamState
from harness.store.ledger import Ledger
from harness.store.watch_samples import WatchSamples
from harness.store.watch_states import WatchStates
from harness.store.watch_streams import NewStream, WatchStreams
from tests.doubles.readings import make_chunk

LEASE_S = 1.5


@pytest.fixture
def watch(ledger: Ledger) -> WatchStreams:
    return WatchStreams(ledger.database)


@pytest.fixture
def short(ledger: Ledger) -> WatchStreams:
    """The same, with leases that a test can wait for."""
    return WatchStreams(ledger.database, lease_s=LEASE_S)


def add(watch: WatchStreams, *names: str) -> None:
    assert watch.add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada") == []


def register(watch: WatchStreams, worker: str, process: str = "here/1") -> int:
    return watch.register(worker, capacity=100.0, score=1.0, process=process, version="1")


def assign(watch: WatchStreams, streams: Iterable[str], worker: str | None) -> None:
    epoch = watch.lead("leader")
    assert epoch is not None
    assert watch.write_plan(epoch, dict.fromkeys(streams, worker))


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_a_stream_that_is_added_again_has_later_epochs_and_no_earlier_word(watch: WatchStreams, ledger: Ledger) -> None:
    add(watch, "a", "b")
    registration, states, samples = register(watch, "w"), WatchStates(ledger.database), WatchSamples(ledger.database)
    assign(watch, ["a"], "w")
    assert watch.claim("w", registration, ["a"]) == {"a": 1}
    word = {"state": StreamState.OK, "reason": None, "sentence": "", "since_tick": 1, "latest": {}, "judging": {"x": 1}}
    line = states.make_line(stream="a", epoch=1, tick=ledger.now_ns() // 10**9, host={}, **word)
    assert states.write([line], [], worker="w", replayed=False) == set()
    samples.store([make_chunk("a", range(60), epoch=3)], worker="w", replayed=True)
    watch.remove(["a", "b"])
    add(watch, "a", "b")
    assert [(line.stream, line.epoch) for line in watch.list_streams()] == [("a", 3), ("b", 0)]
    assert (states.read_saved(["a"]), states.read(["a"])["a"].state) == ({}, StreamState.UNKNOWN)
    assign(watch, ["a"], "w")
    assert watch.claim("w", registration, ["a"]) == {"a": 4}
    assert states.write([replace(line, epoch=4)], [], worker="w", replayed=False) == set()
    assert states.read(["a"])["a"].state is StreamState.OK


def test_streams_are_added_once_and_removed(watch: WatchStreams) -> None:
    add(watch, "b", "a")
    assert watch.add([NewStream(stream=name, source={}, limits={}, weight=5) for name in ("a", "c")]) == ["a"]
    assert [(line.stream, line.weight, line.owner, line.epoch, line.leased) for line in watch.list_streams()] == [
        ("a", 1.0, None, 0, False),
        ("b", 1.0, None, 0, False),
        ("c", 5.0, None, 0, False),
    ]
    assert watch.remove(["a", "nonsense"]) == ["a"]
    assert [line.stream for line in watch.list_streams()] == ["b", "c"]


def test_a_worker_takes_what_it_is_to_have_and_gives_it_back(watch: WatchStreams) -> None:
    add(watch, "a", "b", "c")
    one, two = register(watch, "one"), register(watch, "two", "here/2")
    assign(watch, ["a", "b"], "one")
    beat = watch.beat("one", one, load=0.1, score=1.0)
    assert beat is not None
    assert (beat.held, beat.wanted) == ({}, {"a", "b"})
    assert watch.claim("one", one, ["a", "b", "c"]) == {"a": 1, "b": 1}
    assign(watch, ["a"], "two")
    assert watch.claim("two", two, ["a"]) == {}, "its owner has not finished its tick"
    watch.release("one", {"a": 1})
    assert watch.claim("two", two, ["a"]) == {"a": 2}
    watch.release("one", {"a": 1})
    beats = [watch.beat(*worker, load=0.0, score=1.0) for worker in (("one", one), ("two", two))]
    assert [beat and (beat.held, beat.wanted) for beat in beats] == [({"b": 1}, {"b"}), ({"a": 2}, {"a"})]


def test_a_name_that_lives_is_refused_and_one_that_is_dead_is_taken_over(short: WatchStreams) -> None:
    add(short, "a")
    first = register(short, "one", "here/1")
    assign(short, ["a"], "one")
    assert short.claim("one", first, ["a"]) == {"a": 1}
    with pytest.raises(ConflictError, match="there is a worker one already: here/1"):
        register(short, "one", "there/2")
    time.sleep(LEASE_S + 0.1)
    second = register(short, "one", "there/2")
    assert second == first + 1
    assert short.beat("one", first, load=0.0, score=1.0) is None, "it has to register anew"
    assert short.claim("one", first, ["a"]) == {}
    assert short.claim("one", second, ["a"]) == {"a": 2}


def test_a_process_that_registers_again_goes_on_with_its_streams_in_new_epochs(watch: WatchStreams) -> None:
    add(watch, "a")
    number = register(watch, "one")
    assign(watch, ["a"], "one")
    assert watch.claim("one", number, ["a"]) == {"a": 1}
    again = register(watch, "one")
    assert again == number + 1
    assert watch.beat("one", number, load=0.0, score=1.0) is None
    beat = watch.beat("one", again, load=0.0, score=1.0)
    assert beat is not None
    assert beat.held == {"a": 2}, "nobody else could take it meanwhile"


def test_what_a_silent_worker_had_is_taken_once_its_lease_is_over(short: WatchStreams) -> None:
    add(short, "a", "b")
    silent, living = register(short, "silent"), register(short, "living", "here/2")
    assign(short, ["a", "b"], "silent")
    assert short.claim("silent", silent, ["a", "b"]) == {"a": 1, "b": 1}
    assign(short, ["a"], "living")
    assert short.claim("living", living, ["a"]) == {}

    def take() -> dict[str, int]:
        assert short.beat("living", living, load=0.0, score=1.0) is not None
        return short.claim("living", living, ["a", "b"])

    wait_until(take)
    late = short.beat("silent", silent, load=0.0, score=1.0)
    assert late is not None, "a pause is no death: nobody took its name"
    assert (late.held, late.wanted) == ({"b": 1}, {"b"}), "what nobody took goes on, with its epoch"
    lines = {line.stream: line for line in short.list_streams()}
    assert (lines["a"].owner, lines["a"].epoch, lines["a"].leased) == ("living", 2, True)


def test_one_of_two_that_claim_at_once_gets_each_stream(watch: WatchStreams, ledger: Ledger) -> None:
    names = [f"s{number:02}" for number in range(40)]
    add(watch, *names)
    numbers = {worker: register(watch, worker, worker) for worker in ("one", "two", "three", "four")}
    assign(watch, names, "one")
    with ThreadPoolExecutor(8) as pool:
        taken = [*pool.map(lambda _: watch.claim("one", numbers["one"], names[::-1]), range(8))]
    assert Counter(stream for each in taken for stream in each) == Counter(names)
    assert {line.epoch for line in watch.list_streams()} == {1}


def test_there_is_one_leader_and_the_plan_of_an_earlier_one_is_refused(short: WatchStreams) -> None:
    add(short, "a")
    first = short.lead("one")
    assert first == 1
    assert (short.lead("two"), short.lead("one")) == (None, 1)
    time.sleep(LEASE_S + 0.1)
    assert not short.write_plan(first, {"a": "x"}), "its lease is over"
    second = short.lead("two")
    assert second == 2
    assert not short.write_plan(first, {"a": "x"})
    assert short.write_plan(second, {"a": "y"})
    assert [line.wanted for line in short.list_streams()] == ["y"]
    assert short.lead("one") is None


def test_of_many_that_would_lead_one_does(watch: WatchStreams) -> None:
    with ThreadPoolExecutor(8) as pool:
        epochs = [*pool.map(watch.lead, [f"p{number}" for number in range(8)])]
    assert Counter(epochs) == Counter({None: 7, 1: 1})


def test_a_worker_drains_and_leaves(short: WatchStreams) -> None:
    number = register(short, "one")
    short.drain("one", number)
    (line,) = short.list_workers()
    assert (line.worker, line.draining, line.lives, line.capacity, line.version) == ("one", True, True, 100.0, "1")
    time.sleep(LEASE_S + 0.1)
    (line,) = short.list_workers()
    assert not line.lives
    assert line.silent_s > LEASE_S
    short.leave("one", number + 1)
    assert len(short.list_workers()) == 1, "another registration of this name"
    short.leave("one", number)
    assert short.list_workers() == []
