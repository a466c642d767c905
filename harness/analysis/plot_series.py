"""Reduce the samples of a host to what its plots show, such that no extreme value is lost."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.analysis import sample_values, stability
from harness.analysis.measured_offsets import measure_offsets
from harness.analysis.offset_events import estimate_sigma
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
    readings = settled.all_readings
    first = readings[0].slot
    count = readings[-1].slot - first + 1
    width = math.ceil(count / MOST_COLUMNS)
    columns = math.ceil(count / width)
    samples = [sample for sample in evidence.samples or () if first <= sample.slot <= readings[-1].slot]
    full_bounds = [(sample.slot, sample_values.error_bound(sample)) for sample in samples]
    has_device = any(bound is not None for _, bound in full_bounds)
    bounds = full_bounds if has_device else [(sample.slot, sample_values.chrony_bound(sample)) for sample in samples]

    def reduce(values: Iterable[tuple[int, int | None]]) -> Envelope:
        return _make_envelope([(value[0] - first, value[1]) for value in values], width, columns)

    return ClockPlots(
        definition=PLOTS_DEFINITION,
        begin_utc_ns=samples[0].utc_ns,
        column_s=width * interval_s,
        offset_ns=reduce((reading.slot, reading.offset_ns) for reading in readings),
        bound_ns=reduce(bounds) if any(bound is not None for _, bound in bounds) else None,
        bound_has_device=has_device,
        read_delay_ns=reduce((reading.slot, reading.delay_ns) for reading in readings),
        offsets=make_histogram([reading.offset_ns for reading in settled.readings]),
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


def _make_envelope(values: Sequence[tuple[int, int | None]], width: int, columns: int) -> Envelope:
    """Find the extremes in each column of `width` slots. `values`: slots from 0 on, and a value or None."""
    least: list[int | None] = [None] * columns
    greatest: list[int | None] = [None] * columns
    for slot, value in values:
        if value is not None:
            column = slot // width
            low, high = least[column], greatest[column]
            least[column] = value if low is None else min(low, value)
            greatest[column] = value if high is None else max(high, value)
    return Envelope(least=tuple(least), greatest=tuple(greatest))
