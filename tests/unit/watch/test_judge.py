"""A watched clock: faults told in time with the ladder's words, good clocks never accused, silence no pass."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.campaign.limits import LAB
from harness.errors import RequestError
from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading
from harness.probes.samples import read_samples
from harness.watch.judge import StreamJudge
from tests.doubles.watched_clock import (
    EC2_NOISE,
    FIRST_TICK,
    Fault,
    bring_fault,
    judge_ticks,
    lab_noises,
    lose_phc,
    step_of,
    to_reading,
    watch_clock,
)

OK, DEGRADED, BROKEN, UNKNOWN = StreamState.OK, StreamState.DEGRADED, StreamState.BROKEN, StreamState.UNKNOWN
LAB_LIMITS = {"bench": "lab"}
HOUR = 3600
LAB_RUNS = Path(__file__).parents[2] / "data" / "lab"


def settled() -> tuple[StreamJudge, list[TickReading]]:
    """Return a judge of a good clock that it has watched for a while, and that clock's later readings."""
    saved, readings = _settle()
    return StreamJudge({}, 1.0, restored=saved), readings


@cache
def _settle() -> tuple[dict[str, Any], list[TickReading]]:
    judge, readings = StreamJudge({}, 1.0), [*watch_clock(EC2_NOISE, 700 + HOUR, seed=3)]
    judge_ticks(judge, [(each.tick, each) for each in readings[:700]])
    assert judge.state is OK
    return judge.save(), readings[700:]


def tell(fault: Fault, *, ticks: int = 60) -> tuple[list[StateChange], int]:
    """Bring a fault to a good clock; return the changes and the tick at which it began."""
    judge, readings = settled()
    return judge_ticks(judge, bring_fault(readings[:ticks], fault, 0)), readings[0].tick


# --- a good clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_good_clock_of_ec2_never_alerts_in_an_hour(seed: int) -> None:
    judge = StreamJudge({}, 1.0)
    changes = judge_ticks(judge, [(each.tick, each) for each in watch_clock(EC2_NOISE, HOUR, seed=seed)])
    assert [change.state for change in changes] == [UNKNOWN, OK]
    assert changes[1].tick - FIRST_TICK < 60


@pytest.mark.parametrize("number", range(10))
def test_good_clock_of_the_lab_never_alerts_in_an_hour(number: int) -> None:
    judge = StreamJudge(LAB_LIMITS, 1.0)
    readings = watch_clock(lab_noises()[number], HOUR, seed=number)
    assert [change.state for change in judge_ticks(judge, [(each.tick, each) for each in readings])] == [UNKNOWN, OK]


whole = st.integers(min_value=-(2**62), max_value=2**62)
sizes = st.integers(min_value=0, max_value=2**62)
readings_of_anything = st.builds(
    TickReading,
    tick=st.just(0),
    offset_ns=st.none() | whole,
    window_ns=st.none() | sizes,
    reads=st.none() | st.integers(0, 10),
    read_errors=st.none() | st.integers(0, 10),
    device_bound_ns=st.none() | sizes,
    chrony_offset_ns=st.none() | whole,
    chrony_bound_ns=st.none() | sizes,
    follows_phc=st.none() | st.booleans(),
    opinion_ns=st.none() | whole,
)


@given(strange=st.none() | readings_of_anything, at=st.integers(0, 200))
@settings(max_examples=40)
def test_single_bad_tick_never_breaks_a_good_clock(strange: TickReading | None, at: int) -> None:
    judge = StreamJudge({}, 1.0)
    ticks: list[tuple[int, TickReading | None]] = [(each.tick, each) for each in watch_clock(EC2_NOISE, 300)]
    tick = FIRST_TICK + at
    ticks[at] = (tick, strange and replace(strange, tick=tick))
    assert all(change.state is not BROKEN for change in judge_ticks(judge, ticks))


# --- faults, and how soon they are told -------------------------------------------------------------------------------


def _without_chronyd(reading: TickReading) -> TickReading:
    return replace(reading, chrony_offset_ns=None, chrony_bound_ns=None, follows_phc=None, opinion_ns=None)


def _shift_with_bound(reading: TickReading) -> TickReading:
    """Move the clock by 30 us while chronyd knows that it may be so far off."""
    return replace(step_of(30_000)(reading), chrony_bound_ns=40_000, device_bound_ns=None)


@pytest.mark.parametrize(
    ("fault", "state", "reason", "within"),
    [
        (step_of(1_000_000), DEGRADED, Reason.BOUND_REFUTED, 1),
        (step_of(1_000_000), BROKEN, Reason.BOUND_REFUTED, 3),
        (step_of(1_000_000), BROKEN, Reason.OUT_OF_LIMITS, 8),
        (_shift_with_bound, BROKEN, Reason.OUT_OF_LIMITS, 8),
        (lose_phc, BROKEN, Reason.PHC_UNREADABLE, 8),
        (lambda each: replace(each, reads=4, read_errors=1), BROKEN, Reason.PHC_UNREADABLE, 31),
        (lambda each: replace(each, reads=0, read_errors=5, offset_ns=None), BROKEN, Reason.PHC_UNREADABLE, 8),
        (lambda each: replace(each, reads=None, read_errors=None, offset_ns=None), BROKEN, Reason.NOT_OBSERVED, 8),
        (lambda each: replace(each, follows_phc=False), DEGRADED, Reason.NOT_SYNCHRONISED, 7),
        (_without_chronyd, BROKEN, Reason.NOT_OBSERVED, 8),
        (lambda each: replace(each, chrony_offset_ns=2_000 + each.tick % 7), BROKEN, Reason.OUT_OF_LIMITS, 8),
        (lambda each: replace(each, chrony_bound_ns=30_000), BROKEN, Reason.OUT_OF_LIMITS, 7),
        (lambda each: replace(each, device_bound_ns=60_000), BROKEN, Reason.OUT_OF_LIMITS, 3),
        (lambda each: replace(each, device_bound_ns=None), DEGRADED, Reason.NOT_OBSERVED, 61),
        (lambda _each: None, UNKNOWN, Reason.UNREACHABLE, 10),
    ],
)
def test_fault_is_told_in_time_with_the_words_of_the_ladder(
    fault: Fault, state: StreamState, reason: Reason, within: int
) -> None:
    changes, began = tell(fault, ticks=80)
    told = next(change for change in changes if (change.state, change.reason) == (state, reason))
    assert told.tick - began + 1 <= within


def test_second_opinion_is_told_by_its_third_answer() -> None:
    judge, readings = settled()
    fault = lambda each: replace(each, opinion_ns=each.opinion_ns and 5_000_000)  # noqa: E731
    changes = judge_ticks(judge, bring_fault(readings[:200], fault, 0))
    answers = [each.tick for each in readings[:200] if each.opinion_ns is not None]
    assert (changes[0].state, changes[0].reason) == (BROKEN, Reason.OUT_OF_LIMITS)
    assert changes[0].tick <= answers[2]
    assert "second opinion" in changes[0].sentence


def test_phc_of_another_time_is_implausible() -> None:
    judge, readings = settled()
    fault = lambda each: replace(each, opinion_ns=each.opinion_ns and 37 * 10**9)  # noqa: E731
    judge_ticks(judge, bring_fault(readings[:200], fault, 0))
    assert (judge.state, judge.reason) == (BROKEN, Reason.PHC_IMPLAUSIBLE)


def test_second_opinion_that_answers_no_more_is_told_after_an_hour() -> None:
    judge, readings = settled()
    silent = [(each.tick, replace(each, opinion_ns=None)) for each in readings]
    more = watch_clock(EC2_NOISE, 60, first=readings[-1].tick + 1)
    changes = judge_ticks(judge, [*silent, *((each.tick, replace(each, opinion_ns=None)) for each in more)])
    assert [(change.state, change.reason) for change in changes] == [(DEGRADED, Reason.NOT_OBSERVED)]


def test_holdover_names_the_tick_until_which_the_phc_was_selected_and_breaks_after_a_long_window() -> None:
    judge, readings = settled()
    left = [(each.tick, replace(each, follows_phc=False)) for each in readings[:700]]
    changes = judge_ticks(judge, left)
    assert [(each.state, each.reason) for each in changes] == [
        (DEGRADED, Reason.NOT_SYNCHRONISED),
        (BROKEN, Reason.NOT_SYNCHRONISED),
    ]
    assert f"(tick {readings[0].tick - 1})" in changes[0].sentence
    assert changes[1].tick - readings[0].tick < 600


def test_offset_that_a_slow_reading_explains_breaks_nothing() -> None:
    judge, readings = settled()
    slow = [(each.tick, replace(each, offset_ns=15_000, window_ns=40_000)) for each in readings[:50]]
    assert judge_ticks(judge, slow) == []


def test_readings_too_slow_to_show_anything_are_no_pass() -> None:
    judge, readings = settled()
    slow = [(each.tick, replace(each, offset_ns=15_000, window_ns=40_000)) for each in readings[:120]]
    assert [(each.state, each.reason) for each in judge_ticks(judge, slow)] == [(DEGRADED, Reason.NOT_OBSERVED)]


# --- hysteresis -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 70])
def test_hundred_crossings_inside_the_dead_band_give_one_alert(length: int) -> None:
    judge, readings = settled()
    crossing = [
        (
            each.tick,
            replace(each, chrony_bound_ns=27_000 if place // length % 2 == 0 else 23_000, device_bound_ns=None),
        )
        for place, each in enumerate(watch_clock(EC2_NOISE, 100 * length, first=readings[0].tick))
    ]
    changes = judge_ticks(judge, crossing)
    assert [(change.state, change.reason) for change in changes] == [(BROKEN, Reason.OUT_OF_LIMITS)]


def test_clock_is_good_again_a_short_window_after_its_fault_and_later_after_a_relapse() -> None:
    judge, readings = settled()
    ticks = [
        (each.tick, lose_phc(each) if place < 20 or 200 <= place < 220 else each)
        for place, each in enumerate(readings[:500])
    ]
    changes = [(change.state, change.tick - readings[0].tick) for change in judge_ticks(judge, ticks)]
    assert [state for state, _ in changes] == [BROKEN, OK, BROKEN, OK]
    assert 79 <= changes[1][1] < 95
    assert 339 <= changes[3][1] < 355


def test_state_lasts_since_the_tick_at_which_it_began() -> None:
    judge, readings = settled()
    changes = judge_ticks(judge, bring_fault(readings[:60], step_of(1_000_000), 0))
    assert judge.since_tick == next(change.tick for change in changes if change.state is BROKEN)
    assert judge.reason is Reason.OUT_OF_LIMITS


# --- ticks that are missed --------------------------------------------------------------------------------------------


def test_ticks_that_nobody_asked_for_are_unknown_without_a_reason() -> None:
    judge, readings = settled()
    change = judge.add(readings[100], readings[100].tick)
    assert change is not None
    assert (change.state, change.reason) == (UNKNOWN, None)
    assert "nobody asked" in change.sentence


def test_stream_is_known_again_after_ten_ticks_in_a_row() -> None:
    judge, readings = settled()
    judge_ticks(judge, [(each.tick, None) for each in readings[:20]])
    changes = judge_ticks(judge, [(each.tick, each) for each in readings[20:40]])
    assert [(change.state, change.tick - readings[20].tick) for change in changes] == [(OK, 9)]


def test_broken_clock_stays_broken_over_a_gap() -> None:
    judge, readings = settled()
    judge_ticks(judge, bring_fault(readings[:30], step_of(1_000_000), 0))
    judge_ticks(judge, [(each.tick, None) for each in readings[30:100]])
    assert judge.state is UNKNOWN
    judge_ticks(judge, [(each.tick, each) for each in readings[100:115]])
    assert judge.state is BROKEN


def test_host_that_was_away_for_a_reboot_is_not_good_at_once() -> None:
    judge, readings = settled()
    judge_ticks(judge, [(each.tick, None) for each in readings[:90]])
    changes = judge_ticks(judge, [(each.tick, each) for each in readings[90:200]])
    assert [(change.state, change.reason) for change in changes] == [(DEGRADED, Reason.TOO_FEW_SAMPLES), (OK, None)]


@given(missed=st.lists(st.booleans(), min_size=40, max_size=300))
@settings(max_examples=60)
def test_missed_ticks_are_never_good_after_the_bound(missed: list[bool]) -> None:
    judge, readings = settled()
    run = 0
    for lost, reading in zip(missed, readings, strict=False):
        run = run + 1 if lost else 0
        judge.add(None if lost else reading, reading.tick)
        if run >= 10:
            assert judge.state is UNKNOWN


def test_tick_that_comes_twice_changes_nothing() -> None:
    judge, readings = settled()
    before = judge.save()
    assert judge.add(readings[0], readings[0].tick - 5) is None
    assert judge.save() == before


# --- evidence that contradicts itself ---------------------------------------------------------------------------------


@given(ticks=st.lists(st.none() | readings_of_anything, max_size=80), settles=st.booleans())
@settings(max_examples=100)
def test_no_state_is_good_while_two_measurements_exclude_each_other(
    ticks: list[TickReading | None], settles: bool
) -> None:
    judge = settled()[0] if settles else StreamJudge(LAB_LIMITS, 1.0)
    before_ns, first = EC2_NOISE.bound_ns, FIRST_TICK + 700
    for place, drawn in enumerate(ticks):
        reading = drawn and replace(drawn, tick=first + place)
        judge.add(reading, first + place)
        if reading is None:
            continue
        if None not in (reading.offset_ns, reading.chrony_bound_ns):
            least_ns = abs(reading.offset_ns or 0) - (reading.window_ns or 0) / 2
            if least_ns > max(reading.chrony_bound_ns or 0, before_ns):
                assert judge.state is not OK
        before_ns = reading.chrony_bound_ns or 0


# --- recorded lab runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("drifting", {(BROKEN, Reason.OUT_OF_LIMITS)}),
        ("misled-chronyd", {(BROKEN, Reason.BOUND_REFUTED), (BROKEN, Reason.OUT_OF_LIMITS)}),
        ("flaky-reads", {(DEGRADED, Reason.NOT_SYNCHRONISED)}),
        ("driver-off", {(OK, None)}),
    ],
)
def test_recorded_runs_of_the_lab_end_with_the_ladders_reason(
    run: str, expected: set[tuple[StreamState, Reason | None]]
) -> None:
    samples, _, _ = read_samples((LAB_RUNS / run / "samples.jsonl").read_text(), where=run)
    judge = StreamJudge(LAB_LIMITS, 1.0)
    judge_ticks(judge, [(FIRST_TICK + each.slot, to_reading(each, FIRST_TICK + each.slot)) for each in samples])
    assert (judge.state, judge.reason) in expected


# --- another worker goes on -------------------------------------------------------------------------------------------


@given(
    ticks=st.lists(st.none() | readings_of_anything | st.integers(0, 399), min_size=2, max_size=150),
    split=st.integers(0, 150),
    settles=st.booleans(),
)
@settings(max_examples=60)
def test_restored_judge_has_the_same_later_states(
    ticks: list[TickReading | int | None], split: int, settles: bool
) -> None:
    judge = settled()[0] if settles else StreamJudge({}, 1.0)
    good = _settle()[1]
    first = FIRST_TICK + 700
    chosen = [good[each] if isinstance(each, int) else each for each in ticks]
    readings = [each and replace(each, tick=first + place) for place, each in enumerate(chosen)]
    for place, reading in enumerate(readings[:split]):
        judge.add(reading, first + place)
    other = StreamJudge({}, 1.0, restored=judge.save())
    for place, reading in enumerate(readings[split:], start=split):
        assert judge.add(reading, first + place) == other.add(reading, first + place)
        assert (judge.state, judge.reason, judge.sentence, judge.since_tick) == (
            other.state,
            other.reason,
            other.sentence,
            other.since_tick,
        )
    assert judge.save() == other.save()


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 9},
        {"windows": "eJw="},
        {"windows": 3},
        {"checks": []},
        {"limits": []},
        {"word": ["good"]},
        {"tick": None},
    ],
)
def test_damaged_word_of_another_worker_counts_as_none(damage: dict[str, object]) -> None:
    judge, readings = settled()
    fresh = StreamJudge({}, 1.0, restored={**judge.save(), **damage})
    assert fresh.state is not OK or damage == {"tick": None}
    fresh.add(readings[0], readings[0].tick)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_of_a_campaign_replace_those_of_the_table() -> None:
    judge, readings = settled()
    strict = StreamJudge({"limits": {"phc_offset_ns": {"p99_abs": 10.0}}}, 1.0)
    changes = judge_ticks(strict, [(each.tick, replace(each, window_ns=1)) for each in readings[:100]])
    assert changes[-1].reason is Reason.OUT_OF_LIMITS
    assert judge.state is OK


def test_limits_of_the_lab_are_those_of_its_table() -> None:
    listed = StreamJudge(LAB_LIMITS, 1.0).figures()["limits"]
    table = {(limit.quantity, limit.value) for limit in LAB}
    assert {(each["quantity"], each["limit"]) for each in listed} <= table


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"limit": {}}, "unknown key 'limit'"),
        ({"limits": {"phc_ofset_ns": {"max": 5}}}, "did you mean"),
        ({"limits": {"phc_offset_ns": {"max": "5us"}}}, "is no number"),
        ({"limits": [1]}, "no table"),
        ({"bench": "moon"}, "'moon'"),
        ({"bench": []}, "no table of limits"),
        ({"profile": "mifid-ii-hft"}, "are not among the limits"),
        ({"profile_limits": [{"kind": "bound"}]}, "not understood"),
        ({"profile_limits": 3}, "no list"),
    ],
)
def test_limits_that_are_not_understood_are_refused_with_a_sentence(limits: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        StreamJudge(limits, 1.0)


def test_host_that_answers_every_ten_seconds_is_unknown_after_five_of_them() -> None:
    judge = StreamJudge({}, 10.0)
    readings = [*watch_clock(EC2_NOISE, 200)]
    judge_ticks(judge, [(each.tick, each) for each in readings[:150]])
    changes = judge_ticks(judge, [(each.tick, None) for each in readings[150:160]])
    assert changes[0].tick - readings[150].tick == 4
