"""What does not fit together in what the ledger says: each kind is found, and nothing is in what is normal."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.watch_streams import WorkerLine
from harness.store.watch_view import LeaderLine, StrangeSamples, WatchedStream, WatchView
from harness.watch.consistency import Inconsistency, Kind, Mend, find_inconsistencies

AT_S = 1_700_000_000.0
LEASE_S = 6.0


def ns(seconds_ago: float) -> int:
    return round((AT_S - seconds_ago) * 1e9)


def worker(name: str, **more: Any) -> WorkerLine:
    usual = {"registration": 1, "process": f"machine-{name}/1", "version": "1", "capacity": 10.0, "score": 1.0}
    usual |= {"load": 0.1, "draining": False, "lives": True, "silent_s": 1.0}
    return WorkerLine(worker=name, **usual | more)


def stream(name: str, owner: str | None = "a", **more: Any) -> WatchedStream:
    """A stream that its worker has had for an hour, and sampled a second ago."""
    usual = {"interval_s": 1.0, "weight": 1.0, "wanted": owner, "wanted_ns": ns(3600), "owner": owner, "epoch": 1}
    usual |= {"until_ns": ns(-5) if owner else None, "added_ns": ns(7200), "state": "ok", "reason": None}
    usual |= {"tick": int(AT_S) - 2, "sampled_ns": ns(0.5)}
    return WatchedStream(stream=name, **usual | more)


def view(streams: Sequence[WatchedStream] = (), workers: Sequence[WorkerLine] = (), **more: Any) -> WatchView:
    leader = LeaderLine(process="hub/1", epoch=3, until_ns=ns(-5), leads=True)
    usual = {"at_ns": ns(0), "lease_s": LEASE_S, "leader": leader, "strange": (), "names_taken": ()}
    return WatchView(workers=workers or [worker("a"), worker("b")], streams=streams, **usual | more)


def find(of: WatchView) -> list[Inconsistency]:
    return find_inconsistencies(of, version="1")


def only(of: WatchView) -> Inconsistency:
    (found,) = find(of)
    assert found.sentence
    assert found.recommendation
    return found


def test_a_watch_as_it_should_be_has_none() -> None:
    assert find(view([stream("s1"), stream("s2", "b")])) == []
    assert find(view([])) == []


def test_nothing_is_found_in_what_is_normal_for_a_moment() -> None:
    handoff = stream("s", "a", wanted="b", wanted_ns=ns(3))
    added = stream("n", None, wanted=None, wanted_ns=None, added_ns=ns(2), state=None, tick=None, sampled_ns=None)
    taken = stream("t", "a", wanted_ns=ns(5), state=None, tick=None, sampled_ns=None)
    died = [worker("a"), worker("b", lives=False, silent_s=7.0)]
    of_dead = stream("d", "b", until_ns=ns(1))
    assert find(view([handoff, added, taken])) == []
    assert find(view([stream("s"), of_dead], died)) == []


def test_nobody_leads_and_no_worker_is_there() -> None:
    gone = LeaderLine(process="hub/1", epoch=3, until_ns=ns(60), leads=False)
    assert only(view([stream("s")], leader=gone)).sentence == "nobody leads the watch: hub/1 led last"
    assert only(view([stream("s")], leader=None)).kind is Kind.NO_LEADER
    dead = [worker("a", lives=False, silent_s=60.0)]
    found = find(view([stream("s", until_ns=ns(5))], dead))
    assert [each.kind for each in found] == [Kind.NO_WORKER]


def test_an_orphan_is_one_where_there_is_room_and_left_out_where_there_is_none() -> None:
    lost = stream("s", None, wanted=None, wanted_ns=ns(11))
    assert only(view([lost])).kind is Kind.ORPHAN
    of_nobody = stream("s", None, wanted="gone", wanted_ns=ns(60))
    assert only(view([of_nobody])).kind is Kind.ORPHAN
    full = [worker("a", capacity=1.0)]
    found = only(view([stream("t"), lost], full))
    assert found.kind is Kind.BEYOND_CAPACITY
    assert found.sentence == "stream s left out: 2 of weight for a capacity of 1"
    assert found.mend is None


def test_a_lease_that_is_long_over_is_stale_and_can_be_freed() -> None:
    dead = [worker("a"), worker("b", lives=False, silent_s=100.0)]
    stale = stream("s", "b", wanted="a", wanted_ns=ns(5), until_ns=ns(13))
    found = only(view([stale], dead))
    assert (found.kind, found.mend, found.streams) == (Kind.STALE_LEASE, Mend.FREE, ("s",))


def test_a_worker_that_takes_no_free_stream_is_to_register_anew() -> None:
    free = stream("s", None, wanted="b", wanted_ns=ns(11))
    found = only(view([free]))
    assert (found.kind, found.worker, found.mend) == (Kind.NOT_TAKEN, "b", Mend.REGISTER_ANEW)


def test_a_handoff_that_waits_for_thirty_seconds_is_told_and_not_touched() -> None:
    waiting = stream("s", "a", wanted="b", wanted_ns=ns(31))
    found = only(view([waiting]))
    assert (found.kind, found.worker, found.mend) == (Kind.HANDOFF_WAITS, "b", None)
    assert find(view([waiting._replace(wanted_ns=ns(29))])) == []


def test_streams_without_samples_are_one_fault_of_their_worker() -> None:
    silent = [stream(f"s{number}", sampled_ns=ns(26)) for number in range(5)]
    found = only(view(silent))
    assert (found.kind, found.worker) == (Kind.NO_SAMPLES, "a")
    assert found.sentence == "the worker a has 5 streams (s0, s1, s2, ...), and nothing of them is stored"
    never = stream("s", state=None, tick=None, sampled_ns=None)
    assert only(view([never])).kind is Kind.NO_SAMPLES
    seldom = stream("s", interval_s=60.0, sampled_ns=ns(200), tick=int((AT_S - 200) / 60) - 1)
    assert find(view([seldom])) == [], "five intervals of a minute have not passed"


def test_samples_by_another_epoch_or_worker_are_found() -> None:
    usual = {"first_tick": 990, "chunks": 2, "interval_s": 1.0, "owner": "a", "owner_epoch": 2, "owner_from_tick": 1000}
    double = StrangeSamples(stream="s", worker="b", epoch=2, last_tick=1005, **usual)  # type: ignore[arg-type]
    found = only(view([stream("s", epoch=2)], strange=[double]))
    assert (found.kind, found.worker, found.mend) == (Kind.DOUBLE, "b", Mend.REGISTER_ANEW)
    handoff = StrangeSamples(stream="s", worker="b", epoch=1, last_tick=1003, **usual)  # type: ignore[arg-type]
    assert find(view([stream("s", epoch=2)], strange=[handoff])) == []
    comes_back = handoff._replace(first_tick=1013, last_tick=1070, chunks=1)
    assert find(view([stream("s", epoch=2)], strange=[comes_back])) == []
    goes_on = comes_back._replace(chunks=2)
    assert only(view([stream("s", epoch=2)], strange=[goes_on])).kind is Kind.UNKNOWN_HOLDING
    of_the_future = handoff._replace(epoch=9)
    assert only(view([stream("s", epoch=2)], strange=[of_the_future])).kind is Kind.UNKNOWN_HOLDING
    elsewhere = only(view([stream("s", epoch=2)], strange=[goes_on._replace(worker="x")]))
    assert elsewhere.mend is None, "whoever does not beat cannot be told to register anew"
    assert "end the process of x" in elsewhere.recommendation


@pytest.mark.parametrize(("off_s", "side"), [(5.0, "ahead of"), (-30.0, "behind")])
def test_a_grid_that_is_off_is_told(off_s: float, side: str) -> None:
    streams = [stream(f"s{number}", tick=int(AT_S + off_s) - 1) for number in range(3)]
    found = only(view(streams))
    assert found.kind is Kind.GRID_OFF
    assert side in found.sentence
    assert find(view([stream("s", tick=int(AT_S) - 1), *streams])) == [] or off_s > 0, "one late host is no late grid"


def test_another_version_and_two_of_one_name_are_told() -> None:
    other = only(view([stream("s")], [worker("a"), worker("b", version="2")]))
    assert (other.kind, other.worker) == (Kind.OTHER_VERSION, "b")
    assert other.sentence == "the worker b is of version 2, and this is 1"
    assert only(view([stream("s")], names_taken=["b"])).kind is Kind.SAME_NAME


NAMES = st.sampled_from(["a", "b", "c", None])


@given(
    st.lists(
        st.builds(
            stream,
            st.text("xyz", min_size=1, max_size=3),
            NAMES,
            wanted=NAMES,
            wanted_ns=st.none() | st.integers(0, 100).map(ns),
            until_ns=st.none() | st.integers(-3600, 3600).map(ns),
            tick=st.none() | st.integers(0, int(AT_S) + 100),
            sampled_ns=st.none() | st.integers(-10, 3600).map(ns),
            weight=st.floats(0.1, 30),
        ),
        max_size=6,
        unique_by=lambda line: line.stream,
    ),
    st.lists(
        st.builds(
            worker,
            st.sampled_from(["a", "b"]),
            lives=st.booleans(),
            draining=st.booleans(),
            silent_s=st.floats(0, 1000),
            capacity=st.floats(0, 20),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda line: line.worker,
    ),
)
def test_any_view_gives_sentences_and_each_inconsistency_once(
    streams: list[WatchedStream], workers: list[WorkerLine]
) -> None:
    found = find(view(streams, workers))
    keys = [each.key for each in found]
    assert len(keys) == len({*keys})
    assert all(each.sentence and each.recommendation for each in found)
    names = {line.stream for line in streams}
    assert all({*each.streams} <= names for each in found)
    living = {line.worker for line in workers if line.lives}
    assert all(each.worker in living for each in found if each.mend is Mend.REGISTER_ANEW)


@pytest.mark.slow
def test_a_hundred_thousand_streams_are_checked_within_a_second() -> None:
    workers = [worker(f"w{number}", capacity=1000.0) for number in range(500)]
    streams = [stream(f"s{number}", f"w{number % 500}") for number in range(100_000)]
    whole = view(streams, workers)
    begun = time.process_time()
    assert find(whole) == []
    assert find(replace(whole, streams=[line._replace(sampled_ns=ns(60)) for line in streams]))
    assert time.process_time() - begun < 2.0 + 0.5, "two checks, and the making of the second view"


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_explained(kind: Kind) -> None:
    page = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
    section = page.read_text().partition("#### What `watch check` finds")[2].partition("\n### ")[0]
    assert f"\n| {kind.value} | " in section
