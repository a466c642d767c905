"""Compute statistics of numbers, as intervals where some values are missing.

The lower end of the interval takes every missing value as minus infinity, the upper end as plus infinity. A missing
value therefore never helps: a limit counts as met only if the upper end meets it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

INFINITY = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A statistic: its `value` over the observed values, and its bounds `low` and `high` with the missing values."""

    value: float
    low: float
    high: float


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The smallest value such that at least `share` of all values are not above it (nearest-rank quantile).

    Always one of the values; share 0.5 is the lower median, share 1 the maximum. Source: Hyndman and Fan 1996, type 1.
    Raises ValueError without values or with a share outside (0, 1].
    """
    return sorted(values)[rank(len(values), share) - 1]


def quantile(values: Sequence[float], share: float, *, missing: int = 0) -> Interval:
    """The nearest-rank quantile of the values, and its bounds when `missing` further values are unknown.

    Missing values are counted, never listed: a host may claim any number of them.
    """
    return choose_quantile(sorted(values), share, missing=missing)


def choose_quantile(ordered: Sequence[float], share: float, *, missing: int) -> Interval:
    """Choose the quantile and its bounds among values in order. Only those at `list_ranks` need be in their places."""
    position = rank(len(ordered) + missing, share)
    return Interval(
        value=ordered[rank(len(ordered), share) - 1],
        low=ordered[position - missing - 1] if position > missing else -INFINITY,
        high=ordered[position - 1] if position <= len(ordered) else INFINITY,
    )


def list_ranks(count: int, share: float, *, missing: int) -> list[int]:
    """List the places, from 0, of the ordered values that decide a quantile and its bounds."""
    position = rank(count + missing, share)
    return [place - 1 for place in (rank(count, share), position - missing, position) if 0 < place <= count]


def rank(count: int, share: float) -> int:
    """Compute the position, from 1, of a quantile among `count` ordered values. Raises ValueError."""
    if count < 1 or not 0 < share <= 1:
        raise ValueError("a quantile needs values and a share in (0, 1]")
    # Rounding keeps 0.99 * 100 at rank 99: for some shares the product is a float slightly above the whole number.
    return min(max(math.ceil(round(share * count, 9)), 1), count)


def absolute(signed: Interval) -> Interval:
    """The interval of the absolute value. An interval that contains 0 has the lower end 0."""
    ends = (abs(signed.low), abs(signed.high))
    low = 0.0 if signed.low <= 0 <= signed.high else min(ends)
    return Interval(value=abs(signed.value), low=low, high=max(ends))


def median(values: Sequence[float]) -> float:
    """The lower median, which is always one of the values."""
    return nearest_rank(values, 0.5)


def slope(times_s: "ArrayLike", values: "ArrayLike", *, missing: int = 0) -> Interval:
    """Theil-Sen: the (lower) median of the slopes of all pairs of points with different times.

    Robust up to 29 % outliers. `missing`: number of unknown points; each pair that contains an unknown point counts as
    an unknown slope. Source: Sen 1968, "Estimates of the regression coefficient based on Kendall's tau". Raises
    ValueError with fewer than two different times. numpy is loaded by the first call.
    """
    import numpy as np

    at, value = np.asarray(times_s, dtype=np.float64), np.asarray(values)
    count, end = len(at), 0
    distinct = len(np.unique(at)) == count
    slopes = np.empty(count * (count - 1) // 2)
    for place in range(count - 1):
        apart, rise = at[place + 1 :] - at[place], value[place + 1 :] - value[place]
        if not distinct:
            rise, apart = rise[apart != 0], apart[apart != 0]
        begin, end = end, end + len(rise)
        slopes[begin:end] = rise / apart
    unknown = missing * count + missing * (missing - 1) // 2
    slopes = slopes[:end]
    slopes.partition(list_ranks(end, 0.5, missing=unknown))
    chosen = choose_quantile(slopes, 0.5, missing=unknown)  # type: ignore[arg-type]
    return Interval(value=float(chosen.value), low=float(chosen.low), high=float(chosen.high))


def monotonic(values: Iterable[float]) -> bool:
    """Whether no value is below the previous value."""
    return all(after >= before for before, after in pairwise(values))
