"""Write the figures of a host's clock as lines of text, for the ladder of `show` and the text report."""

from collections.abc import Sequence

from harness import units
from harness.model import ClockQuality
from harness.model.quality import OffsetStep, ProfileResult, ProfileStatus, StabilityPoint

_MOST_STEPS_TOLD = 3


def describe_quality(quality: ClockQuality) -> list[str]:
    """Describe the figures, a line for each group; what was not measured is left out."""
    return [
        f"figures: system clock minus PHC in {quality.seen} of {quality.slots} slots of {quality.interval_s:g} s"
        + (f", {units.duration(quality.settling_s)} of settling left out" if quality.settling_s else ""),
        "  offset: " + _describe_offset(quality),
        *_describe_stability(quality.stability),
        *_describe_events(quality),
        *_describe_frequency(quality),
        *_describe_sampler(quality),
        *_describe_profiles(quality.profiles),
    ]


def _describe_offset(quality: ClockQuality) -> str:
    offset, delay = quality.offset_ns, quality.read_delay_ns
    return (
        f"mean {units.signed_ns(offset.mean)}, standard deviation {units.ns(offset.std)}, RMS {units.ns(offset.rms)}; "
        f"size median {units.ns(offset.median_abs)}, p99 {units.ns(offset.p99_abs)}, max {units.ns(offset.max_abs)}; "
        f"a reading took {units.ns(delay.median)} (median), at most {units.ns(delay.maximum)}"
    )


def _describe_stability(points: Sequence[StabilityPoint]) -> list[str]:
    """Tell TDEV and MTIE at the first, a middle and the last averaging time."""
    chosen = dict.fromkeys([*points[:1], *points[len(points) // 2 :][:1], *points[-1:]])
    deviations = [
        f"{units.ns(point.tdev_ns)} at {point.tau_s:g} s{_interval(point.tdev_low_ns, point.tdev_high_ns)}"
        for point in chosen
        if point.tdev_ns is not None
    ]
    errors = [
        f"{units.ns(point.mtie_ns)} at {point.tau_s:g} s{_interval(point.mtie_low_ns, point.mtie_high_ns)}"
        for point in chosen
    ]
    return [f"  {name}: {', '.join(texts)}" for name, texts in (("TDEV", deviations), ("MTIE", errors)) if texts]


def _interval(low_ns: float | None, high_ns: float | None) -> str:
    """Write an interval in brackets; nothing where it is unknown or a point; one with an open end as `at least`."""
    if low_ns is None or low_ns == high_ns:
        return ""
    return f" ({units.ns(low_ns)} to {units.ns(high_ns)})" if high_ns is not None else f" (at least {units.ns(low_ns)})"


def _describe_events(quality: ClockQuality) -> list[str]:
    parts = [
        f"{_count(quality.step_count, 'step')}: {_list_steps(quality.steps)}" if quality.steps else "",
        _count(quality.outliers, "outlier") if quality.outliers else "",
        f"{_count(quality.gaps, 'gap')}, the longest {units.duration(quality.longest_gap_s)}" if quality.gaps else "",
    ]
    return [f"  {'; '.join(part for part in parts if part)}"] if any(parts) else []


def _list_steps(steps: Sequence[OffsetStep]) -> str:
    largest = sorted(steps, key=lambda step: -abs(step.size_ns))[:_MOST_STEPS_TOLD]
    return ", ".join(f"{units.signed_ns(step.size_ns)} at {step.after_s:g} s" for step in largest)


def _describe_frequency(quality: ClockQuality) -> list[str]:
    frequency, oscillator = quality.frequency_ppb, quality.oscillator
    parts = [
        ""
        if frequency is None
        else f"chrony corrects by {units.with_unit(frequency.mean, 'ppb')}, standard deviation "
        f"{units.with_unit(frequency.std, 'ppb')}",
        ""
        if oscillator is None
        else "the free oscillator runs "
        f"{units.with_uncertainty(abs(oscillator.frequency_ppb), oscillator.uncertainty_ppb, 'ppb')} "
        f"{'faster' if oscillator.frequency_ppb >= 0 else 'slower'} than the PHC",
    ]
    return [f"  {'; '.join(part for part in parts if part)}"] if any(parts) else []


def _describe_sampler(quality: ClockQuality) -> list[str]:
    share = quality.sampler_cpu_share
    return [] if share is None else [f"  the measurement itself took {units.with_unit(share, 'ratio')} of a core"]


def _describe_profiles(profiles: Sequence[ProfileResult]) -> list[str]:
    """List the profiles of each status, a line for each status."""
    names = {status: [profile.name for profile in profiles if profile.status is status] for status in _STATUS_TITLES}
    return [f"  profiles {_STATUS_TITLES[status]}: {', '.join(listed)}" for status, listed in names.items() if listed]


_STATUS_TITLES = {
    ProfileStatus.MET: "met",
    ProfileStatus.NOT_REFUTED: "not refuted by a comparison with the PHC",
    ProfileStatus.NOT_DEMONSTRABLE: "that this measurement cannot show",
    ProfileStatus.EXCEEDED: "exceeded",
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
