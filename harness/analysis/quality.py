"""Compute the figures of a clock's quality from the samples of one host."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.analysis import sample_values, stability, summary
from harness.analysis.measured_offsets import measure_offsets
from harness.analysis.offset_events import find_events
from harness.analysis.profile_check import check_profiles
from harness.analysis.slot_readings import LEAST_OFFSETS, SlotReading
from harness.analysis.stability_points import compute_stability
from harness.campaign.profiles import Profile
from harness.model import Evidence
from harness.model.quality import QUALITY_DEFINITION, ClockQuality, Distribution, Oscillator


def compute_quality(
    evidence: Evidence,
    *,
    interval_s: float,
    profiles: Iterable[Profile] = (),
) -> ClockQuality | None:
    """Compute the figures of a host's evidence, stability at octaves; None where fewer than ten slots have an offset.

    Raises ValueError for an interval that is not above 0.
    """
    measured = measure_offsets(evidence, interval_s)
    if measured is None:
        return None
    series, readings, samples, gaps = measured.series, measured.readings, measured.samples, measured.gaps
    events = find_events(series)
    return ClockQuality(
        definition=QUALITY_DEFINITION,
        interval_s=interval_s,
        slots=measured.slots,
        seen=series.count,
        gaps=len(gaps),
        longest_gap_s=max(gaps, default=0) * interval_s,
        settling_s=measured.settling_slots * interval_s,
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
        stability=compute_stability(series, stability.octaves(len(series))),
        profiles=check_profiles(profiles, measured),
    )


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
