"""Hold a measurement against profiles: which limits it meets, exceeds, or cannot show, and why.

Nothing is "met" that was not shown: readings are uncertain by half of their time, gaps and short measurements show
nothing, and of a limit against UTC a comparison with the PHC shows only as much as the device says of its distance from
UTC. An excess counts where no uncertainty explains it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness import units
from harness.analysis.confidence import compute_tdev_interval
from harness.analysis.measured_offsets import MeasuredOffsets, filter_low_pass, is_bound_refuted
from harness.analysis.offset_series import OffsetSeries
from harness.analysis.stability import Deviations, compute_deviations, per_decade
from harness.analysis.stability_points import count_tdev_freedoms
from harness.analysis.time_interval_error import MtieTable, ReadingBias
from harness.campaign.masks import Mask
from harness.campaign.profiles import LimitKind, Profile, ProfileLimit, Reference
from harness.model.quality import LimitResult, ProfileResult, ProfileStatus

_SURE = 0.998
"""The confidence of a TDEV that exceeds a mask: none of some seventy averaging times shall do so by chance alone."""

_WORST_LAST = (
    ProfileStatus.MET,
    ProfileStatus.NOT_REFUTED,
    ProfileStatus.NOT_DEMONSTRABLE,
    ProfileStatus.EXCEEDED,
)


def check_profiles(profiles: Iterable[Profile], measured: MeasuredOffsets) -> tuple[ProfileResult, ...]:
    """Hold a measurement against each profile, in their order."""
    curves: dict[float | None, _Curves | None] = {None: _Curves(measured.series)}
    return tuple(_check_profile(profile, measured, curves) for profile in profiles)


class _Curves:
    """A series, and its curves of MTIE and TDEV, which are computed when the first limit needs them."""

    def __init__(self, series: OffsetSeries) -> None:
        self.series = series

    @cached_property
    def least_mtie(self) -> MtieTable:
        return MtieTable(self.series, ReadingBias.LEAST)

    @cached_property
    def greatest_mtie(self) -> MtieTable:
        return MtieTable(self.series, ReadingBias.GREATEST)

    @cached_property
    def tdev(self) -> Sequence[tuple[Deviations, tuple[float, float] | None]]:
        """TDEV at 24 averaging times a decade, each with the lower end of `_SURE` and the upper end of 90 %."""
        computed = compute_deviations(self.series, per_decade(len(self.series)))
        freedoms = count_tdev_freedoms(self.series, computed)
        return [(point, _find_ends(point, freedom)) for point, freedom in zip(computed, freedoms, strict=True)]


def _find_ends(point: Deviations, freedom: float | None) -> tuple[float, float] | None:
    if point.tdev_ns is None or freedom is None:
        return None
    surely_above, _ = compute_tdev_interval(point.tdev_ns, freedom, confidence=_SURE)
    _, usually_below = compute_tdev_interval(point.tdev_ns, freedom)
    return surely_above, usually_below


def _check_profile(
    profile: Profile, measured: MeasuredOffsets, curves: dict[float | None, "_Curves | None"]
) -> ProfileResult:
    results = tuple(_check_limit(limit, profile.reference, measured, curves) for limit in profile.limits)
    return ProfileResult(
        name=profile.name,
        title=profile.title,
        edition=profile.edition,
        reference=profile.reference.value,
        status=max((result.status for result in results), key=_WORST_LAST.index),
        limits=results,
    )


def _check_limit(
    limit: ProfileLimit, reference: Reference, measured: MeasuredOffsets, curves: dict[float | None, _Curves | None]
) -> LimitResult:
    bandwidth_hz = limit.low_pass_hz
    if bandwidth_hz not in curves and bandwidth_hz is not None:
        filtered = filter_low_pass(measured.series, bandwidth_hz)
        curves[bandwidth_hz] = None if filtered is None else _Curves(filtered)
    chosen = curves[bandwidth_hz]
    if chosen is None:
        return _undecided(limit, "offsets are missing, and a filtered series needs all of them")
    result = _CHECKS[limit.kind](limit, reference, measured, chosen)
    if not limit.segments:
        return result
    series = chosen.series
    return replace(result, mask=_list_points(Mask(limit.segments), series.slot_s, (len(series) - 1) * series.slot_s))


# --- one limit at all times -------------------------------------------------------------------------------------------


def _check_bound(limit: ProfileLimit, reference: Reference, measured: MeasuredOffsets, curves: _Curves) -> LimitResult:
    """Hold |offset| and its full bound against the limit: for UTC chrony's and the device's, else chrony's."""
    limit_ns, device_ns, series = limit.limit_ns or 0.0, _device_bound(reference, measured), curves.series
    low_ns = float((np.abs(series.offsets_ns) - _readings(series))[series.seen].max()) - (device_ns or 0)
    if low_ns > limit_ns:
        return _exceeded(limit, "the clock was off by at least", low_ns, limit_ns)
    if device_ns is None:
        return _undecided(limit, "the driver publishes no error bound, so the distance from UTC is not known")
    bounds = measured.samples.chrony_bound.choose(measured.chosen)
    known = bounds.observed
    if is_bound_refuted(measured.samples, measured.chosen):
        return _undecided(limit, "a reading refutes chrony's bound")
    if missing := _find_missing(limit, measured, len(known), len(bounds.known)):
        return _undecided(limit, missing)
    highest_ns = int(known.max()) + device_ns
    if highest_ns > limit_ns:
        return _undecided(limit, f"the bound was up to {units.ns(highest_ns)}, above {units.ns(limit_ns)}")
    return _within(limit, ProfileStatus.MET, "offset and bound were at most", highest_ns, limit_ns)


def _check_offset(limit: ProfileLimit, reference: Reference, measured: MeasuredOffsets, curves: _Curves) -> LimitResult:
    """Hold |offset| against the limit."""
    series = curves.series
    sizes = np.abs(series.offsets_ns).astype(np.float64)
    return _check_sizes(limit, reference, measured, sizes[series.seen], _readings(series)[series.seen], "the offset")


def _check_constant(
    limit: ProfileLimit, reference: Reference, measured: MeasuredOffsets, curves: _Curves
) -> LimitResult:
    """Hold |mean of the offset| over any time of the shortest duration against the limit."""
    series = curves.series
    window = max(1, math.ceil(limit.least_s / series.slot_s))
    if window > len(series):
        return _undecided(limit, _describe_short(limit, measured))
    if not series.whole:
        return _undecided(limit, "offsets are missing")
    means, readings = (_running_mean(values, window) for values in (series.offsets_ns, _readings(series)))
    return _check_sizes(limit, reference, measured, np.abs(means), readings, f"the mean over {limit.least_s:g} s")


def _check_sizes(
    limit: ProfileLimit,
    reference: Reference,
    measured: MeasuredOffsets,
    sizes: npt.NDArray[np.float64],
    readings: npt.NDArray[np.float64],
    what: str,
) -> LimitResult:
    """Hold sizes, each uncertain by its reading and, for UTC, by the device's bound, against the limit."""
    limit_ns, device_ns = limit.limit_ns or 0.0, _device_bound(reference, measured)
    low_ns = float((sizes - readings).max()) - (device_ns or 0)
    high_ns = float((sizes + readings).max())
    if low_ns > limit_ns:
        return _exceeded(limit, f"{what} was at least", low_ns, limit_ns)
    if missing := _find_missing(limit, measured, measured.series.count, measured.series.count):
        return _undecided(limit, missing)
    if high_ns > limit_ns:
        return _undecided(limit, f"{what} was up to {units.ns(high_ns)} as far as readings show")
    if device_ns is not None and high_ns + device_ns <= limit_ns:
        return _within(limit, ProfileStatus.MET, f"{what} was at most", high_ns + device_ns, limit_ns)
    return _within(limit, ProfileStatus.NOT_REFUTED, f"against the PHC alone, {what} was at most", high_ns, limit_ns)


# --- masks ------------------------------------------------------------------------------------------------------------


def _check_mtie(limit: ProfileLimit, reference: Reference, measured: MeasuredOffsets, curves: _Curves) -> LimitResult:
    """Prove the mask for every observation interval, or show one at which it is exceeded whatever readings say."""
    mask, series = Mask(limit.segments), curves.series
    excess = curves.least_mtie.find_excess(mask)
    if excess is not None:
        tau_s = excess.slots * series.slot_s
        return _exceeded(limit, f"MTIE at {tau_s:g} s is at least", excess.mtie_ns, excess.mask_ns, tau_s)
    if missing := _find_missing(limit, measured, series.count, series.count):
        return _undecided(limit, missing)
    possible = curves.greatest_mtie.find_excess(mask)
    if possible is not None:
        text = (
            f"MTIE at {possible.slots * series.slot_s:g} s may be {units.ns(possible.mtie_ns)} by the time that "
            f"readings take, and the mask allows {units.ns(possible.mask_ns)}"
        )
        return _undecided(limit, text)
    return _within_mask(limit, reference, "MTIE", longest_s=(len(series) - 1) * series.slot_s)


def _check_tdev(limit: ProfileLimit, reference: Reference, measured: MeasuredOffsets, curves: _Curves) -> LimitResult:
    """Hold TDEV at 24 averaging times a decade against the mask: its interval decides.

    The noise of readings adds to TDEV: it explains an excess, and never hides one.
    """
    mask, series = Mask(limit.segments), curves.series
    noise_ns = math.sqrt(float(np.mean(_readings(series)[series.seen] ** 2)) / 3)
    open_text, longest_s = "", 0.0
    for point, interval in curves.tdev:
        mask_ns = mask.limit_ns(point.tau_s)
        if mask_ns is None or point.tdev_ns is None:
            continue
        longest_s = point.tau_s
        floor_ns = noise_ns / math.sqrt(point.tau_s / series.slot_s)
        low_ns = math.sqrt(max((interval[0] if interval else 0.0) ** 2 - floor_ns**2, 0.0))
        if low_ns > mask_ns:
            return _exceeded(limit, f"TDEV at {point.tau_s:g} s is at least", low_ns, mask_ns, point.tau_s)
        if (interval is None or interval[1] > mask_ns) and not open_text:
            open_text = (
                f"TDEV at {point.tau_s:g} s is {units.ns(point.tdev_ns)}, of which readings may make "
                f"{units.ns(floor_ns)}; the mask allows {units.ns(mask_ns)}"
            )
    if missing := _find_missing(limit, measured, series.count, series.count):
        return _undecided(limit, missing)
    if not longest_s or open_text:
        return _undecided(limit, open_text or _describe_short(limit, measured))
    return _within_mask(limit, reference, "TDEV", longest_s=longest_s)


def _list_points(mask: Mask, first_s: float, last_s: float) -> tuple[tuple[float, float], ...]:
    """List points of a mask between two times: the ends of its segments, and four a decade where it is not level."""
    points: list[tuple[float, float]] = []
    for segment in mask.segments:
        begin, end = max(segment.above_s, first_s), min(segment.end_s, last_s)
        if begin < end:
            steps = max(1, math.ceil(4 * math.log10(end / begin))) if segment.slope_ns_per_s else 1
            times = [begin * (end / begin) ** (step / steps) for step in range(steps + 1)]
            points += [(float(f"{time:.6g}"), float(f"{segment.limit_ns(time):.6g}")) for time in times]
    return tuple(points)


_Check = Callable[[ProfileLimit, Reference, MeasuredOffsets, _Curves], LimitResult]

_CHECKS: Mapping[LimitKind, _Check] = {
    LimitKind.BOUND: _check_bound,
    LimitKind.OFFSET: _check_offset,
    LimitKind.CONSTANT: _check_constant,
    LimitKind.MTIE: _check_mtie,
    LimitKind.TDEV: _check_tdev,
}


# --- what they share --------------------------------------------------------------------------------------------------


def _device_bound(reference: Reference, measured: MeasuredOffsets) -> int | None:
    """Return how far the PHC may be from the reference: 0 where it is the reference, None where it is unknown."""
    return 0 if reference is Reference.SOURCE else measured.device_bound_ns


def _readings(series: OffsetSeries) -> npt.NDArray[np.float64]:
    if series.reading_ns is None:
        return np.zeros(len(series))
    return series.reading_ns.astype(np.float64)


def _running_mean(values: npt.NDArray[np.generic], window: int) -> npt.NDArray[np.float64]:
    sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    return (sums[window:] - sums[:-window]) / window


def _find_missing(limit: ProfileLimit, measured: MeasuredOffsets, known: int, count: int) -> str:
    """Say why a measurement is not enough to show that a limit is met; empty where it is enough."""
    if measured.duration_s < limit.least_s:
        return _describe_short(limit, measured)
    if not measured.complete or known < count:
        return "samples are missing, in which it may have been exceeded"
    if known < limit.least_samples:
        return f"{known} of at least {limit.least_samples} samples"
    return ""


def _describe_short(limit: ProfileLimit, measured: MeasuredOffsets) -> str:
    return (
        f"measured for {units.duration(measured.duration_s)}; it can be shown from {units.duration(limit.least_s)} on"
    )


def _within_mask(limit: ProfileLimit, reference: Reference, what: str, *, longest_s: float) -> LimitResult:
    if reference is Reference.SOURCE:
        text = f"{what} is below the mask up to {units.duration(longest_s)}"
        return LimitResult(kind=limit.kind.value, status=ProfileStatus.MET, sentence=text)
    text = f"against the PHC alone, {what} is below the mask up to {units.duration(longest_s)}"
    return LimitResult(kind=limit.kind.value, status=ProfileStatus.NOT_REFUTED, sentence=text)


def _within(limit: ProfileLimit, status: ProfileStatus, text: str, value_ns: float, limit_ns: float) -> LimitResult:
    sentence = f"{text} {units.ns(value_ns)} <= {units.ns(limit_ns)}"
    return LimitResult(kind=limit.kind.value, status=status, sentence=sentence, observed_ns=value_ns, limit_ns=limit_ns)


def _exceeded(
    limit: ProfileLimit, text: str, value_ns: float, limit_ns: float, tau_s: float | None = None
) -> LimitResult:
    return LimitResult(
        kind=limit.kind.value,
        status=ProfileStatus.EXCEEDED,
        sentence=f"{text} {_above(value_ns, limit_ns)}",
        observed_ns=value_ns,
        limit_ns=limit_ns,
        tau_s=tau_s,
    )


def _above(value_ns: float, limit_ns: float) -> str:
    """Write that a value is above a limit, with as many digits as tell the two apart."""
    if units.ns(value_ns) != units.ns(limit_ns):
        return f"{units.ns(value_ns)} > {units.ns(limit_ns)}"
    return f"{value_ns:.6g} ns > {limit_ns:.6g} ns"


def _undecided(limit: ProfileLimit, why: str) -> LimitResult:
    return LimitResult(kind=limit.kind.value, status=ProfileStatus.NOT_DEMONSTRABLE, sentence=why)
