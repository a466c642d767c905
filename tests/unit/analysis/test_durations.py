"""Percentiles of durations: each is one of the values, also where there are few or none."""

import pytest

from harness.analysis.durations import DurationFigures, summarise_durations


@pytest.mark.parametrize(
    ("values", "p50", "p95", "p99"),
    [
        ([], None, None, None),
        ([7.0], 7.0, 7.0, 7.0),
        ([2.0, 1.0], 1.0, 2.0, 2.0),
        ([3.0, 1.0, 2.0], 2.0, 3.0, 3.0),
        ([0.0] * 5, 0.0, 0.0, 0.0),
        ([*range(1, 21)], 10, 19, 20),
        ([*range(1, 101)], 50, 95, 99),
        ([*range(1000, 0, -1)], 500, 950, 990),
        ([*range(1, 102)], 51, 96, 100),
    ],
)
def test_the_nearest_rank(values: list[float], p50: float, p95: float, p99: float) -> None:
    assert summarise_durations(values) == DurationFigures(count=len(values), p50=p50, p95=p95, p99=p99)
