"""How long a clock was within its bound: what was not seen counts for neither side, and days add up."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.limits import requirements
from harness.model.watched import StateChange, StreamState
from harness.system import profile_files
from harness.watch.day_figures import compute_day_figures, compute_tick_quality, find_day_ticks
from harness.watch.service_level import ServiceLevel, WorstHour, find_first_tick, measure_service, sum_levels
from harness.watch.stream_limits import read_limits
from tests.doubles.watched_clock import EC2_NOISE, watch_clock

FIRST, LAST = 1_795_219_200, 1_795_305_599
"""2026-11-21."""
GOOD = [*watch_clock(EC2_NOISE, 4000, first=FIRST)]


def change(tick: int, state: StreamState) -> StateChange:
    return StateChange(tick=tick, interval_ns=10**9, state=state, reason=None, sentence="")


def test_good_clock_was_within_its_bound_whenever_it_was_seen() -> None:
    level = measure_service(
        GOOD, [], first_tick=FIRST, last_tick=FIRST + 7999, interval_s=1.0, requirements=requirements("ec2")
    )
    assert (level.ticks, level.seen, level.shown, level.outside, level.worst_hour) == (8000, 4000, 4000, 0, None)
    assert level.within_shares == (0.5, 1.0)
    assert level.evidence_share == 0.5


def test_refuted_bound_and_bound_above_its_limit_are_outside_and_the_worst_hour_is_named() -> None:
    readings = [*GOOD]
    readings[10] = replace(readings[10], offset_ns=1_000_000, window_ns=4_000)
    for place in (3700, 3701, 3702):
        readings[place] = replace(readings[place], chrony_bound_ns=60_000)
    level = measure_service(
        readings, [], first_tick=FIRST, last_tick=FIRST + 3999, interval_s=1.0, requirements=requirements("ec2")
    )
    assert (level.outside, level.refuted) == (4, 1)
    assert level.worst_hour == WorstHour(begin_s=FIRST + 3600, outside=3)
    assert level.outside_s == 4.0


def test_time_before_a_stream_was_added_does_not_count() -> None:
    assert find_first_tick(FIRST, (FIRST + 500) * 10**9, [], 1.0) == FIRST + 500
    assert find_first_tick(FIRST, (FIRST + 500) * 10**9, GOOD, 1.0) == FIRST
    assert find_first_tick(FIRST, 0, [], 1.0) == FIRST
    assert find_first_tick(FIRST // 10, (FIRST + 55) * 10**9, [], 10.0) == FIRST // 10 + 6


def test_reading_without_a_bound_shows_nothing() -> None:
    readings = [replace(each, chrony_bound_ns=None) for each in GOOD]
    level = measure_service(readings, [], first_tick=FIRST, last_tick=FIRST + 3999, interval_s=1.0)
    assert (level.seen, level.shown, level.within_shares) == (4000, 0, (0.0, 1.0))


@given(ticks=st.lists(st.tuples(st.integers(-50, 250), st.sampled_from(StreamState)), max_size=12))
def test_each_tick_is_in_one_state(ticks: list[tuple[int, StreamState]]) -> None:
    changes = [change(tick, state) for tick, state in sorted(ticks, key=lambda each: each[0])]
    level = measure_service([], changes, first_tick=0, last_tick=199, interval_s=1.0)
    assert sum(level.states.values()) == 200


def test_states_go_on_from_the_change_before() -> None:
    changes = [change(-5, StreamState.BROKEN), change(50, StreamState.OK), change(190, StreamState.UNKNOWN)]
    level = measure_service([], changes, first_tick=0, last_tick=199, interval_s=1.0)
    assert level.states == {"ok": 140, "degraded": 0, "broken": 50, "unknown": 10}


def test_level_survives_the_ledger_and_days_add_up() -> None:
    level = measure_service(GOOD, [], first_tick=FIRST, last_tick=FIRST + 3999, interval_s=1.0)
    read = ServiceLevel.from_json(json.loads(json.dumps(level.to_json())))
    assert read == level
    total = sum_levels([read, replace(read, outside=7, worst_hour=WorstHour(begin_s=0, outside=7))])
    assert total is not None
    assert (total.ticks, total.outside, total.worst_hour) == (8000, 7, WorstHour(begin_s=0, outside=7))
    assert sum_levels([]) is None


def test_ticks_of_a_day_begin_in_it() -> None:
    assert find_day_ticks("2026-11-21", 1.0) == (FIRST, LAST)
    assert find_day_ticks("2026-11-21", 10.0) == (FIRST // 10, LAST // 10)
    with pytest.raises(ValueError, match="isoformat"):
        find_day_ticks("yesterday", 1.0)


def test_quality_of_ticks_is_that_of_their_readings() -> None:
    quality = compute_tick_quality(GOOD, FIRST, FIRST + 4999, interval_s=1.0)
    assert quality is not None
    assert (quality.seen, quality.slots, quality.gaps) == (4000, 5000, 1)
    assert quality.offset_ns.max_abs == max(abs(each.offset_ns or 0) for each in GOOD)
    assert quality.bound_ns is not None
    assert quality.bound_ns.maximum == max(each.chrony_bound_ns or 0 for each in GOOD)
    assert (quality.frequency_ppb, quality.oscillator) == (None, None)


def test_figures_of_a_day_are_json_and_judge_the_masks_of_profiles() -> None:
    figures = compute_day_figures(
        "2026-11-21",
        GOOD,
        [change(FIRST, StreamState.OK)],
        interval_s=1.0,
        limits=read_limits({}),
        profiles=profile_files.load_standards(),
    )
    read = json.loads(json.dumps(figures, allow_nan=False))
    assert read["service"]["seen"] == 4000
    assert {profile["name"] for profile in read["quality"]["profiles"]} >= {"mifid-ii-hft", "g8272-prtc-a"}
    empty = compute_day_figures("2026-11-21", [], [], interval_s=1.0, limits=read_limits({}))
    assert empty["quality"] is None
    assert empty["service"]["states"]["unknown"] == 86_400
