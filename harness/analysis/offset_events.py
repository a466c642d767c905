"""Find events in the offsets of a clock: the end of its convergence, steps that last, and single outliers.

An offset counts as an event where it is further from its neighbours than ten times the usual distance (by the median
absolute deviation, which events themselves do not widen), and than a reading usually takes: a change of the delays on
both sides of a reading alone can make it seem so far.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.offset_series import OffsetSeries
from harness.model.quality import OffsetStep

Floats = npt.NDArray[np.float64]

MOST_STEPS = 20
"""So many steps are listed, the largest first found; all are counted."""

_DISTANT = 10.0
_SETTLED_RUN = 10
_REACH = 5  # offsets on each side of a step whose median is compared, such that two outliers make no step


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetEvents:
    """The steps, the largest `MOST_STEPS` of `step_count` in the order of time, and the number of outliers."""

    steps: tuple[OffsetStep, ...]
    step_count: int
    outliers: int


def count_settling_slots(series: OffsetSeries) -> int:
    """Count the slots at the start in which the clock was still converging.

    It has settled from the first offset on with which ten in a row are as near to the median of the second half of the
    offsets as that half is itself. 0 where the first ten are, or no ten of the first half.
    """
    slots = np.flatnonzero(series.seen)
    offsets = series.offsets_ns[slots].astype(np.float64)
    half = len(offsets) // 2
    if half < _SETTLED_RUN:
        return 0
    centre = float(np.median(offsets[half:]))
    near = np.abs(offsets - centre) <= _threshold(offsets[half:] - centre, series)
    runs = np.convolve(near, np.ones(_SETTLED_RUN, dtype=np.int64), mode="valid") == _SETTLED_RUN
    first = int(np.argmax(runs))
    return int(slots[first] - slots[0]) if runs[first] and first < half else 0


def find_events(series: OffsetSeries) -> OffsetEvents:
    """Find steps and outliers among the offsets that were seen, gaps left out."""
    slots = np.flatnonzero(series.seen)
    offsets = series.offsets_ns[slots].astype(np.float64)
    if len(offsets) < 4 * _REACH:
        return OffsetEvents(steps=(), step_count=0, outliers=0)
    places, sizes = _find_steps(offsets, series)
    largest = np.sort(np.argsort(-np.abs(sizes), kind="stable")[:MOST_STEPS])
    steps = tuple(
        OffsetStep(after_s=float(slots[places[each]]) * series.slot_s, size_ns=round(sizes[each])) for each in largest
    )
    return OffsetEvents(steps=steps, step_count=len(places), outliers=_count_outliers(offsets, places, series))


def _find_steps(offsets: Floats, series: OffsetSeries) -> tuple[npt.NDArray[np.intp], Floats]:
    """Find where the median of five offsets differs from that of the five before; of a run the largest change."""
    medians = _median_of_5(offsets)
    changes = medians[_REACH:] - medians[:-_REACH]
    distant = np.flatnonzero(np.abs(changes) > _threshold(changes, series))
    groups = np.split(distant, np.flatnonzero(np.diff(distant) > _REACH) + 1) if len(distant) else []
    peaks = np.array([group[np.argmax(np.abs(changes[group]))] for group in groups], dtype=np.intp)
    return peaks + _REACH, changes[peaks]


def _count_outliers(offsets: Floats, steps: npt.NDArray[np.intp], series: OffsetSeries) -> int:
    """Count the offsets that are far from the median of five around them, except beside a step."""
    distances = offsets[2:-2] - _median_of_5(offsets)
    distant = np.flatnonzero(np.abs(distances) > _threshold(np.diff(offsets), series)) + 2
    beside = np.abs(distant[:, None] - steps[None, :]).min(axis=1, initial=len(offsets)) <= _REACH
    return int(np.count_nonzero(~beside))


def _threshold(distances: Floats, series: OffsetSeries) -> float:
    window_ns = 0.0 if series.reading_ns is None else 2 * float(np.median(series.reading_ns[series.seen]))
    return max(_DISTANT * estimate_sigma(distances), window_ns)


def estimate_sigma(distances: Floats) -> float:
    """Estimate the standard deviation of normal noise around 0, which outliers do not widen, by the median size."""
    return 1.4826 * float(np.median(np.abs(distances)))


def _median_of_3(one: Floats, two: Floats, three: Floats) -> Floats:
    return np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))


def _median_of_5(values: Floats) -> Floats:
    """Compute the median of each five values in a row, by comparing pairs."""
    one, two, three, four, five = (values[start : len(values) - 4 + start] for start in range(5))
    lower = np.maximum(np.minimum(one, two), np.minimum(three, four))
    upper = np.minimum(np.maximum(one, two), np.maximum(three, four))
    return _median_of_3(lower, upper, five)
