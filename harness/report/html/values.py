"""Write values for the cells of tables and for captions. What is absent, or no number, is never written as 0."""

from harness import units
from harness.model.quality import Distribution
from harness.report.html.axes import finite

NOT_OBSERVED = "not observed"
NONE = "\N{EN DASH}"
"""What a cell of a long table holds where there is no value."""


def ns(value: float | None) -> str:
    """Write nanoseconds in a suitable unit."""
    number = finite(value)
    return NOT_OBSERVED if number is None else units.ns(number)


def plus_minus_ns(value: float | None) -> str:
    """Write an uncertainty in nanoseconds."""
    return f"+- {ns(value)}"


def seconds(value: float | None) -> str:
    """Write a duration for people; fractions of a second stay."""
    number = finite(value)
    if number is None:
        return NOT_OBSERVED
    return units.duration(number) if number >= 60 and number == round(number) else f"{number:.6g} s"


def utc(ns_since_epoch: int) -> str:
    """Write a moment in UTC; a host may claim any."""
    number = finite(ns_since_epoch)
    return units.utc(int(number)) if number is not None and 0 <= number < _YEAR_9999_NS else "an unknown time"


_YEAR_9999_NS = 253_000_000_000 * 10**9


def ppb(value: float | None) -> str:
    """Write a frequency."""
    number = finite(value)
    return NOT_OBSERVED if number is None else units.with_unit(number, "ppb")


def number(value: float | None) -> str:
    """Write a number for a cell whose column names its unit."""
    exact = finite(value)
    if exact is None:
        return NONE
    return f"{exact:.0f}" if abs(exact) >= 999.5 else f"{exact + 0.0:.3g}"


def percent(share: float | None) -> str:
    """Write a share in percent. Only a whole is 100 %, and only nothing is 0 %."""
    exact = finite(share)
    if exact is None:
        return NOT_OBSERVED
    text = f"{round(exact * 100, 2):.10g}"
    if text == "100" and exact < 1:
        text = "99.99"
    return f"{'0.01' if text == '0' and exact > 0 else text} %"


def quantiles(distribution: Distribution | None) -> str:
    """Write the median, the 99 % quantile and the greatest, by absolute value."""
    if distribution is None:
        return NOT_OBSERVED
    return (
        f"median {ns(distribution.median_abs)}, 99 % within {ns(distribution.p99_abs)}, "
        f"largest {ns(distribution.max_abs)}"
    )
