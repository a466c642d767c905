"""Compute how a clock fared under each disturbance: offsets, bounds, whether the bound held, and the time back."""

from collections.abc import Callable, Iterator, Sequence

from harness.analysis import sample_values
from harness.model import Evidence, Sample
from harness.model.disturbances import DisturbanceFigures, DisturbanceWindow, LimitExceeded

LIMITS_NS = (10_000, 50_000, 100_000)
"""Limits of which it is told when they were exceeded."""

BACK_SLOTS, LEAST_BACK = 10, 8
"""A clock is back from the second on in which, and in most of the nine after it, it is followed and near enough."""

LEAST_COMPARED = 10
"""Seconds in which a reading must have been held against the bound; fewer prove nothing."""

NEAR_FACTOR = 2
"""Near enough is up to this many times the largest offset that was seen while nothing disturbed the clock."""


def compute_disturbances(evidence: Evidence, interval_s: float) -> tuple[DisturbanceFigures, ...]:
    """Compute the figures of each disturbance of a host, in order; none for a host that was not disturbed.

    `interval_s`: the time between two samples, in seconds.
    """
    disturbed = evidence.disturbed
    if disturbed is None or not disturbed.disturbances:
        return ()
    samples, windows = tuple(disturbed.samples or ()), disturbed.disturbances
    before = [sample for sample in samples if sample.slot < windows[0].begun]
    near_ns = NEAR_FACTOR * max(_largest_offset(evidence.samples or ()), _largest_offset(before))
    ends = [*(window.begun for window in windows[1:]), disturbed.slots or (samples[-1].slot + 1 if samples else 0)]
    return tuple(
        _compute_figures(window, samples, end, near_ns, interval_s) for window, end in zip(windows, ends, strict=True)
    )


def _compute_figures(
    window: DisturbanceWindow, samples: Sequence[Sample], end: int, near_ns: float, interval_s: float
) -> DisturbanceFigures:
    """Compute the figures of one disturbance from the samples of its window and until `end`, the next one's begin."""
    watched = [sample for sample in samples if window.begun <= sample.slot < end]
    before = next((sample for sample in reversed(samples) if sample.slot < window.begun), None)
    bounds = [(each, larger) for each, larger in _pair_bounds(watched, before) if each.reads and larger is not None]
    refuted = [
        each
        for each, bound_ns in bounds
        if sample_values.least_distance_ns(sample_values.fastest(each.reads or ())) > bound_ns
    ]
    with_reads = [each for each in watched if each.reads]
    largest = max(with_reads, key=lambda each: _least_offset(each) or 0.0, default=None)
    full_bounds = [bound for each in watched if (bound := _full_bound(each)) is not None]
    return DisturbanceFigures(
        disturbance=window.disturbance,
        lasted_s=(window.ended - window.begun) * interval_s,
        seconds=max(0, end - window.begun),
        compared=len(bounds),
        refuted=len(refuted),
        largest_offset_ns=None if largest is None else sample_values.phc_offset(largest),
        largest_offset_uncertainty_ns=None if largest is None else sample_values.phc_uncertainty(largest),
        largest_bound_ns=max(full_bounds, default=None),
        offset_exceeded=_find_exceeded(watched, before, _least_offset, window.begun, interval_s),
        bound_exceeded=_find_exceeded(watched, before, _full_bound, window.begun, interval_s),
        back_after_s=_find_return(watched, window.ended, near_ns, interval_s),
        detail=window.detail,
        failure=window.failure,
    )


def _largest_offset(samples: Sequence[Sample]) -> int:
    """Find the largest size of the offset from the PHC; 0 without readings. numpy is loaded by the first call."""
    from harness.analysis import sample_arrays

    offsets_ns = sample_arrays.to_arrays(samples).phc_offset.observed
    return int(abs(offsets_ns).max(initial=0))


def _pair_bounds(samples: Sequence[Sample], before: Sample | None) -> Iterator[tuple[Sample, int | None]]:
    """Pair each sample with chrony's bound of it or, if larger, of the one before it."""
    for sample in samples:
        yield sample, sample_values.larger_bound(sample, before)
        before = sample


def _full_bound(sample: Sample) -> float | None:
    """Chrony's bound, with the bound of the device where that publishes one."""
    with_device = sample_values.error_bound(sample)
    return sample_values.chrony_bound(sample) if with_device is None else with_device


def _least_offset(sample: Sample) -> float | None:
    """The least size of the offset that the fastest reading allows."""
    return sample_values.least_distance_ns(sample_values.fastest(sample.reads)) if sample.reads else None


def _find_exceeded(
    watched: Sequence[Sample],
    before: Sample | None,
    value_of: Callable[[Sample], float | None],
    begun: int,
    interval_s: float,
) -> tuple[LimitExceeded, ...]:
    """Find the seconds until each limit was first exceeded; without those that were exceeded before."""
    value_before = value_of(before) if before is not None else None
    exceeded: list[LimitExceeded] = []
    for limit_ns in LIMITS_NS:
        if value_before is not None and value_before > limit_ns:
            continue
        exceeding = (each for each in watched if (value := value_of(each)) is not None and value > limit_ns)
        first = next(exceeding, None)
        if first is not None:
            exceeded.append(LimitExceeded(limit_ns=limit_ns, after_s=(first.slot - begun) * interval_s))
    return tuple(exceeded)


def _find_return(watched: Sequence[Sample], ended: int, near_ns: float, interval_s: float) -> float | None:
    """Find the seconds from the end of the disturbance until the clock was back; None where it was not."""
    good = {sample.slot: _is_good(sample, near_ns) for sample in watched if sample.slot >= ended}
    for slot in sorted(good):
        following = [good.get(slot + ahead, False) for ahead in range(BACK_SLOTS)]
        if following[0] and sum(following) >= LEAST_BACK:
            return (slot - ended) * interval_s
    return None


def _is_good(sample: Sample, near_ns: float) -> bool:
    followed = any(source.mode == "#" and source.state == "*" for source in sample.sources or ())
    offset_ns = _least_offset(sample)
    return followed and offset_ns is not None and offset_ns <= near_ns
