"""Each quantity from samples: its points in time, its missing values, and what counts as fresh, lost or refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np
import pytest

from harness.analysis import sample_values, summary
from harness.campaign.limits import Requirement
from harness.ladder import limit_rungs, quantities
from harness.ladder.findings import compare_with_limits, undecided_reason
from harness.ladder.quantities import Reads, Series
from harness.model import ChronySource, Evidence, Finding, PhcCounters, Reason, Sample

Required = tuple[Requirement, ...]


def samples_of(evidence: Evidence) -> tuple[Sample, ...]:
    assert evidence.samples is not None
    return evidence.samples


def change(evidence: Evidence, **changes: Any) -> Evidence:
    """Change every sample; a callable value makes the new one from the sample."""
    changed = tuple(
        replace(sample, **{name: value(sample) if callable(value) else value for name, value in changes.items()})
        for sample in samples_of(evidence)
    )
    return replace(evidence, samples=changed)


def only(evidence: Evidence, count: int) -> Evidence:
    return replace(evidence, samples=samples_of(evidence)[:count], slots=count)


PHC_OFFSET = attrgetter("phc_offset")


def describe(series: Series) -> tuple[tuple[tuple[float, float], ...], int]:
    """The points of a series, and how many are missing."""
    return series.points, series.missing


def make_series(points: Sequence[tuple[float, float]], missing: int) -> Series:
    times_s, values = (np.array([point[place] for point in points]) for place in (0, 1))
    return Series(times_s=times_s, values=values, missing=missing)


# --- slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "slots", "counted", "lost"),
    [
        ((0, 1, 2), 3, 3, 0),
        ((0, 2), 3, 3, 1),
        ((0, 1), 5, 5, 3),
        ((0, 4), None, 5, 3),
        ((0, 4), 3, 5, 3),
        ((), 4, 4, 4),
        ((), None, 0, 0),
    ],
)
def test_slots_up_to_the_last_sample_or_the_closing_line_are_counted(
    good: Evidence, numbers: tuple[int, ...], slots: int | None, counted: int, lost: int
) -> None:
    first = samples_of(good)[0]
    evidence = replace(good, samples=tuple(replace(first, slot=number) for number in numbers), slots=slots)
    assert (quantities.count_slots(evidence), quantities.count_lost(evidence)) == (counted, lost)
    unmeasured = replace(evidence, samples=None)
    assert quantities.count_slots(unmeasured) == (slots or 0)


# --- series -----------------------------------------------------------------------------------------------------------


def test_points_of_a_series_are_at_their_seconds(good: Evidence) -> None:
    """The first sample is at 90 s of the monotonic clock; NTP answers are 0, 1, 2, 3 s old in turn."""
    few = only(good, 6)
    assert describe(quantities.offset_series(few)) == (tuple((90.0 + slot, -84) for slot in range(6)), 0)
    assert describe(quantities.collect_series(few, PHC_OFFSET)) == (tuple((90.0 + slot, -50) for slot in range(6)), 0)
    fresh = (90.0, 91.0, 94.0, 95.0)
    assert describe(quantities.second_opinion_series(few)) == (tuple((at, 40_000) for at in fresh), 0)
    assert describe(quantities.phc_minus_second_opinion(few)) == (tuple((at, 40_050) for at in fresh), 0)
    assert quantities.second_opinion_series(few).sizes == [40_000] * 4


def test_each_lost_or_unobserved_sample_is_one_missing_value(good: Evidence) -> None:
    few = replace(only(good, 6), slots=8)
    untracked = change(few, tracking=lambda sample: None if sample.slot in (1, 3) else sample.tracking)
    assert quantities.offset_series(untracked).missing == 4
    unread = change(few, reads=lambda sample: None if sample.slot in (1, 3, 5) else sample.reads)
    assert quantities.collect_series(unread, PHC_OFFSET).missing == 5
    unasked = change(few, sources=lambda sample: None if sample.slot == 0 else sample.sources)
    assert quantities.second_opinion_series(unasked).missing == 3
    assert quantities.phc_minus_second_opinion(unread).missing == 4
    assert len(quantities.phc_minus_second_opinion(unread).points) == 2


def test_without_a_second_opinion_every_sample_lacks_its_value(good: Evidence) -> None:
    assert good.facts is not None
    alone = replace(only(good, 6), facts=replace(good.facts, sources=()))
    assert describe(quantities.second_opinion_series(alone)) == ((), 6)
    assert describe(quantities.second_opinion_series(replace(alone, facts=None))) == ((), 6)


@pytest.mark.parametrize(
    ("reach", "last_rx_s", "answers", "missing"),
    [(0o377, 0, 6, 0), (0o377, 1, 6, 0), (0o377, 2, 0, 0), (0o377, None, 0, 6), (1, 1, 6, 0), (0, 1, 0, 0)],
)
def test_an_answer_is_fresh_for_a_second_and_one_of_unknown_age_is_missing(
    good: Evidence, reach: int, last_rx_s: int | None, answers: int, missing: int
) -> None:
    def sources(sample: Sample) -> tuple[ChronySource, ...]:
        phc, server = sample.sources or ()
        return phc, replace(server, reach=reach, last_rx_s=last_rx_s)

    series = quantities.second_opinion_series(change(only(good, 6), sources=sources))
    assert (len(series.points), series.missing) == (answers, missing)


def test_the_first_ntp_source_of_the_collection_is_the_second_opinion(good: Evidence) -> None:
    assert good.facts is not None
    phc, server = good.facts.sources or ()
    facts = replace(good.facts, sources=(phc, server, replace(server, name="192.0.2.7")))
    assert quantities.second_opinion(facts) == "169.254.169.123"
    assert quantities.second_opinion(replace(facts, sources=(phc,))) is None


def test_half_of_an_odd_root_delay_is_rounded_up(good: Evidence) -> None:
    tracking = samples_of(good)[0].tracking
    assert tracking is not None
    values = {"system_offset_ns": -3, "root_dispersion_ns": 100}
    for delay_ns, bound_ns in ((10, 108), (11, 109), (12, 109)):
        assert sample_values.root_distance_bound(replace(tracking, root_delay_ns=delay_ns, **values)) == bound_ns


def test_the_error_bound_is_chronys_and_the_devices(good: Evidence) -> None:
    sample = samples_of(good)[0]
    assert sample_values.error_bound(sample) == 26_320
    assert sample_values.error_bound(replace(sample, error_bound_ns=1)) == 6_321
    assert sample_values.error_bound(replace(sample, error_bound_ns=0)) is None
    assert sample_values.error_bound(replace(sample, tracking=None)) is None


def test_half_of_the_fastest_reading_is_uncertain(good: Evidence) -> None:
    sample = samples_of(good)[0]
    assert sample_values.phc_uncertainty(sample) == 2_000
    assert sample_values.phc_uncertainty(replace(sample, reads=())) is None


# --- drift ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "missing", "step", "thinned"),
    [(2, 1, 1, 1), (1000, 3, 1, 3), (1001, 3, 2, 2), (1001, 4, 2, 2), (2001, 4, 3, 2)],
)
def test_a_long_series_is_thinned_out_before_its_slope_is_computed(
    count: int, missing: int, step: int, thinned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    given = summary.Interval(value=1, low=1, high=1)

    def slope(times_s: Sequence[float], values: Sequence[float], *, missing: int) -> summary.Interval:
        assert tuple(zip(times_s, values, strict=True)) == series.points[::step]
        calls.append((len(times_s), missing))
        return given

    monkeypatch.setattr(summary, "slope", slope)
    series = make_series([(float(at), at * 3.0) for at in range(count)], missing)
    assert quantities.compute_drift(series) is given
    assert calls == [(-(-count // step), thinned)]


@pytest.mark.parametrize("points", [(), ((1.0, 5.0),), ((1.0, 5.0), (1.0, 6.0))])
def test_a_drift_needs_two_points_in_time(points: tuple[tuple[float, float], ...]) -> None:
    assert quantities.compute_drift(make_series(points, 0)) is None


# --- readings ---------------------------------------------------------------------------------------------------------


def counted(**changes: Callable[[int], int]) -> Callable[[Sample], PhcCounters]:
    def counters(sample: Sample) -> PhcCounters:
        values = dict.fromkeys(("cnt", "exp", "skp", "err_dv", "err_ts", "err_eb"), 0)
        return PhcCounters(**{**values, **{name: value(sample.slot) for name, value in changes.items()}})

    return counters


@pytest.mark.parametrize(
    ("grown", "refused"),
    [
        ({"exp": 2}, 10),
        ({"skp": 2}, 10),
        ({"err_dv": 2}, 10),
        ({"err_ts": 2}, 10),
        ({"err_eb": 2}, 10),
        ({"err_ts": 2, "err_eb": 3}, 15),
        ({"exp": 1, "skp": 2, "err_dv": 3, "err_ts": 4, "err_eb": 5}, 55),
    ],
)
def test_every_counter_of_refusals_counts(good: Evidence, grown: dict[str, int], refused: int) -> None:
    growth: dict[str, Callable[[int], int]] = {name: lambda slot, by=by: slot * by for name, by in grown.items()}
    evidence = change(only(good, 6), counters=counted(cnt=lambda slot: 7 + 30 * slot, **growth))
    assert quantities.count_reads(evidence) == Reads(
        served=150, refused=refused, counted_by="the driver's counters", complete=True
    )


def test_a_driver_without_a_count_of_error_bounds_refused_none_for_them(good: Evidence) -> None:
    def counters(sample: Sample) -> PhcCounters:
        return replace(counted(cnt=lambda slot: slot)(sample), err_eb=None)

    reads = quantities.count_reads(change(only(good, 6), counters=counters))
    assert reads is not None
    assert (reads.served, reads.refused, reads.requests) == (5, 0, 5)


@pytest.mark.parametrize("published", [True, False])
def test_readings_are_counted_completely_only_by_every_sample(good: Evidence, published: bool) -> None:
    assert good.facts is not None
    six = replace(only(good, 6), facts=replace(good.facts, counters_published=published))
    part: dict[str, Any] = {"counters": None} if published else {"reads": None}
    first, *others = samples_of(six)
    assert quantities.count_reads(six) is not None
    for evidence, complete in (
        (six, True),
        (replace(six, slots=7), False),
        (replace(six, slots=None), False),
        (replace(six, samples=(replace(first, **part), *others)), False),
    ):
        reads = quantities.count_reads(evidence)
        assert reads is not None
        assert reads.complete is complete


def test_our_own_readings_count_with_their_refusals(good: Evidence) -> None:
    assert good.facts is not None
    own = replace(only(good, 6), facts=replace(good.facts, counters_published=False))
    refusing = change(own, read_errors=lambda sample: 3 if sample.slot else None)
    assert quantities.count_reads(refusing) == Reads(
        served=25, refused=15, counted_by="our own readings", complete=False
    )
    assert quantities.count_reads(change(own, reads=None)) == Reads(
        served=0, refused=0, counted_by="our own readings", complete=False
    )


def test_readings_are_not_counted_where_nothing_was_observed(good: Evidence) -> None:
    assert good.facts is not None
    unknown = replace(good.facts, counters_published=None)
    for evidence in (replace(good, samples=()), replace(good, samples=None), replace(good, facts=None)):
        assert quantities.count_reads(evidence) is None
    assert quantities.count_reads(replace(good, facts=unknown)) is None


# --- findings ---------------------------------------------------------------------------------------------------------


def finding(evidence: Evidence, required: Required, quantity: str) -> Finding:
    (chosen,) = [limit for limit in required if limit.quantity == quantity]
    (compared,) = compare_with_limits(evidence, (chosen,))
    return compared


@pytest.mark.parametrize(
    ("count", "reason"), [(0, Reason.NOT_OBSERVED), (1, Reason.TOO_FEW_SAMPLES), (59, Reason.TOO_FEW_SAMPLES),
                          (60, Reason.NOT_OBSERVED)]
)  # fmt: skip
def test_samples_are_too_few_from_the_first_to_the_last_but_one_that_is_needed(
    good: Evidence, required: Required, count: int, reason: Reason
) -> None:
    compared = replace(finding(good, required, "chrony_bound_ns"), samples=count, held=None)
    assert compared.min_samples == 60
    assert undecided_reason(compared) is reason


def test_an_undecided_finding_says_what_is_missing(good: Evidence, required: Required) -> None:
    short = only(good, 59)
    assert finding(short, required, "chrony_bound_ns").note == "59 of at least 60 samples"
    lost = change(good, tracking=lambda sample: None if sample.slot < 3 else sample.tracking)
    assert finding(lost, required, "chrony_bound_ns").note == "some samples are missing"
    enough = change(good, tracking=lambda sample: None if sample.slot < 60 else sample.tracking)
    on_edge = finding(enough, required, "chrony_bound_ns")
    assert (on_edge.samples, on_edge.min_samples, on_edge.note) == (60, 60, "some samples are missing")
    assert finding(replace(good, slots=None), required, "chrony_bound_ns").note == "the samples end too early"


def test_a_quantity_without_a_value_has_no_samples(good: Evidence, required: Required) -> None:
    assert good.facts is not None
    untracked = change(good, tracking=None, sources=None)
    silent = replace(good, facts=replace(good.facts, converged_after_s=None, counters_published=None))
    for evidence, quantity, note in (
        (untracked, "offset_ns", "0 of at least 45 samples"),
        (untracked, "second_opinion_drift_ppb", "0 of at least 10 samples"),
        (silent, "convergence_s", "no convergence was observed"),
        (replace(good, facts=None), "convergence_s", "no convergence was observed"),
        (silent, "phc_read_success", "no readings were counted"),
    ):
        compared = finding(evidence, required, quantity)
        assert (compared.observed, compared.samples, compared.held, compared.note) == (None, 0, None, note)


def test_a_drift_over_one_point_in_time_has_one_sample_and_no_value(good: Evidence, required: Required) -> None:
    one = finding(only(good, 1), required, "second_opinion_drift_ppb")
    assert (one.observed, one.samples, one.note) == (None, 1, "1 of at least 10 samples")


def test_convergence_is_one_sample(good: Evidence, required: Required) -> None:
    compared = finding(good, required, "convergence_s")
    assert (compared.observed, compared.samples, compared.held) == (3.2, 1, True)


def test_a_missing_counter_leaves_open_whether_enough_readings_were_served(good: Evidence, required: Required) -> None:
    first, *others = samples_of(good)
    compared = finding(replace(good, samples=(replace(first, counters=None), *others)), required, "phc_read_success")
    assert (compared.observed, compared.held, compared.samples) == (1.0, None, 118 * 30)


def test_our_own_offset_is_as_uncertain_as_half_of_the_usual_reading(good: Evidence, required: Required) -> None:
    assert finding(good, required, "phc_offset_ns").uncertainty == 2_000
    unread = finding(change(good, reads=None), required, "phc_offset_ns")
    assert (unread.uncertainty, unread.observed) == (None, None)
    assert finding(good, required, "offset_ns").uncertainty is None


# --- the text of a finding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "changes", "text"),
    [
        ("offset_ns", {}, "offset p99 84 ns <= 1 us"),
        ("offset_ns", {"held": False, "observed": 1_200}, "offset p99 1.2 us > 1 us"),
        ("offset_ns", {"held": None}, "offset p99 84 ns ? 1 us"),
        ("offset_ns", {"held": None, "observed": None, "note": "few"}, "offset p99 few"),
        ("phc_read_success", {"held": False, "observed": 0.5}, "phc read success 50.00 % < 99.00 %"),
        ("phc_offset_ns", {}, "phc offset median 50 ns +- 2 us <= 5 us"),
        ("convergence_s", {}, "convergence 3.2 s <= 120 s"),
    ],
)
def test_a_finding_as_text(
    good: Evidence, required: Required, quantity: str, changes: dict[str, Any], text: str
) -> None:
    assert limit_rungs.describe_finding(replace(finding(good, required, quantity), **changes)) == text


def test_only_values_that_were_held_are_listed(good: Evidence, required: Required) -> None:
    held = finding(good, required, "offset_ns")
    broken = replace(held, held=False)
    unobserved = replace(held, observed=None)
    assert limit_rungs.list_held_values((held, broken, unobserved)) == "offset p99 84 ns"
