"""Choose the fastest reading of each slot, and make the series of system clock minus PHC of them."""

from dataclasses import dataclass

import numpy as np

from harness.analysis.offset_series import OffsetSeries, make_series
from harness.analysis.sample_arrays import Flags, Numbers, Observed, SampleArrays

LEAST_OFFSETS = 10
"""With fewer offsets there are no figures."""

_MOST_NS = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlotReadings:
    """The fastest reading of each slot that has any: system clock minus PHC, the time it took, the PHC's time.

    All are arrays of ns. `oscillator_ns`: CLOCK_MONOTONIC_RAW at the middle of the reading; unknown where the sampler
    did not read it.
    """

    slots: Numbers
    offset_ns: Numbers
    delay_ns: Numbers
    phc_ns: Numbers
    oscillator_ns: Observed

    def __len__(self) -> int:
        return len(self.slots)

    def choose(self, chosen: Flags) -> "SlotReadings":
        """Return some of the readings."""
        return SlotReadings(
            slots=self.slots[chosen],
            offset_ns=self.offset_ns[chosen],
            delay_ns=self.delay_ns[chosen],
            phc_ns=self.phc_ns[chosen],
            oscillator_ns=self.oscillator_ns.choose(chosen),
        )


def choose_readings(samples: SampleArrays) -> SlotReadings:
    """Choose the fastest reading of each slot. Offsets beyond 36 years are left out: no clock has them."""
    offset, window, phc, raw = samples.phc_offset, samples.window_ns, samples.phc_ns, samples.raw_ns
    chosen = offset.known & (np.abs(offset.values) < _MOST_NS) & (window.values < _MOST_NS)
    offset_ns, phc_ns, raw_ns = offset.values[chosen], phc.values[chosen], raw.choose(chosen)
    return SlotReadings(
        slots=samples.slot[chosen],
        offset_ns=offset_ns,
        delay_ns=window.values[chosen],
        phc_ns=phc_ns,
        oscillator_ns=Observed(values=raw_ns.values + phc_ns + offset_ns - samples.utc_ns[chosen], known=raw_ns.known),
    )


def make_offset_series(readings: SlotReadings, interval_s: float) -> OffsetSeries:
    """Make the series of system clock minus PHC. Raises ValueError as `make_series` does."""
    return make_series(readings.slots, readings.offset_ns, slot_s=interval_s, reading_ns=(readings.delay_ns + 1) // 2)
