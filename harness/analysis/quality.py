"""Compute the figures of a clock's quality from the samples of one host."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.analysis import stability, summary
from harness.analysis.measured_offsets import measure_offsets
from harness.analysis.offset_events import find_events
from harness.analysis.profile_check import check_profiles
from harness.analysis.sample_arrays import Flags, Numbers, SampleArrays, add_up
from harness.analysis.slot_readings import LEAST_OFFSETS, SlotReadings
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
    frequency_ppm = samples.tracking("frequency_ppm").choose(measured.chosen)
    events = find_events(series)
    return ClockQuality(
        definition=QUALITY_DEFINITION,
        interval_s=interval_s,
        slots=measured.slots,
        seen=series.count,
        gaps=len(gaps),
        longest_gap_s=max(gaps, default=0) * interval_s,
        settling_s=measured.settling_slots * interval_s,
        offset_ns=describe(readings.offset_ns),
        read_delay_ns=describe(readings.delay_ns),
        bound_ns=describe_known(samples.chrony_bound.choose(measured.chosen).observed),
        error_bound_ns=describe_known(samples.error_bound.choose(measured.chosen).observed),
        frequency_ppb=describe_known(frequency_ppm.observed * 1000),
        convergence_s=evidence.facts.converged_after_s if evidence.facts else None,
        steps=events.steps,
        step_count=events.step_count,
        outliers=events.outliers,
        oscillator=compare_oscillator(readings),
        stability=compute_stability(series, stability.octaves(len(series))),
        profiles=check_profiles(profiles, measured),
        sampler_cpu_share=compute_sampler_share(samples, measured.chosen),
    )


def compare_oscillator(readings: SlotReadings) -> Oscillator | None:
    """Compare the free oscillator with the PHC by a straight line; None where fewer than ten readings have both.

    The oscillator's time of a reading is that of the sample's start, moved by the system clock's time since then.
    """
    known = readings.oscillator_ns.known
    phc_ns, delay_ns = readings.phc_ns[known], readings.delay_ns[known]
    if len(phc_ns) < LEAST_OFFSETS:
        return None
    ahead = readings.oscillator_ns.observed - phc_ns
    times_s = (phc_ns - phc_ns[0]).astype(np.float64) / 1e9
    ahead_ns = (ahead - ahead[0]).astype(np.float64)
    span_s = float(times_s[-1] - times_s[0])
    if not span_s > 0:
        return None
    centred = times_s - times_s.mean()
    slope_ppb = float(centred @ ahead_ns) / float(centred @ centred)
    rest_ns = ahead_ns - ahead_ns.mean() - slope_ppb * centred
    return Oscillator(
        frequency_ppb=slope_ppb,
        uncertainty_ppb=summary.median(delay_ns.tolist()) / span_s,
        residual_ns=math.sqrt(float(rest_ns @ rest_ns) / len(rest_ns)),
    )


def compute_sampler_share(samples: SampleArrays, chosen: Flags) -> float | None:
    """Compute the share of a core that the sampler took from the first chosen sample to the last.

    The time from one boot to the next does not count: nothing samples then. None where no two samples in a row that
    tell the sampler's time are of one boot, and where that time shrinks within a boot.
    """
    used = samples.sampler_cpu_ns.choose(chosen)
    boots, times_ns = samples.boot[chosen][used.known], samples.mono_ns[chosen][used.known]
    same_boot = boots[1:] == boots[:-1]
    growth_ns, passed_ns = np.diff(used.observed)[same_boot], add_up(np.diff(times_ns)[same_boot])
    return None if passed_ns <= 0 or (growth_ns < 0).any() else add_up(growth_ns) / passed_ns


def describe_known(values: Numbers) -> Distribution | None:
    """Describe the distribution of the values that are known; None where none is."""
    return describe(values) if len(values) else None


def describe(values: Sequence[float] | Numbers) -> Distribution:
    """Describe the distribution of values, of which there is at least one."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    magnitudes = np.sort(np.abs(ordered), kind="stable")  # one falling and one rising run: ten times as fast
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
