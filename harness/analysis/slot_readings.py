"""Choose the fastest reading of each slot, and make the series of system clock minus PHC of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.analysis import sample_values
from harness.analysis.offset_series import OffsetSeries, make_series
from harness.model import Sample

LEAST_OFFSETS = 10
"""With fewer offsets there are no figures."""

_MOST_NS = 1 << 60


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
