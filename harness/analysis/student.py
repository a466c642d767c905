"""Compute Student's t distribution: its upper tail and its quantile."""

import math
from functools import lru_cache

_SMALL = 1e-300
_EPSILON = 1e-15


def upper_tail(value: float, freedom: float) -> float:
    """Compute the probability that a value of Student's t distribution is above `value`.

    By the regularised incomplete beta function (Abramowitz and Stegun, 26.7.1 and 26.5.8).
    """
    square = value * value
    tail = _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + square), square / (freedom + square)) / 2
    return tail if value >= 0 else 1 - tail


@lru_cache(maxsize=256)  # all figures of a type ask for the same one
def quantile(share: float, freedom: float) -> float:
    """Compute the value below which a share of Student's t distribution lies, by bisection to 1e-12."""
    low, high = -1.0, 1.0
    while upper_tail(low, freedom) < 1 - share:
        low *= 2
    while upper_tail(high, freedom) > 1 - share:
        high *= 2
    while high - low > 1e-12 * max(1.0, abs(high)):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle, freedom) > 1 - share else (low, middle)
    return (low + high) / 2


def _incomplete_beta(first: float, second: float, limit: float, rest: float) -> float:
    """Compute the regularised incomplete beta function up to `limit`; `rest` is 1 - `limit`, without cancellation."""
    if limit <= 0:
        return 0.0
    if rest <= 0:
        return 1.0
    scale = math.exp(
        math.lgamma(first + second)
        - math.lgamma(first)
        - math.lgamma(second)
        + first * math.log(limit)
        + second * math.log(rest)
    )
    if limit < (first + 1) / (first + second + 2):
        return scale * _continued_fraction(first, second, limit) / first
    return 1 - scale * _continued_fraction(second, first, rest) / second


def _continued_fraction(first: float, second: float, limit: float) -> float:
    """Compute the continued fraction of the incomplete beta function by Lentz's method."""
    ratio, fraction = 1.0, 1 / _not_zero(1 - (first + second) * limit / (first + 1))
    total = fraction
    for number in range(1, 1000):
        double = 2 * number
        for numerator in (
            number * (second - number) * limit / ((first + double - 1) * (first + double)),
            -(first + number) * (first + second + number) * limit / ((first + double) * (first + double + 1)),
        ):
            fraction = 1 / _not_zero(1 + numerator * fraction)
            ratio = _not_zero(1 + numerator / ratio)
            total *= fraction * ratio
        if abs(fraction * ratio - 1) < _EPSILON:
            break
    return total


def _not_zero(value: float) -> float:
    return value or _SMALL
