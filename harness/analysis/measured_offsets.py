"""Hold what one host's measurement says of its offsets: the series, the bounds, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.analysis import sample_arrays
from harness.analysis.offset_events import count_settling_slots
from harness.analysis.offset_series import OffsetSeries
from harness.analysis.sample_arrays import Flags, Numbers, SampleArrays
from harness.analysis.slot_readings import LEAST_OFFSETS, SlotReadings, choose_readings, make_offset_series
from harness.model import Evidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredOffsets:
    """A host's offsets: system clock minus PHC, after settling.

    `readings`: the fastest of each slot that has any; `series`: their offsets. `all_readings` are those while the clock
    settled, too. `samples`: all samples, of which those that are `chosen` are of the time after settling, one for each
    slot that was not missed. `slots`: how many were to be sampled; `gaps`: the lengths of the gaps in slots. `ended`:
    the sampler reached its end. `settling_slots` were left out at the start. `device_bound_ns`: the largest bound that
    the device published for its distance from UTC; None where a sample has none.
    """

    series: OffsetSeries
    readings: SlotReadings
    all_readings: SlotReadings
    samples: SampleArrays
    chosen: Flags
    slots: int
    gaps: Sequence[int]
    ended: bool
    settling_slots: int
    device_bound_ns: int | None

    @property
    def complete(self) -> bool:
        """Whether no offset is missing."""
        return self.ended and not self.gaps

    @property
    def duration_s(self) -> float:
        """The time from the first slot to the end of the last."""
        return self.slots * self.series.slot_s


def measure_offsets(evidence: Evidence, interval_s: float) -> MeasuredOffsets | None:
    """Find the offsets of a host's evidence; None where fewer than ten slots have one after settling.

    Raises ValueError for an interval that is not above 0.
    """
    samples = sample_arrays.to_arrays(evidence.samples or ())
    readings = all_readings = choose_readings(samples)
    if len(readings) < LEAST_OFFSETS:
        return None
    series = make_offset_series(readings, interval_s)
    settling = count_settling_slots(series)
    if settling:
        readings = readings.choose(readings.slots >= readings.slots[0] + settling)
        if len(readings) < LEAST_OFFSETS:
            return None
        series = make_offset_series(readings, interval_s)
    first = int(readings.slots[0])
    chosen = samples.slot >= first
    end = max(evidence.slots or 0, int(samples.slot[chosen][-1]) + 1)
    return MeasuredOffsets(
        series=series,
        readings=readings,
        all_readings=all_readings,
        samples=samples,
        chosen=chosen,
        slots=end - first,
        gaps=_list_gaps(readings.slots, end),
        ended=evidence.samples_complete,
        settling_slots=settling,
        device_bound_ns=_find_device_bound(samples, chosen),
    )


def _list_gaps(slots: Numbers, end: int) -> list[int]:
    """List the lengths of the gaps between growing slots, and behind the last, in slots."""
    steps = np.diff(slots) - 1
    return [*steps[steps > 0].tolist(), *([end - int(slots[-1]) - 1] if end - int(slots[-1]) > 1 else [])]


def _find_device_bound(samples: SampleArrays, chosen: Flags) -> int | None:
    """Find the largest published bound of the device; None where any sample has none, or 0, which is unknown."""
    bounds = samples.device_bound.choose(chosen)
    return int(bounds.values.max()) if bounds.known.all() else None


def filter_low_pass(series: OffsetSeries, bandwidth_hz: float) -> OffsetSeries | None:
    """Pass a series through a low-pass filter of the first order; None for one with gaps.

    The first offset stands for all before it. The uncertainty of readings passes the same filter, all of one sign.
    """
    if not series.whole:
        return None
    decay = float(np.exp(-2 * np.pi * bandwidth_hz * series.slot_s))
    taps = min(len(series), int(np.ceil(np.log(1e-9) / np.log(decay))) + 1) if decay > 0 else 1
    kernel = (1 - decay) * decay ** np.arange(taps)
    kernel /= kernel.sum()

    def apply(values: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
        padded = np.concatenate((np.full(taps - 1, values[0], dtype=np.float64), values.astype(np.float64)))
        return np.rint(np.convolve(padded, kernel, mode="valid")).astype(values.dtype)

    reading_ns = None if series.reading_ns is None else apply(series.reading_ns)
    return replace(series, offsets_ns=apply(series.offsets_ns), reading_ns=reading_ns)


def is_bound_refuted(samples: SampleArrays, chosen: Flags) -> bool:
    """Whether a reading excludes chrony's bound: the least possible |offset| is above this bound and the one before."""
    bounds = sample_arrays.larger_bounds(samples.chrony_bound.choose(chosen))
    distance = samples.least_distance.choose(chosen)
    return bool((distance.known & bounds.known & (distance.values > bounds.values)).any())
