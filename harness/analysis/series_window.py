"""Reduce any part of a host's measurement to the columns of a plot, such that no extreme value is lost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.plot_series import make_envelope
from harness.analysis.sample_arrays import Numbers, to_arrays
from harness.analysis.slot_readings import choose_readings
from harness.model import Evidence
from harness.model.plots import Envelope


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostSeries:
    """A host's series by slots of `interval_s` seconds, `slots` in all; slot 0 is at `begin_utc_ns` by its own clock.

    `offset_ns`, `delay_ns`: system clock minus PHC by the fastest reading of the slots in `reading_slots`, and the time
    that this reading took. `bound_ns`: of the slots in `bound_slots` chrony's bound, with the device's where
    `bound_has_device`.
    """

    interval_s: float
    slots: int
    begin_utc_ns: int
    reading_slots: Numbers
    offset_ns: Numbers
    delay_ns: Numbers
    bound_slots: Numbers
    bound_ns: Numbers
    bound_has_device: bool

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.slots * self.interval_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a plot: so many columns of `column_ns` each, from `first_ns` after the beginning of a measurement."""

    first_ns: int
    column_ns: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEnvelopes:
    """The envelopes of a host's series in the columns of a window."""

    offset_ns: Envelope
    delay_ns: Envelope
    bound_ns: Envelope


def make_host_series(evidence: Evidence, *, interval_s: float) -> HostSeries | None:
    """Make the series of a host's evidence; None where no slot has a reading. `interval_s` is above 0."""
    samples = to_arrays(evidence.samples or ())
    if not len(samples):
        return None
    readings = choose_readings(samples)
    if not len(readings):
        return None
    has_device = bool(samples.error_bound.known.any())
    bound = samples.error_bound if has_device else samples.chrony_bound
    first_slot = int(samples.slot[0])
    return HostSeries(
        interval_s=interval_s,
        slots=int(samples.slot[-1]) + 1,
        begin_utc_ns=int(samples.utc_ns[0]) - round(first_slot * interval_s * 1e9),
        reading_slots=readings.slots,
        offset_ns=readings.offset_ns,
        delay_ns=readings.delay_ns,
        bound_slots=samples.slot[bound.known],
        bound_ns=bound.observed,
        bound_has_device=has_device,
    )


def choose_window(series: Sequence[HostSeries], *, from_s: float, to_s: float | None, most_columns: int) -> Window:
    """Choose a window for series that are drawn together, at least one. A column has whole slots, by the longest slot.

    `to_s` None: to the end of the longest series.
    """
    slot_ns = max(round(each.interval_s * 1e9) for each in series)
    slots = max(math.ceil(each.length_s * 1e9 / slot_ns) for each in series)
    first = min(max(0, math.floor(from_s * 1e9 / slot_ns)), slots - 1)
    end = slots if to_s is None else min(slots, math.ceil(to_s * 1e9 / slot_ns))
    count = max(1, end - first)
    width = math.ceil(count / most_columns)
    return Window(first_ns=first * slot_ns, column_ns=width * slot_ns, columns=math.ceil(count / width))


def reduce_window(series: HostSeries, window: Window) -> WindowEnvelopes:
    """Reduce a host's series to the least and the greatest value in each column of a window."""
    slot_ns = round(series.interval_s * 1e9)

    def reduce(slots: Numbers, values: Numbers) -> Envelope:
        end_ns = window.first_ns + window.columns * window.column_ns
        low, high = np.searchsorted(slots, [-(-window.first_ns // slot_ns), -(-end_ns // slot_ns)])
        if low == high:
            nothing = (None,) * window.columns
            return Envelope(least=nothing, greatest=nothing)
        places = (slots[low:high] * slot_ns - window.first_ns) // window.column_ns
        return make_envelope(places, values[low:high], window.columns)

    return WindowEnvelopes(
        offset_ns=reduce(series.reading_slots, series.offset_ns),
        delay_ns=reduce(series.reading_slots, series.delay_ns),
        bound_ns=reduce(series.bound_slots, series.bound_ns),
    )
