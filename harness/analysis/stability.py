"""Compute the stability of a clock: overlapping Allan, Hadamard, modified Allan and time deviation, and RMS of TIE.

Sources: NIST Special Publication 1065 (Riley 2008), sections 5.2 to 5.2.13; ITU-T G.810, appendix II. With gaps, the
Allan and Hadamard deviations take the differences whose points were all seen, and the modified Allan and time
deviations the windows of which nine tenths were seen. There is no value without three windows that do not overlap.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.offset_series import OffsetSeries

LEAST_WINDOWS = 3
LEAST_COVER = 0.9

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviations:
    """The deviations at one averaging time of `slots` slots: `tau_s` seconds. None where the series is too short.

    `adev`, `hdev` and `mdev` have no unit; `tdev_ns` and `tie_rms_ns` are in ns. The numbers of terms that each value
    is made of: `adev_terms`, `hdev_terms`, `mdev_terms` (of `tdev_ns` too), `tie_terms`.
    """

    slots: int
    tau_s: float
    adev: float | None
    hdev: float | None
    mdev: float | None
    tdev_ns: float | None
    tie_rms_ns: float | None
    adev_terms: int
    hdev_terms: int
    mdev_terms: int
    tie_terms: int


def octaves(length: int) -> list[int]:
    """List averaging times in slots, each twice the one before, as far as a series of that length has values for."""
    longest = (length - 1) // LEAST_WINDOWS
    return [1 << power for power in range(longest.bit_length())] if longest else []


def per_decade(length: int, count: int = 24) -> list[int]:
    """List averaging times in slots, so many in each decade and equally spaced by ratio, without repetitions."""
    longest = (length - 1) // LEAST_WINDOWS
    if longest < 1:
        return []
    steps = range(math.floor(count * math.log10(longest)) + 1)
    return sorted({round(10 ** (step / count)) for step in steps})


def compute_deviations(series: OffsetSeries, windows: Iterable[int]) -> list[Deviations]:
    """Compute the deviations of a series at averaging times in slots, in their order.

    A straight line through the first and the last offset is taken away first: it changes no deviation but that of TIE,
    and keeps the sums small. Raises ValueError for an averaging time below one slot.
    """
    levelled = _level(series)
    buffers = (np.empty(len(series) + 1), np.empty(len(series) + 1))
    return [_compute_at(window, levelled, series.slot_s, buffers) for window in windows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Levelled:
    """A series without the line through its ends, of that slope a slot; `sums` and `counts` of all before each slot.

    `seen` and `counts` are None for a series without a gap.
    """

    offsets_ns: Floats
    slope_ns: float
    sums_ns: Floats
    seen: Flags | None
    counts: npt.NDArray[np.int64] | None


def _level(series: OffsetSeries) -> _Levelled:
    offsets_ns = series.offsets_ns.astype(np.float64)
    slope_ns = float(offsets_ns[-1] - offsets_ns[0]) / max(len(offsets_ns) - 1, 1)
    offsets_ns -= offsets_ns[0] + slope_ns * np.arange(len(offsets_ns))
    offsets_ns[~series.seen] = 0.0
    return _Levelled(
        offsets_ns=offsets_ns,
        slope_ns=slope_ns,
        sums_ns=np.concatenate(([0.0], np.cumsum(offsets_ns))),
        seen=None if series.whole else series.seen,
        counts=None if series.whole else np.concatenate(([0], np.cumsum(series.seen))),
    )


def _compute_at(window: int, series: _Levelled, slot_s: float, buffers: tuple[Floats, Floats]) -> Deviations:
    """Compute all deviations at one averaging time. The buffers are one longer than the series, and are overwritten."""
    if window < 1:
        raise ValueError("an averaging time lasts at least one slot")
    tau_s, long_enough = window * slot_s, len(series.offsets_ns) > LEAST_WINDOWS * window
    one, other = buffers
    first, first_seen = _difference(series.offsets_ns, series.seen, window, one)
    second, second_seen = _difference(first, first_seen, window, other)
    tie, tie_terms = _mean_square(first, first_seen, shift=series.slope_ns * window)
    third, third_seen = _difference(second, second_seen, window, one)
    allan, allan_terms = _mean_square(second, second_seen)
    hadamard, hadamard_terms = _mean_square(third, third_seen)
    modified, modified_terms = _mean_square(*_difference_of_means(series, window, buffers))
    scale = 1e-9 / tau_s
    mdev = math.sqrt(modified / 2) * scale if modified_terms and long_enough else None
    return Deviations(
        slots=window,
        tau_s=tau_s,
        adev=math.sqrt(allan / 2) * scale if allan_terms and long_enough else None,
        hdev=math.sqrt(hadamard / 6) * scale if hadamard_terms and long_enough else None,
        mdev=mdev,
        tdev_ns=None if mdev is None else mdev * tau_s / math.sqrt(3) * 1e9,
        tie_rms_ns=math.sqrt(tie) if tie_terms else None,
        adev_terms=allan_terms,
        hdev_terms=hadamard_terms,
        mdev_terms=modified_terms,
        tie_terms=tie_terms,
    )


def _difference(values: Floats, seen: Flags | None, lag: int, out: Floats) -> tuple[Floats, Flags | None]:
    """Compute the differences of values that are `lag` apart into `out`, and which of them have both values."""
    later = values[lag:]
    difference = np.subtract(later, values[: len(later)], out=out[: len(later)])
    return difference, None if seen is None else seen[lag:] & seen[:-lag]


def _difference_of_means(series: _Levelled, window: int, buffers: tuple[Floats, Floats]) -> tuple[Floats, Flags | None]:
    """Compute the second differences of the means of three windows in a row, and which have enough seen in each."""
    one, other = buffers
    means, _ = _difference(series.sums_ns, None, window, one)
    if series.counts is None:
        enough = None
        means /= window
    else:
        present = series.counts[window:] - series.counts[:-window]
        enough = present >= LEAST_COVER * window
        means /= np.maximum(present, 1)
    first, both = _difference(means, enough, window, other)
    return _difference(first, both, window, one)


def _mean_square(values: Floats, seen: Flags | None, *, shift: float = 0.0) -> tuple[float, int]:
    """Compute the mean of the squares of what was seen, each with the shift added, and of how many; 0 of none."""
    used = values if seen is None else values[seen]
    if len(used) == 0:
        return 0.0, 0
    shifted = used + shift if shift else used
    return float(np.dot(shifted, shifted)) / len(shifted), len(shifted)
