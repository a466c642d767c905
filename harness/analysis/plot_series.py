"""Reduce the samples of a host to what its plots show, such that no extreme value is lost."""

import math
from collections.abc import Sequence

import numpy as np

from harness.analysis import stability
from harness.analysis.measured_offsets import measure_offsets
from harness.analysis.offset_events import estimate_sigma
from harness.analysis.sample_arrays import Numbers
from harness.analysis.stability_points import compute_stability
from harness.model import Evidence
from harness.model.plots import PLOTS_DEFINITION, ClockPlots, Envelope, Histogram

MOST_COLUMNS = 256
"""Columns of a plot over time: each is some two units of a plot wide."""

_BINS = 40
_REACH = 8.0


def reduce_samples(evidence: Evidence, *, interval_s: float) -> ClockPlots | None:
    """Reduce a host's samples; None where fewer than ten slots have an offset.

    Raises ValueError for an interval that is not above 0.
    """
    settled = measure_offsets(evidence, interval_s)
    if settled is None:
        return None
    readings, arrays = settled.all_readings, settled.samples
    first, last = int(readings.slots[0]), int(readings.slots[-1])
    count = last - first + 1
    width = math.ceil(count / MOST_COLUMNS)
    columns = math.ceil(count / width)
    shown = (first <= arrays.slot) & (arrays.slot <= last)
    full_bounds = arrays.error_bound.choose(shown)
    has_device = bool(full_bounds.known.any())
    bounds = full_bounds if has_device else arrays.chrony_bound.choose(shown)

    def reduce(slots: Numbers, values: Numbers) -> Envelope:
        return make_envelope((slots - first) // width, values, columns)

    return ClockPlots(
        definition=PLOTS_DEFINITION,
        begin_utc_ns=int(arrays.utc_ns[shown][0]),
        column_s=width * interval_s,
        offset_ns=reduce(readings.slots, readings.offset_ns),
        bound_ns=reduce(arrays.slot[shown][bounds.known], bounds.observed) if bounds.known.any() else None,
        bound_has_device=has_device,
        read_delay_ns=reduce(readings.slots, readings.delay_ns),
        offsets=make_histogram(settled.readings.offset_ns.tolist()),
        stability=compute_stability(settled.series, stability.per_decade(len(settled.series))),
    )


def make_histogram(values: Sequence[int]) -> Histogram:
    """Count values in 40 bins, or in one where nearly all are equal. There is at least one value.

    The bins reach as far as the values do, but not beyond eight standard deviations from the median (by the median
    absolute deviation): otherwise one outlier would leave all others in two bins.
    """
    data = np.asarray(values, dtype=np.float64)
    median = float(np.median(data))
    reach = _REACH * estimate_sigma(data - median)
    low, high = max(math.floor(median - reach), min(values)), min(math.ceil(median + reach), max(values))
    below, above = int(np.count_nonzero(data < low)), int(np.count_nonzero(data > high))
    if low >= high:
        return Histogram(low=low, width=1.0, counts=(len(values) - below - above,), below=below, above=above)
    counts, _ = np.histogram(data, bins=_BINS, range=(low, high))
    written = tuple(int(count) for count in counts)
    return Histogram(low=low, width=(high - low) / _BINS, counts=written, below=below, above=above)


def make_envelope(places: Numbers, values: Numbers, columns: int) -> Envelope:
    """Find the extremes of the values in each column. `places`: the column of each value."""
    least: list[int | None] = [None] * columns
    greatest: list[int | None] = [None] * columns
    order = np.argsort(places, kind="stable")
    begins = np.flatnonzero(np.diff(places[order], prepend=-1))
    for column, low, high in zip(
        places[order][begins].tolist(),
        np.minimum.reduceat(values[order], begins).tolist(),
        np.maximum.reduceat(values[order], begins).tolist(),
        strict=True,
    ):
        least[column], greatest[column] = low, high
    return Envelope(least=tuple(least), greatest=tuple(greatest))
