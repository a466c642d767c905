"""Mends are made once, of what was seen twice; and many deaths at once give no storm of moves."""

from typing import Any

import pytest

from harness.store.watch_log import LogKind
from harness.store.watch_streams import WorkerLine
from harness.store.watch_view import WatchView
from harness.watch.consistency import Inconsistency, Kind, Mend
from harness.watch.recovery import MendLimits, Recovery, RecoveryMode, StormLimits
from tests.unit.watch.test_consistency import stream, view, worker


class Mending:
    """Notes what was mended, as if all of it could be."""

    def __init__(self) -> None:
        self.freed: list[dict[str, int]] = []
        self.asked: list[dict[str, int]] = []

    def free(self, epochs: dict[str, int]) -> list[str]:
        self.freed += [epochs] if epochs else []
        return sorted(epochs)

    def demand_registration(self, registrations: dict[str, int]) -> list[str]:
        self.asked += [registrations] if registrations else []
        return sorted(registrations)


class Clock:
    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mending() -> Mending:
    return Mending()


def make(mending: Mending, clock: Clock, **limits: Any) -> Recovery:
    return Recovery(mending, limits=MendLimits(**limits), now=clock)  # type: ignore[arg-type]


def stuck(name: str) -> Inconsistency:
    return Inconsistency(
        kind=Kind.NOT_TAKEN, sentence="it takes nothing", recommendation="", worker=name, mend=Mend.REGISTER_ANEW
    )


def stale(*names: str) -> Inconsistency:
    return Inconsistency(kind=Kind.STALE_LEASE, sentence="it is over", recommendation="", streams=names, mend=Mend.FREE)


def there(*workers: WorkerLine) -> WatchView:
    return view([stream("s", epoch=4), stream("t", epoch=5)], workers)


def test_what_is_seen_once_is_told_and_what_is_seen_twice_is_mended(mending: Mending, clock: Clock) -> None:
    recovery, whole = make(mending, clock), there(worker("a"))
    assert [entry.kind for entry in recovery.follow(whole, [stale("s")])] == [LogKind.INCONSISTENCY]
    assert mending.freed == []
    assert [entry.kind for entry in recovery.follow(whole, [stale("s", "t")])] == [LogKind.MEND]
    assert mending.freed == [{"s": 4}], "t was not seen before"
    told = recovery.follow(whole, [])
    assert [(entry.kind, entry.sentence) for entry in told] == [(LogKind.ENDED, "no more: it is over")]
    assert recovery.open == []


def test_what_nothing_mends_is_told_once(mending: Mending, clock: Clock) -> None:
    recovery = make(mending, clock)
    waits = Inconsistency(kind=Kind.HANDOFF_WAITS, sentence="it waits", recommendation="see", worker="a")
    assert len(recovery.follow(there(), [waits])) == 1
    assert recovery.follow(there(), [waits]) == []
    assert (mending.freed, mending.asked) == ([], [])


def test_few_workers_register_anew_at_once_and_each_only_some_times(mending: Mending, clock: Clock) -> None:
    recovery = make(mending, clock, workers_at_once=2, tries=2, again_s=60.0)
    whole = there(*(worker(name, registration=7) for name in "abc"))
    found = [stuck(name) for name in "abc"]
    recovery.follow(whole, found)
    recovery.follow(whole, found)
    assert mending.asked == [{"a": 7, "b": 7}]
    recovery.follow(whole, found)
    assert mending.asked[1:] == [{"c": 7}], "the others were just asked"
    clock.at_s += 61
    recovery.follow(whole, found)
    clock.at_s += 61
    last = recovery.follow(whole, found)
    assert len(mending.asked) == 4
    assert any("2 times in vain: end its process" in entry.sentence for entry in last)
    clock.at_s += 61
    assert not any("in vain" in entry.sentence for entry in recovery.follow(whole, [stuck("a")]))


def test_a_dead_worker_is_not_asked(mending: Mending, clock: Clock) -> None:
    recovery = make(mending, clock)
    recovery.mend(there(worker("a", lives=False)), [stuck("a")])
    assert mending.asked == []


def test_recovery_mode_begins_when_many_die_and_ends_when_all_is_quiet() -> None:
    mode = RecoveryMode(StormLimits(workers=3, part=0.25, within_s=30, quiet_s=15))
    assert not mode.note_deaths(0.0, 1, 20)
    assert not mode.note_deaths(40.0, 4, 20), "four of twenty are less than a quarter"
    assert mode.note_deaths(45.0, 1, 20)
    assert mode.is_on
    assert not mode.note_deaths(46.0, 9, 20), "it is on already"
    assert not mode.end_where_quiet(62.0, waiting=5)
    assert not mode.end_where_quiet(60.0, waiting=0)
    assert mode.end_where_quiet(62.0, waiting=0)
    assert not mode.is_on


def test_in_recovery_mode_orphans_go_first_a_few_a_second_to_each_worker() -> None:
    mode = RecoveryMode(StormLimits(workers=1, part=0.0, streams_a_second=2))
    moves: dict[str, str | None] = {f"o{number}": "a" for number in range(5)} | {"o9": "b", "held": "b", "none": None}
    orphans = {name for name in moves if name.startswith("o")}
    assert mode.choose(0.0, moves, orphans) == moves, "before many have died, nothing is limited"
    mode.note_deaths(1.0, 3, 4)
    assert mode.choose(1.0, moves, orphans) == {"o0": "a", "o1": "a", "o9": "b", "none": None}
    assert len(mode.choose(1.25, moves, orphans)) == 3, "a quarter of a second later: one to each"
