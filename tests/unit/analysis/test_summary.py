"""Exact values of the statistics, their definitions at the edges, and what missing values do."""

import math
import random
import statistics
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import summary

HUNDRED = list(range(1, 101))
values = st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=60)
shares = st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.99, 1.0])


@pytest.mark.parametrize(
    ("given_values", "share", "wanted"),
    [
        (HUNDRED, 0.99, 99),
        (HUNDRED, 1.0, 100),
        (HUNDRED, 0.5, 50),
        (HUNDRED, 0.01, 1),
        (HUNDRED, 0.001, 1),
        ([15, 20, 35, 40, 50], 0.4, 20),
        ([15, 20, 35, 40, 50], 0.05, 15),
        ([3, 1, 2], 0.5, 2),
        ([4, 1, 3, 2], 0.5, 2),
        ([7], 0.99, 7),
        (list(range(1, 61)), 0.99, 60),
        (list(range(1, 301)), 0.99, 297),
    ],
)
def test_nearest_rank(given_values: list[int], share: float, wanted: int) -> None:
    assert summary.nearest_rank(given_values, share) == wanted


@pytest.mark.parametrize(("given_values", "share"), [([], 0.5), ([1], 0.0), ([1], 1.1), ([1], math.nan)])
def test_nearest_rank_refuses(given_values: list[int], share: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        summary.nearest_rank(given_values, share)


@given(given_values=values, share=shares)
def test_nearest_rank_is_what_its_definition_says(given_values: list[int], share: float) -> None:
    found = summary.nearest_rank(given_values, share)
    below = sum(value <= found for value in given_values)
    lower = [value for value in given_values if value < found]
    assert found in given_values
    assert below >= share * len(given_values) - 1e-6
    assert not lower or len(lower) < share * len(given_values)


@given(given_values=values)
def test_median_agrees_with_the_standard_library(given_values: list[int]) -> None:
    assert summary.median(given_values) == statistics.median_low(given_values)


@pytest.mark.parametrize(
    ("share", "missing", "low", "high"),
    [(0.99, 0, 99, 99), (0.99, 1, 99, 100), (0.99, 2, 99, math.inf), (0.5, 2, 49, 51), (0.5, 100, -math.inf, 100)],
)
def test_missing_values_widen_a_quantile(share: float, missing: int, low: float, high: float) -> None:
    found = summary.quantile(HUNDRED, share, missing=missing)
    assert found == summary.Interval(value=summary.nearest_rank(HUNDRED, share), low=low, high=high)


def test_no_value_is_missing_unless_that_is_told() -> None:
    assert summary.quantile(HUNDRED, 0.99) == summary.Interval(value=99, low=99, high=99)


@given(given_values=values, share=shares, seed=st.integers(0, 1000), keep=st.integers(1, 60))
def test_the_truth_lies_within_what_the_rest_tells(given_values: list[int], share: float, seed: int, keep: int) -> None:
    shuffled = random.Random(seed).sample(given_values, len(given_values))
    kept = shuffled[:keep]
    known = summary.quantile(kept, share, missing=len(given_values) - len(kept))
    assert known.low <= summary.nearest_rank(given_values, share) <= known.high


def slope(points: Sequence[tuple[float, float]], *, missing: int = 0) -> summary.Interval:
    return summary.slope([x for x, _ in points], [y for _, y in points], missing=missing)


def test_slope_of_a_line_and_of_one_with_outliers() -> None:
    line = [(float(x), 50_000.0 * x + 7) for x in range(20)]
    spoilt = [(x, y + (10**9 if x in (3.0, 11.0, 17.0) else 0)) for x, y in line]
    assert slope(line) == summary.Interval(value=50_000, low=50_000, high=50_000)
    assert slope(spoilt).value == 50_000


def test_slope_by_hand() -> None:
    """Pairs of (0, 0), (1, 1), (2, 5): slopes 1, 2.5, 4; the two points at x = 2 form no pair of their own."""
    assert slope([(0, 0), (1, 1), (2, 5)]) == summary.Interval(value=2.5, low=2.5, high=2.5)
    assert slope([(0, 0), (2, 5), (2, 9)]).value == 2.5


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(1.0, 1.0), (1.0, 2.0)]])
def test_slope_needs_two_points_in_time(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="quantile"):
        slope(points)


def test_each_pair_with_a_missing_point_is_an_unknown_slope() -> None:
    """9 points form 36 pairs; 3 more points form 27 pairs with these and 3 among them: 66 slopes, of which 30 unknown.

    The 33rd of 66 slopes is the 3rd of the known ones if all unknown slopes lie below, the 33rd if all lie above.
    """
    points = [(float(x), 3.0**x) for x in range(9)]
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    assert len({*slopes}) == 36
    assert slope(points, missing=3) == summary.Interval(value=slopes[17], low=slopes[2], high=slopes[32])


@given(ys=st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=20), gone=st.sets(st.integers(0, 19), max_size=8))
def test_missing_points_widen_a_slope(ys: list[int], gone: set[int]) -> None:
    whole = [(float(x), float(y)) for x, y in enumerate(ys)]
    kept = [point for x, point in enumerate(whole) if x not in gone]
    if len(kept) < 2:
        return
    known = slope(kept, missing=len(whole) - len(kept))
    assert known.low <= slope(whole).value <= known.high


@pytest.mark.parametrize(
    ("signed", "size"),
    [
        ((-5, -9, -1), (5, 1, 9)),
        ((5, 1, 9), (5, 1, 9)),
        ((0, -9, 1), (0, 0, 9)),
        ((3, -math.inf, math.inf), (3, 0, math.inf)),
    ],
)
def test_size_of_an_interval(signed: tuple[float, ...], size: tuple[float, ...]) -> None:
    value, low, high = signed
    assert summary.absolute(summary.Interval(value=value, low=low, high=high)) == summary.Interval(
        value=size[0], low=size[1], high=size[2]
    )


def test_monotonic() -> None:
    assert [summary.monotonic(one) for one in ([], [1], [1, 1, 2], [2, 1])] == [True, True, True, False]
