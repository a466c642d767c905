"""Compute values of one sample: bounds, and the offset between system clock and PHC with its uncertainty.

Offsets are positive when the system clock is ahead.
"""

from collections.abc import Sequence

from harness.model import PhcRead, Sample, Tracking


def chrony_bound(sample: Sample) -> int | None:
    """Chrony's bound on the distance of the system clock from the reference's time, in nanoseconds, rounded up."""
    return root_distance_bound(sample.tracking) if sample.tracking else None


def root_distance_bound(tracking: Tracking) -> int:
    """|system time offset| + root dispersion + root delay / 2 (chronyc(1), Root dispersion), rounded up."""
    return abs(tracking.system_offset_ns) + tracking.root_dispersion_ns + (tracking.root_delay_ns + 1) // 2


def error_bound(sample: Sample) -> int | None:
    """Chrony's bound plus the device's bound. The driver shows 0 before its first reading: unknown, so None."""
    chrony = chrony_bound(sample)
    return chrony + sample.error_bound_ns if chrony is not None and sample.error_bound_ns else None


def phc_offset(sample: Sample) -> int | None:
    """System clock minus PHC in nanoseconds, by the fastest reading of the sample's burst."""
    return system_minus_phc(sample.reads or ())


def phc_uncertainty(sample: Sample) -> float | None:
    """The uncertainty of `phc_offset` in nanoseconds: half of the time that the reading took."""
    return fastest(sample.reads).window_ns / 2 if sample.reads else None


def system_minus_phc(reads: Sequence[PhcRead]) -> int | None:
    """The middle of the fastest reading minus the PHC's time; slower readings were delayed. None without readings."""
    return middle_offset_ns(fastest(reads)) if reads else None


def fastest(reads: Sequence[PhcRead]) -> PhcRead:
    """The reading with the shortest window: what could delay it is least."""
    return min(reads, key=lambda read: read.window_ns)


def middle_offset_ns(read: PhcRead) -> int:
    """System clock minus PHC by the middle of a reading; half its window is the uncertainty."""
    return (read.before_ns + read.after_ns) // 2 - read.phc_ns


def least_distance_ns(read: PhcRead) -> int:
    """The least |system clock minus PHC| that a reading allows. At 0 or below, the two may be equal."""
    low_ns, high_ns = read.before_ns - read.phc_ns, read.after_ns - read.phc_ns
    return max(low_ns, -high_ns)


def larger_bound(sample: Sample, before: Sample | None) -> int | None:
    """Chrony's bound of a sample or, if larger, of the one before it; None where the sample has none."""
    bounds = [chrony_bound(each) for each in (sample, before) if each is not None]
    return None if bounds[0] is None else max(bound for bound in bounds if bound is not None)
