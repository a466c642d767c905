"""Summarise durations: how many there are, and the values that half, 95 % and 99 % of them do not exceed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationFigures:
    """Figures of durations, in the unit of the durations. The percentiles are None without any."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


def summarise_durations(values: Sequence[float]) -> DurationFigures:
    """Summarise durations by the method of the nearest rank: each percentile is one of the values."""
    ordered = sorted(values)
    return DurationFigures(
        count=len(ordered), p50=_find_rank(ordered, 50), p95=_find_rank(ordered, 95), p99=_find_rank(ordered, 99)
    )


def _find_rank(ordered: Sequence[float], percent: int) -> float | None:
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
