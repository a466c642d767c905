"""Write moments, ages and figures for the pages. Times are in UTC, and say so."""

import datetime
from functools import lru_cache

from markupsafe import Markup

from harness import units

_STEPS = ((86_400 * 365, "y"), (86_400, "d"), (3600, "h"), (60, "min"))
_MOST_NS = 253_000_000_000 * 10**9


def moment(time_ns: int | None) -> Markup:
    """Write a moment to the minute: 2026-11-21 12:05 UTC."""
    return _time(time_ns, "%Y-%m-%d %H:%M UTC")


def day(time_ns: int | None) -> Markup:
    """Write the day of a moment: 2026-11-21. The whole moment is in the element's title."""
    return _time(time_ns, "%Y-%m-%d")


def clock(time_ns: int | None) -> Markup:
    """Write a moment of today to the second: 12:05:01."""
    return _time(time_ns, "%H:%M:%S")


def age(time_ns: int, now_ns: int) -> str:
    """Write how long ago a moment was, in its largest unit: 3 d."""
    return span((now_ns - time_ns) / 1e9)


def span(seconds: float) -> str:
    """Write a duration in its largest unit, rounded down: 3 d, 5 h, 12 min; "< 1 min" below."""
    for size_s, unit in _STEPS:
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return "< 1 min"


def figure(value: float | None) -> str:
    """Write nanoseconds; a dash where there is no figure."""
    return "\N{EN DASH}" if value is None else units.ns(value)


@lru_cache(maxsize=4096)  # cells of a table tell of the same runs
def _time(time_ns: int | None, form: str) -> Markup:
    if time_ns is None or not 0 <= time_ns < _MOST_NS:
        return Markup("\N{EN DASH}")
    at = datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.UTC)
    whole = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", whole, f"{at:{form}}")
