"""Chrony's bound against our own readings: what excludes the other is told, and never passes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.analysis import sample_values
from harness.campaign.limits import Requirement
from harness.ladder import bound_check, judge
from harness.ladder.bound_check import (
    NTP_CONFIRMS_CHRONYD,
    NTP_CONFIRMS_READINGS,
    NTP_UNDECIDED,
    BoundCheck,
    Exclusion,
)
from harness.model import Depth, Evidence, Facts, Outcome, PhcRead, Reason, Sample, Verdict

UTC_NS = 1_795_233_824 * 10**9
SECOND_NS = 1_000_000_000
SLOW = "half of the readings took more than"


def change_sample(evidence: Evidence, slot: int, change: Callable[[Sample], Sample]) -> Evidence:
    samples = tuple(change(sample) if sample.slot == slot else sample for sample in evidence.samples or ())
    return replace(evidence, samples=samples)


def bound_ns(evidence: Evidence) -> int:
    """Chrony's bound, the same in every sample of the good host."""
    assert evidence.samples is not None
    tracking = evidence.samples[0].tracking
    assert tracking is not None
    return abs(tracking.system_offset_ns) + tracking.root_dispersion_ns + (tracking.root_delay_ns + 1) // 2


def read_at(sample: Sample, offset_ns: int, window_ns: int) -> Sample:
    """The sample with one reading, whose middle puts the system clock ahead of the PHC by `offset_ns`."""
    before_ns = sample.utc_ns
    reading = PhcRead(
        before_ns=before_ns, phc_ns=before_ns + window_ns // 2 - offset_ns, after_ns=before_ns + window_ns
    )
    return replace(sample, reads=(reading,))


def with_ntp(sample: Sample, offset_ns: int | None) -> Sample:
    """The sample with an answer of the second opinion in its second, or with none."""
    assert sample.sources is not None
    server = replace(
        sample.sources[1], offset_ns=offset_ns or 0, last_rx_s=0 if offset_ns is not None else 9, reach=0o377
    )
    return replace(sample, sources=(sample.sources[0], server))


def verdict(evidence: Evidence, required: tuple[Requirement, ...], depth: Depth = Depth.STANDARD) -> Verdict:
    return judge(evidence, required, depth=depth, read_only=False)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("beyond_ns", "refuted"), [(0, False), (2, True)])
def test_a_reading_refutes_the_bound_if_its_whole_window_is_outside(
    good: Evidence, sign: int, beyond_ns: int, refuted: bool
) -> None:
    window_ns = 4_000
    offset_ns = sign * (bound_ns(good) + window_ns // 2 + beyond_ns)
    changed = change_sample(good, 70, lambda sample: read_at(sample, offset_ns, window_ns))
    assert bound_check.check_samples(changed).refuted is refuted


def test_the_larger_bound_before_the_reading_counts_too(good: Evidence) -> None:
    """chronyd may have been corrected between our reading and its report."""
    offset_ns = bound_ns(good) + 50_000

    def wider(sample: Sample) -> Sample:
        assert sample.tracking is not None
        return replace(sample, tracking=replace(sample.tracking, root_dispersion_ns=100_000))

    changed = change_sample(good, 70, lambda sample: read_at(sample, offset_ns, 2_000))
    assert bound_check.check_samples(changed).refuted
    assert not bound_check.check_samples(change_sample(changed, 69, wider)).refuted
    assert bound_check.check_samples(change_sample(changed, 71, wider)).refuted


@pytest.mark.parametrize(
    ("ntp_offset_ns", "confirmed"),
    [
        (400_000, NTP_CONFIRMS_READINGS),
        (300_000, NTP_CONFIRMS_READINGS),
        (266_668, NTP_CONFIRMS_READINGS),
        (266_666, NTP_UNDECIDED),
        (800_000, NTP_CONFIRMS_READINGS),
        (800_002, NTP_UNDECIDED),
        (0, NTP_CONFIRMS_CHRONYD),
        (-400_000, NTP_CONFIRMS_CHRONYD),
        (-400_002, NTP_UNDECIDED),
        (-300_000, NTP_CONFIRMS_CHRONYD),
        (200_000, NTP_UNDECIDED),
        (-900_000, NTP_UNDECIDED),
        (None, NTP_UNDECIDED),
    ],
)
def test_ntp_tells_which_of_both_is_wrong_where_it_can(
    good: Evidence, required: tuple[Requirement, ...], ntp_offset_ns: int | None, confirmed: str
) -> None:
    def change(sample: Sample) -> Sample:
        return with_ntp(read_at(sample, 400_000, 200_000), ntp_offset_ns)

    found = verdict(change_sample(good, 70, change), required)
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.BOUND_REFUTED)
    assert found.sentence == (
        f"chrony's bound was refuted in 1 of 120 seconds: {bound_ns(good) / 1e3:.3g} us, while a reading of 200 us "
        f"puts the PHC 400 us from the system clock; {confirmed}"
    )


def test_refused_readings_are_judged_elsewhere(good: Evidence, required: tuple[Requirement, ...]) -> None:
    refused = change_sample(good, 70, lambda sample: replace(sample, reads=(), read_errors=5))
    assert bound_check.check_samples(refused).uncompared == 0
    unread = change_sample(good, 70, lambda sample: replace(sample, reads=None, read_errors=None))
    assert bound_check.check_samples(unread).uncompared == 1
    assert verdict(unread, required).outcome is Outcome.INCONCLUSIVE


def test_a_burst_without_any_reading_is_refused_only_if_a_reading_failed(good: Evidence) -> None:
    empty = change_sample(good, 70, lambda sample: replace(sample, reads=(), read_errors=0))
    assert bound_check.check_samples(empty).uncompared == 1


def test_one_refused_reading_hides_no_other_reading_of_the_burst(good: Evidence) -> None:
    outside_ns = bound_ns(good) + 50_000
    changed = change_sample(good, 70, lambda sample: replace(read_at(sample, outside_ns, 2_000), read_errors=1))
    assert len(bound_check.check_samples(changed).exclusions) == 1


def test_a_second_without_a_bound_is_not_compared_with_the_bound_before_it(good: Evidence) -> None:
    changed = change_sample(good, 70, lambda sample: replace(sample, tracking=None))
    assert bound_check.check_samples(changed) == BoundCheck(slots=120, uncompared=1, exclusions=())


def collection_read_at(good: Evidence, offset_ns: int) -> Facts:
    """The facts of the good host, whose one reading of 4 us puts the system clock ahead of the PHC by `offset_ns`."""
    assert good.facts is not None
    reading = PhcRead(before_ns=UTC_NS, phc_ns=UTC_NS + 2_000 - offset_ns, after_ns=UTC_NS + 4_000)
    return replace(good.facts, reads=(reading,))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_collection_is_one_slot_and_a_reading_on_the_bound_does_not_refute_it(good: Evidence, sign: int) -> None:
    assert good.facts is not None
    assert good.facts.tracking is not None
    largest_ns = sample_values.root_distance_bound(good.facts.tracking) + 2_000
    on_bound = collection_read_at(good, sign * largest_ns)
    assert bound_check.check_collection(on_bound) == BoundCheck(slots=1, uncompared=0, exclusions=())
    outside = Exclusion(
        offset_ns=sign * (largest_ns + 1), window_ns=4_000, bound_ns=largest_ns - 2_000, ntp_offset_ns=None
    )
    refuted = bound_check.check_collection(collection_read_at(good, sign * (largest_ns + 1)))
    assert refuted == BoundCheck(slots=1, uncompared=0, exclusions=(outside,))


def test_a_collection_without_a_reading_or_a_bound_is_not_compared(good: Evidence) -> None:
    assert good.facts is not None
    not_compared = BoundCheck(slots=1, uncompared=1, exclusions=())
    for facts in (None, replace(good.facts, reads=()), replace(good.facts, tracking=None)):
        assert bound_check.check_collection(facts) == not_compared


def test_depth_quick_compares_its_one_burst(good: Evidence, required: tuple[Requirement, ...]) -> None:
    assert good.facts is not None
    assert good.facts.reads is not None
    shifted = tuple(replace(read, phc_ns=read.phc_ns + 700_000) for read in good.facts.reads)
    quick = replace(good, samples=None, slots=None, final_facts=None)
    assert verdict(quick, required, Depth.QUICK).outcome is Outcome.PASS
    refuted = verdict(replace(quick, facts=replace(good.facts, reads=shifted)), required, Depth.QUICK)
    assert (refuted.outcome, refuted.reason) == (Outcome.INCONCLUSIVE, Reason.BOUND_REFUTED)
    twice = verdict(replace(quick, first_facts=replace(good.facts, reads=shifted)), required, Depth.QUICK)
    assert twice.outcome is Outcome.PASS
    (remark,) = [remark for remark in twice.remarks if "looked at again" in remark]
    assert remark.startswith(
        "looked at again once chronyd had settled; before, chrony's bound was refuted in 1 of 1 seconds: "
    )
    assert not any("looked at again" in remark for remark in verdict(quick, required, Depth.QUICK).remarks)
    unknown = verdict(replace(quick, facts=replace(good.facts, tracking=None)), required, Depth.QUICK)
    assert unknown.outcome is Outcome.INCONCLUSIVE


def test_readings_slower_than_chrony_assumes_are_told(good: Evidence, required: tuple[Requirement, ...]) -> None:
    assert good.samples is not None
    assert not any(remark.startswith(SLOW) for remark in verdict(good, required).remarks)
    slow = replace(good, samples=tuple(read_at(sample, 0, 30_000) for sample in good.samples))
    (remark,) = [remark for remark in verdict(slow, required).remarks if remark.startswith(SLOW)]
    assert "took more than 30 us, and chrony assumes 10 us: its bound is up to 10 us too small" in remark


@pytest.mark.parametrize(("window_ns", "slow"), [(10_000, False), (10_002, True)])
def test_readings_as_slow_as_chrony_assumes_are_not_told(good: Evidence, window_ns: int, slow: bool) -> None:
    samples = [read_at(sample, 0, window_ns) for sample in good.samples or ()]
    assert (bound_check.describe_slow_readings(replace(good, samples=samples)) is not None) is slow


def test_readings_beside_another_selected_source_say_nothing_about_chronys_bound(good: Evidence) -> None:
    """The root delay is then that of the other source."""
    slow = [read_at(sample, 0, 30_000) for sample in good.samples or ()]
    assert bound_check.describe_slow_readings(replace(good, samples=slow)) is not None
    refclock, server = slow[0].sources or ()
    other = (replace(refclock, state="+"), replace(server, state="*"))
    elsewhere = [replace(sample, sources=other) for sample in slow]
    assert bound_check.describe_slow_readings(replace(good, samples=elsewhere)) is None
    assert bound_check.describe_slow_readings(replace(good, samples=None)) is None


@given(
    slot=st.integers(0, 119),
    beyond_ns=st.integers(2, 10**12),
    window_ns=st.integers(0, 10**7),
    sign=st.sampled_from([1, -1]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_evidence_in_which_two_measurements_exclude_each_other_passes(
    good: Evidence, required: tuple[Requirement, ...], slot: int, beyond_ns: int, window_ns: int, sign: int
) -> None:
    offset_ns = sign * (bound_ns(good) + window_ns + beyond_ns)
    changed = change_sample(good, slot, lambda sample: read_at(sample, offset_ns, window_ns))
    assert verdict(good, required).outcome is Outcome.PASS
    assert verdict(changed, required).outcome is not Outcome.PASS
