"""Which number sums up many? Numbers in, numbers out; whatever could not be seen only widens what may be true.

A statistic over values of which some are missing is an interval: the lower end takes every missing value as minus
infinity, the upper end as plus infinity. So a missing value never helps: who wants a limit held must hold it with the
upper end.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

INFINITY = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What is known of a statistic: `value` of what was seen, and between which ends it lies with the missing."""

    value: float
    low: float
    high: float


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The smallest value such that at least `share` of all values are not above it (nearest-rank quantile).

    Always one of the values; share 0.5 is the lower median, share 1 the maximum. Source: Hyndman and Fan 1996, type 1.
    Raises ValueError without values or with a share outside (0, 1].
    """
    return sorted(values)[_rank(len(values), share) - 1]


def quantile(values: Sequence[float], share: float, *, missing: int = 0) -> Interval:
    """The nearest-rank quantile of the values, and its ends with `missing` more of them unknown.

    The missing are counted, never listed: there may be as many as a host cares to claim.
    """
    ordered, rank = sorted(values), _rank(len(values) + missing, share)
    return Interval(
        value=ordered[_rank(len(ordered), share) - 1],
        low=ordered[rank - missing - 1] if rank > missing else -INFINITY,
        high=ordered[rank - 1] if rank <= len(ordered) else INFINITY,
    )


def _rank(count: int, share: float) -> int:
    """The place, from 1, of the quantile among so many ordered values."""
    if count < 1 or not 0 < share <= 1:
        raise ValueError("a quantile needs values and a share in (0, 1]")
    # The rounding keeps 0.99 * 100 at rank 99, though its float is a little above it for some shares.
    return min(max(math.ceil(round(share * count, 9)), 1), count)


def absolute(signed: Interval) -> Interval:
    """The same without its sign: an interval that holds 0 may be 0."""
    ends = (abs(signed.low), abs(signed.high))
    low = 0.0 if signed.low <= 0 <= signed.high else min(ends)
    return Interval(value=abs(signed.value), low=low, high=max(ends))


def median(values: Sequence[float]) -> float:
    """The lower median: always one of the values."""
    return nearest_rank(values, 0.5)


def slope(points: Sequence[tuple[float, float]], *, missing: int = 0) -> Interval:
    """Theil-Sen: the (lower) median of the slopes of all pairs of points (x, y) with different x.

    Robust up to 29 % outliers. `missing` points count with every pair that they could have formed. Source: Sen 1968,
    "Estimates of the regression coefficient based on Kendall's tau". Raises ValueError with fewer than two x.
    """
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2]
    pairs = missing * len(points) + missing * (missing - 1) // 2
    return quantile(slopes, 0.5, missing=pairs)


def growth(counters: Iterable[int]) -> int:
    """How much a counter grew in all; a value below the one before means that it began again at 0 in between."""
    return sum(after - before if after >= before else after for before, after in pairwise(counters))


def monotonic(values: Iterable[float]) -> bool:
    """Whether no value is below the one before it."""
    return all(after >= before for before, after in pairwise(values))
