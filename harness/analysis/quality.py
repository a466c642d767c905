"""Compute the figures of a clock's quality from the samples of one host."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis import confidence, sample_values, stability, summary
from harness.analysis.offset_events import count_settling_slots, find_events
from harness.analysis.offset_series import OffsetSeries, make_series
from harness.analysis.time_interval_error import compute_mtie
from harness.model import Evidence, Sample
from harness.model.quality import QUALITY_DEFINITION, ClockQuality, Distribution, Oscillator, StabilityPoint

LEAST_OFFSETS = 10
"""With fewer offsets there are no figures."""

_MOST_NS = 1 << 60


def compute_quality(
    evidence: Evidence, *, interval_s: float, choose_windows: Callable[[int], Sequence[int]] = stability.octaves
) -> ClockQuality | None:
    """Compute the figures of a host's evidence; None where fewer than ten slots have an offset.

    `choose_windows` lists averaging times in slots for a series of so many slots. Raises ValueError for an interval
    that is not above 0.
    """
    readings = list_readings(evidence.samples or ())
    if len(readings) < LEAST_OFFSETS:
        return None
    series = make_offset_series(readings, interval_s)
    settling = count_settling_slots(series)
    if settling:
        first = readings[0].slot + settling
        readings = [reading for reading in readings if reading.slot >= first]
        if len(readings) < LEAST_OFFSETS:
            return None
        series = make_offset_series(readings, interval_s)
    first = readings[0].slot
    samples = [sample for sample in evidence.samples or () if sample.slot >= first]
    slots = max(evidence.slots or 0, samples[-1].slot + 1) - first
    gaps = _list_gaps([reading.slot for reading in readings], first + slots)
    events = find_events(series)
    return ClockQuality(
        definition=QUALITY_DEFINITION,
        interval_s=interval_s,
        slots=slots,
        seen=series.count,
        gaps=len(gaps),
        longest_gap_s=max(gaps, default=0) * interval_s,
        settling_s=settling * interval_s,
        offset_ns=describe([reading.offset_ns for reading in readings]),
        read_delay_ns=describe([reading.delay_ns for reading in readings]),
        bound_ns=describe_known(map(sample_values.chrony_bound, samples)),
        error_bound_ns=describe_known(map(sample_values.error_bound, samples)),
        frequency_ppb=describe_known(
            sample.tracking.frequency_ppm * 1000 if sample.tracking else None for sample in samples
        ),
        convergence_s=evidence.facts.converged_after_s if evidence.facts else None,
        steps=events.steps,
        step_count=events.step_count,
        outliers=events.outliers,
        oscillator=compare_oscillator(readings),
        stability=compute_stability(series, choose_windows(len(series))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """The fastest reading of a slot: system clock minus PHC, the time it took, the PHC's time, all in ns.

    `oscillator_ns`: CLOCK_MONOTONIC_RAW at the middle of the reading; None where the sampler did not read it.
    """

    slot: int
    offset_ns: int
    delay_ns: int
    phc_ns: int
    oscillator_ns: int | None


def list_readings(samples: Iterable[Sample]) -> list[SlotReading]:
    """List the fastest reading of each slot that has any. Offsets beyond 36 years are left out: no clock has them."""
    readings: list[SlotReading] = []
    for sample in samples:
        if sample.reads:
            fastest = sample_values.fastest(sample.reads)
            offset_ns = sample_values.middle_offset_ns(fastest)
            if abs(offset_ns) < _MOST_NS and fastest.window_ns < _MOST_NS:
                raw_ns = sample.raw_ns
                readings.append(
                    SlotReading(
                        slot=sample.slot,
                        offset_ns=offset_ns,
                        delay_ns=fastest.window_ns,
                        phc_ns=fastest.phc_ns,
                        oscillator_ns=None if raw_ns is None else raw_ns + fastest.phc_ns + offset_ns - sample.utc_ns,
                    )
                )
    return readings


def make_offset_series(readings: Sequence[SlotReading], interval_s: float) -> OffsetSeries:
    """Make the series of system clock minus PHC. Raises ValueError as `make_series` does."""
    return make_series(
        [reading.slot for reading in readings],
        [reading.offset_ns for reading in readings],
        slot_s=interval_s,
        reading_ns=[(reading.delay_ns + 1) // 2 for reading in readings],
    )


def compute_stability(series: OffsetSeries, windows: Sequence[int]) -> tuple[StabilityPoint, ...]:
    """Compute the stability of a series at averaging times in slots, with the confidence interval of each TDEV."""
    mtie = compute_mtie(series, windows)
    exponent: int | None = None
    offsets_ns = series.offsets_ns[series.seen].astype(np.float64)
    points: list[StabilityPoint] = []
    for deviations, error in zip(stability.compute_deviations(series, windows), mtie, strict=True):
        identified = confidence.identify_noise(offsets_ns, deviations.slots)
        exponent = exponent if identified is None else identified
        interval = None
        if deviations.tdev_ns is not None and exponent is not None:
            interval = confidence.compute_tdev_interval(
                deviations.tdev_ns, exponent, deviations.slots, deviations.mdev_terms + 3 * deviations.slots - 1
            )
        points.append(
            StabilityPoint(
                tau_s=deviations.tau_s,
                adev=deviations.adev,
                hdev=deviations.hdev,
                mdev=deviations.mdev,
                tdev_ns=deviations.tdev_ns,
                tdev_low_ns=interval[0] if interval else None,
                tdev_high_ns=interval[1] if interval else None,
                tie_rms_ns=deviations.tie_rms_ns,
                mtie_ns=error.mtie_ns,
                mtie_low_ns=error.low_ns,
                mtie_high_ns=error.high_ns if error.whole_share == 1 else None,
                whole_share=error.whole_share,
                adev_terms=deviations.adev_terms,
                tdev_terms=deviations.mdev_terms,
            )
        )
    return tuple(points)


def compare_oscillator(readings: Iterable[SlotReading]) -> Oscillator | None:
    """Compare the free oscillator with the PHC by a straight line; None where fewer than ten readings have both.

    The oscillator's time of a reading is that of the sample's start, moved by the system clock's time since then.
    """
    read = [reading for reading in readings if reading.oscillator_ns is not None]
    if len(read) < LEAST_OFFSETS:
        return None
    first_ns = read[0].phc_ns
    ahead = [(reading.oscillator_ns or 0) - reading.phc_ns for reading in read]
    times_s = np.array([reading.phc_ns - first_ns for reading in read], dtype=np.float64) / 1e9
    ahead_ns = np.array([value - ahead[0] for value in ahead], dtype=np.float64)
    span_s = float(times_s[-1] - times_s[0])
    if not span_s > 0:
        return None
    centred = times_s - times_s.mean()
    slope_ppb = float(centred @ ahead_ns) / float(centred @ centred)
    rest_ns = ahead_ns - ahead_ns.mean() - slope_ppb * centred
    return Oscillator(
        frequency_ppb=slope_ppb,
        uncertainty_ppb=summary.median([reading.delay_ns for reading in read]) / span_s,
        residual_ns=math.sqrt(float(rest_ns @ rest_ns) / len(rest_ns)),
    )


def describe_known(values: Iterable[float | None]) -> Distribution | None:
    """Describe the distribution of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return describe(known) if known else None


def describe(values: Sequence[float]) -> Distribution:
    """Describe the distribution of values, of which there is at least one."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    magnitudes = np.sort(np.abs(ordered))
    count = len(ordered)
    mean = float(ordered.mean())

    def at(array: "np.ndarray[tuple[int], np.dtype[np.float64]]", share: float) -> float:
        return float(array[summary.rank(count, share) - 1])

    return Distribution(
        count=count,
        mean=mean,
        std=float(ordered.std()),
        rms=math.sqrt(float(ordered @ ordered) / count),
        minimum=float(ordered[0]),
        median=at(ordered, 0.5),
        maximum=float(ordered[-1]),
        median_abs=at(magnitudes, 0.5),
        p90_abs=at(magnitudes, 0.9),
        p99_abs=at(magnitudes, 0.99),
        max_abs=float(magnitudes[-1]),
    )


def _list_gaps(slots: Sequence[int], end: int) -> list[int]:
    """List the lengths of the gaps between growing slots, and behind the last, in slots."""
    steps = np.diff(np.asarray([*slots, end])) - 1
    return [int(step) for step in steps if step > 0]
