"""The history of a clock: extremes, gaps and refuted bounds stay, however many samples there are."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.clock_history import MOST_INTERVALS, ClockHistory, LatestReading, SlotSpan
from harness.ladder import bound_check
from harness.model import Evidence, PhcRead, Sample
from harness.probes.samples import read_samples
from tests.unit.conftest import a_refclock, a_sample, a_server, a_tracking

BOUND_NS = 6_320  # of a_tracking()


def a_reading(slot: int, offset_ns: int, window_ns: int = 1_000) -> Sample:
    """A sample with one reading."""
    at = 1_795_233_824 * 10**9 + slot * 10**9
    before_ns = at + offset_ns - window_ns // 2
    return replace(a_sample(slot), reads=(PhcRead(before_ns=before_ns, phc_ns=at, after_ns=before_ns + window_ns),))


def history_of(*samples: Sample) -> ClockHistory:
    history = ClockHistory()
    for sample in samples:
        history.add(sample)
    return history


def test_the_latest_values_are_those_of_the_fastest_reading() -> None:
    latest = history_of(a_sample(0), a_sample(1)).latest
    assert latest == LatestReading(slot=1, offset_ns=-50, uncertainty_ns=2_000.0, bound_ns=BOUND_NS, source="PHC0")


def test_what_is_not_observed_is_none() -> None:
    blind = replace(a_sample(3), reads=None, tracking=None, sources=None, read_errors=None)
    assert history_of(blind).latest == LatestReading(
        slot=3, offset_ns=None, uncertainty_ns=None, bound_ns=None, source=None
    )
    assert history_of(replace(a_sample(0), sources=(a_refclock("?"), a_server()))).latest.source is None  # type: ignore[union-attr]


def test_slots_without_a_reading_are_missing() -> None:
    history = history_of(a_reading(0, 10), replace(a_sample(2), reads=(), read_errors=5), a_reading(4, 30))
    assert (history.slots, history.missing, history.reads, history.refused) == (5, 3, 2, 5)
    assert [history.sum_up(slot, slot + 1).missing for slot in range(6)] == [0, 1, 1, 1, 0, 0]
    assert history.sum_up(0, 5) == SlotSpan(least_ns=10, greatest_ns=30, bound_ns=BOUND_NS, read=2, missing=3)


def test_a_reading_refutes_the_bound_where_all_of_it_lies_outside() -> None:
    assert history_of(a_reading(0, BOUND_NS + 500)).refuted == 0
    assert history_of(a_reading(0, BOUND_NS + 501)).refuted == 1
    assert history_of(a_reading(0, -BOUND_NS - 500)).refuted == 0
    assert history_of(a_reading(0, -BOUND_NS - 501)).refuted == 1


def test_the_bound_of_the_sample_before_counts_as_well() -> None:
    wide = replace(a_sample(0), tracking=a_tracking(root_dispersion_ns=90_000))
    assert history_of(wide, a_reading(1, 50_000)).refuted == 0
    assert history_of(wide, a_reading(1, 20), a_reading(2, 50_000)).refuted == 1


def test_a_bound_that_is_not_observed_refutes_nothing() -> None:
    assert history_of(replace(a_reading(0, 10**9), tracking=None)).refuted == 0


def test_offsets_that_no_clock_has_count_as_missing() -> None:
    history = history_of(a_reading(0, 1 << 60))
    assert (history.missing, history.latest.offset_ns) == (1, None)  # type: ignore[union-attr]


@given(st.sets(st.integers(0, 5 * MOST_INTERVALS), min_size=1), st.data())
def test_nothing_is_lost_where_intervals_are_joined(slots: set[int], data: st.DataObject) -> None:
    history, offsets = ClockHistory(), {slot: data.draw(st.integers(-9_000, 9_000)) for slot in sorted(slots)}
    for slot, offset_ns in offsets.items():
        history.add(a_reading(slot, offset_ns))
    whole = history.sum_up(0, history.slots)
    assert (whole.least_ns, whole.greatest_ns) == (min(offsets.values()), max(offsets.values()))
    assert (whole.read, whole.missing) == (len(slots), max(slots) + 1 - len(slots))
    assert (whole.refuted, history.refuted) == (history.refuted, sum(abs(each) > 6_820 for each in offsets.values()))


def test_a_slot_far_away_needs_no_more_room() -> None:
    history = history_of(a_reading(0, 1), a_reading(999_999, 2))
    assert history.sum_up(0, 1).least_ns == 1
    assert history.sum_up(999_999, 10**6).least_ns == 2
    assert history.missing == 999_998


DATA = Path(__file__).parents[2] / "data" / "lab"


@pytest.mark.parametrize(
    ("name", "refuted"), [("drifting", 4), ("driver-off", 0), ("flaky-reads", 0), ("misled-chronyd", 29)]
)
def test_of_real_samples_the_same_seconds_are_refuted_as_in_the_verdict(name: str, refuted: int) -> None:
    samples, _, slots = read_samples((DATA / name / "samples.jsonl").read_text(), where="s")
    check = bound_check.check_samples(Evidence(samples=samples, slots=slots))
    assert history_of(*samples).refuted == len(check.exclusions) == refuted
