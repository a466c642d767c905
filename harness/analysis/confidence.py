"""Compute the confidence interval of a time deviation from the number of its independent terms.

The intervals are those of a chi-square distribution. Its equivalent degrees of freedom follow from the kind of noise
(NIST SP 1065, section 5.5.6, identified by the lag-1 autocorrelation) and from the sums of Greenhall and Riley 2003,
"Uncertainty of stability variances based on finite differences", equations 7 to 13. Only TDEV has an interval: that of
ADEV is wrong for a disciplined clock, whose servo correlates what is far apart, and MTIE is an extreme.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.90

_LEAST_FOR_NOISE = 30
_ROUNDING_NS2 = 1e-9  # offsets are whole nanoseconds: a variance below this is that of floating-point numbers
_MOST_TERMS = 400
_WHITE_PM, _RANDOM_WALK_FM = 2, -2


def compute_tdev_interval(tdev_ns: float, freedom: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Compute the interval that holds the true TDEV with this confidence, from its equivalent degrees of freedom."""
    tail = (1 - confidence) / 2
    low, high = (tdev_ns * math.sqrt(freedom / chi_square_quantile(share, freedom)) for share in (1 - tail, tail))
    return low, high


def identify_noise(offsets_ns: npt.NDArray[np.float64], window: int) -> int | None:
    """Identify the power law of the noise at an averaging time: 2 is white PM, 0 white FM, -2 random walk FM.

    By the lag-1 autocorrelation of the offsets at that spacing, differenced until it is small (NIST SP 1065, section
    5.5.6); None for fewer than 30 offsets, and for offsets without any noise.
    """
    values = offsets_ns[::window]
    if len(values) < _LEAST_FOR_NOISE:
        return None
    values = _remove_parabola(values)
    for differences in range(3):
        centred = values - values.mean()
        power = float(centred @ centred)
        if power <= _ROUNDING_NS2 * len(centred):
            return None
        lag_1 = float(centred[:-1] @ centred[1:]) / power
        fraction = lag_1 / (1 + lag_1)
        if fraction < 0.25 or differences == 2:
            return max(_RANDOM_WALK_FM, min(_WHITE_PM, round(-2 * (fraction + differences)) + 2))
        values = np.diff(values)
    return None


def _remove_parabola(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Take the parabola of least squares away, by the normal equations of a symmetric grid."""
    times = np.linspace(-1, 1, len(values))
    squares = times * times
    second, fourth, count = float(squares.sum()), float(squares @ squares), len(values)
    line = float(times @ values) / second
    total, moment = float(values.sum()), float(squares @ values)
    bend = (moment * count - total * second) / (fourth * count - second * second)
    return values - ((total - bend * second) / count + line * times + bend * squares)


@lru_cache(maxsize=4096)
def count_freedom(exponent: int, window: int, count: int) -> float:
    """Compute the equivalent degrees of freedom of an overlapping modified variance of so many offsets.

    Source: Greenhall and Riley 2003, the exact sum of equation 12 for the modified variance (filter factor 1, second
    differences), taken at every so many terms where there are more than 400. NaN where there is no term.
    """
    stride: float = window
    terms = 1 + math.floor(count - 3 * window)
    if terms < 1:
        return math.nan
    last, total = int(min(terms, 3 * stride)), float(terms)
    thinning = max(1, last // _MOST_TERMS)
    if thinning > 1:
        stride, total = stride / thinning, max(1.0, total / thinning)
        last = int(min(total, 3 * stride))
    lags = np.arange(0, last + 1)
    squares = _second_structure(lags / stride, exponent) ** 2 * (1 - lags / total)
    return float(squares[0] * total / (squares[0] + 2 * squares[1:].sum()))


@lru_cache(maxsize=4096)
def chi_square_quantile(share: float, freedom: float) -> float:
    """Compute the quantile of a chi-square distribution: by Newton's method within a bracket, to 1e-12."""
    normal, spread = NormalDist().inv_cdf(share), 2 / (9 * freedom)
    value = max(freedom * (1 - spread + normal * math.sqrt(spread)) ** 3, 1e-8)
    low, high = 0.0, max(10 * value, 1000.0 + 10 * freedom)
    for _ in range(200):
        excess = _gamma_share(freedom / 2, value / 2) - share
        low, high = (low, value) if excess > 0 else (value, high)
        log_density = (freedom / 2 - 1) * math.log(value / 2) - value / 2 - math.lgamma(freedom / 2)
        density = math.exp(log_density) / 2
        following = value - excess / density if density > 0 else (low + high) / 2
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - value) < 1e-12 * value:
            return following
        value = following
    return value


def _gamma_share(shape: float, limit: float) -> float:
    """Compute the regularised lower incomplete gamma function, by its series or its continued fraction."""
    if limit <= 0:
        return 0.0
    scale = math.exp(-limit + shape * math.log(limit) - math.lgamma(shape))
    if limit < shape + 1:
        total = term = 1 / shape
        divisor = shape
        while abs(term) > total * 1e-15:
            divisor += 1
            term *= limit / divisor
            total += term
        return total * scale
    offset = limit + 1 - shape
    ratio, fraction = 1e300, 1 / offset
    total = fraction
    for number in range(1, 10_000):
        numerator = -number * (number - shape)
        offset += 2
        fraction = 1 / (numerator * fraction + offset or 1e-300)
        ratio = offset + numerator / ratio or 1e-300
        total *= fraction * ratio
        if abs(fraction * ratio - 1) < 1e-15:
            break
    return 1 - scale * total


def _second_structure(lags: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.float64]:
    """Compute the function s_z of the source for second differences and filter factor 1."""
    factors = {-2: 1, -1: -4, 0: 6, 1: -4, 2: 1}
    return sum(
        (factor * _filtered(lags + shift, exponent) for shift, factor in factors.items()), start=np.zeros(len(lags))
    )


def _filtered(lags: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.float64]:
    """Compute the function s_x of the source for filter factor 1."""
    middle, before, after = (_structure(lags + shift, exponent) for shift in (0, -1, 1))
    return 2 * middle - before - after


def _structure(lags: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.float64]:
    """Compute the function s_w of the source: the generalised autocovariance of power-law noise."""
    distance = np.abs(lags)
    if exponent % 2 == 0:
        return {2: -distance, 0: distance**3, -2: -(distance**5)}[exponent]
    power = {1: 2, -1: 4}[exponent]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = distance**power * np.log(distance)
    return np.where(distance == 0, 0.0, values)
