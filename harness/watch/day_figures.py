"""Compute the figures of a stream's day: its service level, and the quality of its clock as that of a run's host."""

import datetime
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from harness.analysis.quality import compute_quality
from harness.campaign.profiles import Profile
from harness.model import ClockQuality, Evidence, PhcRead, Sample, Tracking
from harness.model.sample_table import SampleTable
from harness.model.watched import StateChange, TickReading
from harness.watch.service_level import DAY_S, find_first_tick, measure_service
from harness.watch.stream_limits import StreamLimits


def find_day_ticks(day: str, interval_s: float) -> tuple[int, int]:
    """Find the first and the last tick that begin in a day (UTC, 2026-11-30). Raises ValueError for another text."""
    begin = datetime.datetime.combine(datetime.date.fromisoformat(day), datetime.time(), datetime.UTC).timestamp()
    return math.ceil(begin / interval_s), math.ceil((begin + DAY_S) / interval_s) - 1


def compute_day_figures(
    day: str,
    readings: Sequence[TickReading],
    changes: Sequence[StateChange],
    *,
    interval_s: float,
    limits: StreamLimits,
    added_ns: int = 0,
    profiles: Sequence[Profile] = (),
) -> dict[str, Any]:
    """Compute the figures of a day as JSON. `quality` is None where fewer than ten readings have an offset.

    `added_ns`: since when the stream is watched; the time before does not count.
    """
    first, last = find_day_ticks(day, interval_s)
    first = find_first_tick(first, added_ns, readings, interval_s)
    level = measure_service(
        readings,
        changes,
        first_tick=first,
        last_tick=last,
        interval_s=interval_s,
        requirements=limits.requirements,
    )
    quality = compute_tick_quality(readings, first, last, interval_s=interval_s, profiles=profiles)
    return {"service": level.to_json(), "quality": None if quality is None else _write_quality(quality)}


def compute_tick_quality(
    readings: Sequence[TickReading],
    first_tick: int,
    last_tick: int,
    *,
    interval_s: float,
    profiles: Sequence[Profile] = (),
) -> ClockQuality | None:
    """Compute the quality of a clock from ticks. What a tick does not keep is None: frequency and oscillator."""
    within = [each for each in readings if first_tick <= each.tick <= last_tick]
    samples = SampleTable(_to_sample(each, first_tick, interval_s) for each in within)
    evidence = Evidence(samples=samples, slots=last_tick - first_tick + 1)
    quality = compute_quality(evidence, interval_s=interval_s, profiles=profiles)
    return None if quality is None else replace(quality, frequency_ppb=None, oscillator=None)


def _to_sample(reading: TickReading, first_tick: int, interval_s: float) -> Sample:
    """Return a sample that says of offset and bounds what the tick does; the times are those of the grid."""
    slot = reading.tick - first_tick
    phc_ns, window_ns = round(reading.tick * interval_s * 1e9), reading.window_ns or 0
    reads: tuple[PhcRead, ...] | None = None
    if reading.offset_ns is not None:
        before_ns = phc_ns + reading.offset_ns - window_ns // 2
        reads = (PhcRead(before_ns=before_ns, phc_ns=phc_ns, after_ns=before_ns + window_ns),)
    return Sample(
        slot=slot,
        mono_ns=round(slot * interval_s * 1e9),
        utc_ns=phc_ns,
        tracking=None if reading.chrony_bound_ns is None else _to_tracking(reading, reading.chrony_bound_ns),
        sources=None,
        reads=reads,
        read_errors=reading.read_errors,
        error_bound_ns=reading.device_bound_ns,
        counters=None,
    )


def _to_tracking(reading: TickReading, bound_ns: int) -> Tracking:
    """Return a tracking report with this bound. Its other values are of no figure that is kept."""
    return Tracking(
        reference="",
        stratum=0,
        reference_time_s=0.0,
        system_offset_ns=0,
        last_offset_ns=reading.chrony_offset_ns or 0,
        rms_offset_ns=0,
        frequency_ppm=0.0,
        residual_frequency_ppm=0.0,
        skew_ppm=0.0,
        root_delay_ns=0,
        root_dispersion_ns=bound_ns,
        update_interval_s=0.0,
        leap="",
    )


def _write_quality(quality: ClockQuality) -> dict[str, Any]:
    """Write the quality as JSON, without the points of masks, which the profiles have."""
    written = asdict(quality)
    for profile in written["profiles"]:
        for limit in profile["limits"]:
            del limit["mask"]
    return written
