"""Each limit against samples just inside, on and just outside it, with too few samples, and with some missing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.campaign.limits import STATISTICS, Requirement
from harness.ladder.findings import compare_with_limits
from harness.model import Evidence, Finding, Sample

Required = tuple[Requirement, ...]
Change = Callable[[Evidence, float], Evidence]


def found(evidence: Evidence, required: Required, quantity: str) -> Finding:
    (one,) = [finding for finding in compare_with_limits(evidence, required) if finding.quantity == quantity]
    return one


def each(change: Callable[[Sample, float], Sample]) -> Change:
    def changed(evidence: Evidence, value: float) -> Evidence:
        return replace(evidence, samples=tuple(change(one, value) for one in evidence.samples or ()))

    return changed


def tracked(one: Sample, **changes: int) -> Sample:
    assert one.tracking is not None
    return replace(one, tracking=replace(one.tracking, **changes))


def server(one: Sample, offset_ns: float) -> Sample:
    assert one.sources is not None
    return replace(one, sources=(one.sources[0], replace(one.sources[1], offset_ns=round(offset_ns))))


def read(one: Sample, offset_ns: float) -> Sample:
    """System clock ahead of the PHC by so much, in the fastest reading."""
    assert one.reads is not None
    return replace(one, reads=tuple(replace(r, phc_ns=r.phc_ns - 50 - round(offset_ns)) for r in reversed(one.reads)))


def bound(one: Sample, value: float) -> Sample:
    """Chrony's bound as wanted: 20 ns offset and 5 us half of root delay stay."""
    return tracked(one, root_dispersion_ns=round(value) - 20 - 5_000)


def device_bound(one: Sample, value: float) -> Sample:
    return replace(one, error_bound_ns=round(value) - 20 - 1_300 - 5_000)


def served(evidence: Evidence, ratio: float) -> Evidence:
    """1,000,000 requests over all samples, of which so many came back."""
    samples = evidence.samples or ()
    last = samples[-1]
    assert samples[0].counters is not None
    first = replace(samples[0].counters, cnt=0)
    ended = replace(first, cnt=round(ratio * 1_000_000), err_ts=round((1 - ratio) * 1_000_000))
    return replace(
        evidence,
        samples=tuple(replace(one, counters=ended if one is last else first) for one in samples),
    )


def converged(evidence: Evidence, after_s: float) -> Evidence:
    assert evidence.facts is not None
    return replace(evidence, facts=replace(evidence.facts, converged_after_s=after_s))


def drifting(one: Sample, ppb: float) -> Sample:
    return server(one, 1_000 * one.slot * ppb / 1_000)


EDGES: dict[str, tuple[Change, float]] = {
    "offset_ns": (each(lambda one, value: tracked(one, last_offset_ns=-round(value))), 1),
    "chrony_bound_ns": (each(bound), 1),
    "error_bound_ns": (each(device_bound), 1),
    "phc_read_success": (served, -0.000_001),
    "phc_offset_ns": (each(read), 1),
    "second_opinion_offset_ns": (each(lambda one, value: server(one, -value)), 1),
    "second_opinion_drift_ppb": (each(drifting), 1),
    "convergence_s": (converged, 0.001),
}


def test_every_quantity_has_its_edges() -> None:
    assert set(EDGES) == set(STATISTICS)


@pytest.mark.parametrize("quantity", EDGES)
@pytest.mark.parametrize(("steps", "held"), [(-1, True), (0, True), (1, False)])
def test_inside_on_and_outside(good: Evidence, required: Required, quantity: str, steps: int, held: bool) -> None:
    change, step = EDGES[quantity]
    (limit,) = [one for one in required if one.quantity == quantity]
    seen = found(change(good, limit.value + steps * step), required, quantity)
    assert seen.held is held
    assert seen.observed == pytest.approx(limit.value + steps * step, rel=1e-9)


def test_a_whole_finding(good: Evidence, required: Required) -> None:
    assert found(good, required, "error_bound_ns") == Finding(
        quantity="error_bound_ns",
        statistic="max",
        observed=26_320,
        comparison="<=",
        limit=50_000,
        unit="ns",
        source="default for EC2: public runs show 20-30 us",
        samples=120,
        held=True,
        min_samples=60,
        note="",
    )


PER_SAMPLE = ("offset_ns", "chrony_bound_ns", "error_bound_ns", "phc_offset_ns")


@pytest.mark.parametrize("quantity", PER_SAMPLE)
@pytest.mark.parametrize(("more", "held"), [(-1, None), (0, True)])
def test_enough_samples_and_one_too_few(
    good: Evidence, required: Required, quantity: str, more: int, held: bool | None
) -> None:
    assert good.samples is not None
    count = next(limit.min_samples for limit in required if limit.quantity == quantity) + more
    seen = found(replace(good, samples=good.samples[:count], slots=count), required, quantity)
    assert (seen.samples, seen.held) == (count, held)


def lose(evidence: Evidence, share_of: int, part: str) -> Evidence:
    return replace(
        evidence,
        samples=tuple(
            replace(one, **{part: None}) if one.slot % share_of == 0 else one  # type: ignore[arg-type]
            for one in evidence.samples or ()
        ),
    )


@pytest.mark.parametrize(
    ("quantity", "part", "share_of", "held"),
    [
        ("offset_ns", "tracking", 120, True),  # 1 of 120 may be anything: the 119th of 120 still holds
        ("offset_ns", "tracking", 60, None),  # 2 of 120: the 119th may be among the missing
        ("error_bound_ns", "error_bound_ns", 120, None),
        ("phc_offset_ns", "reads", 3, True),
        ("second_opinion_offset_ns", "sources", 4, True),
        ("phc_read_success", "counters", 120, None),
    ],
)
def test_missing_values_count_as_the_worst(
    good: Evidence, required: Required, quantity: str, part: str, share_of: int, held: bool | None
) -> None:
    assert found(lose(good, share_of, part), required, quantity).held is held


@pytest.mark.parametrize("quantity", [*PER_SAMPLE, "second_opinion_offset_ns", "second_opinion_drift_ppb"])
def test_samples_that_end_early_hold_nothing_and_break_nothing(
    good: Evidence, required: Required, quantity: str
) -> None:
    change, _ = EDGES[quantity]
    for evidence in (good, change(good, 10**9)):
        seen = found(replace(evidence, slots=None), required, quantity)
        assert (seen.held, seen.note) == (None, "the samples end too early")


def test_refusals_that_were_counted_stand_though_samples_are_missing(good: Evidence, required: Required) -> None:
    seen = found(replace(served(good, 0.5), slots=None), required, "phc_read_success")
    assert (seen.held, seen.observed) == (False, 0.5)


def test_only_fresh_answers_of_the_second_opinion_count(good: Evidence, required: Required) -> None:
    """Its answer is 0, 1, 2, 3 s old in turn: every second sample has a fresh one."""
    assert found(good, required, "second_opinion_offset_ns").samples == 60


def test_the_fastest_reading_counts(good: Evidence, required: Required) -> None:
    """Slower ones in the burst say 950 ns."""
    assert found(good, required, "phc_offset_ns").observed == 50


def test_one_refusal_counted_twice_is_one(good: Evidence, required: Required) -> None:
    def counters(one: Any) -> Sample:
        return replace(one, counters=replace(one.counters, err_ts=one.slot, err_eb=one.slot))

    evidence = replace(good, samples=tuple(counters(one) for one in good.samples or ()))
    seen = found(evidence, required, "phc_read_success")
    assert (seen.samples, seen.observed) == (119 * 31, pytest.approx(30 / 31))


def test_an_error_bound_of_zero_is_unknown(good: Evidence, required: Required) -> None:
    """2.17.0g says 0 before its first reading."""
    evidence = replace(good, samples=tuple(replace(one, error_bound_ns=0) for one in good.samples or ()))
    assert found(evidence, required, "error_bound_ns").held is None


def test_an_offset_counts_once_for_each_update_of_the_clock(good: Evidence, required: Required) -> None:
    """chronyd may be sampled more often than it corrects the clock; a repeated value is not a second one."""
    assert good.samples is not None
    slow = tuple(
        replace(sample, tracking=replace(sample.tracking, reference_time_s=float(sample.slot // 3)))
        for sample in good.samples
        if sample.tracking is not None
    )
    seen = found(replace(good, samples=slow), required, "offset_ns")
    assert (seen.samples, seen.held, seen.note) == (40, None, "40 of at least 45 samples")
