"""Choose the axes of a plot: their ends, round ticks with labels, and the place of a value."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness import units

_GREATEST, _SMALLEST = 1e30, 1e-30
"""Values beyond are no measurements: greater ones are left out, smaller ones are 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis from `low` at the place `start` to `high` at `end`. `ticks`: values with their labels."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    minor: tuple[float, ...] = ()
    unit: str = ""
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value; that of an end for a value beyond it."""
        low, high, bounded = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, bounded = math.log10(low), math.log10(high), math.log10(bounded)
        return self.start + (bounded - low) / (high - low) * (self.end - self.start)


def finite(value: float | None) -> float | None:
    """Return a value as a float that can be computed with; None for one that is absent, no number, or too great."""
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not abs(number) <= _GREATEST:
        return None
    return number if abs(number) >= _SMALLEST else 0.0


def known(values: Iterable[float | None]) -> list[float]:
    """List the values that are finite numbers."""
    return [number for number in map(finite, values) if number is not None]


def linear(values: Iterable[float], start: float, end: float, *, steps: int = 5) -> Axis:
    """Choose a linear axis for values without unit."""
    return _linear(list(values), start, end, divisor=1.0, unit="", steps=steps)


def nanoseconds(values: Iterable[float], start: float, end: float, *, steps: int = 5) -> Axis:
    """Choose a linear axis for nanoseconds, in the unit that suits the greatest."""
    listed = list(values)
    greatest = max(map(abs, listed), default=0.0)
    divisor, unit = next(((size, name) for size, name in _NS_UNITS if greatest < 1000 * size), _NS_UNITS[-1])
    return _linear(listed, start, end, divisor=divisor, unit=unit, steps=steps)


def elapsed(seconds: float, start: float, end: float) -> Axis:
    """Choose an axis of time from 0 to `seconds`, in seconds, minutes, hours or days."""
    span_s = seconds if seconds > 0 else 1.0
    _, divisor, unit = next((entry for entry in _TIME_UNITS if span_s <= entry[0]), _TIME_UNITS[-1])
    step = _clock_step(span_s / divisor / 6) if unit in ("min", "h") else round_step(span_s / divisor / 6)
    numbers = [number * step for number in range(math.floor(span_s / divisor / step * (1 + 1e-9)) + 1)]
    ticks = tuple((number * divisor, _label(number)) for number in numbers)
    return Axis(low=0.0, high=span_s, start=start, end=end, ticks=ticks, unit=unit)


def logarithmic(values: Iterable[float], start: float, end: float, *, label: Callable[[float], str] = units.ns) -> Axis:
    """Choose a logarithmic axis for the values above 0, from 1 to 10 where there is none."""
    positive = [value for value in values if value > 0]
    low, high = _round_125(min(positive, default=1.0), math.floor), _round_125(max(positive, default=10.0), math.ceil)
    if high / low < 9.99:
        low, high = _round_125(low / 1.5, math.floor), _round_125(high * 1.5, math.ceil)
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    decades, all_ticks = range(first, last + 1), last - first <= 2
    every = max(1, math.ceil((last - first) / 7))
    factors = (1, 2, 5) if all_ticks else (1,)
    ticks = [factor * 10.0**power for power in decades if (power - first) % every == 0 for factor in factors]
    minor = [factor * 10.0**power for power in decades for factor in range(1 if every > 1 else 2, 10)]
    return Axis(
        low=low,
        high=high,
        start=start,
        end=end,
        ticks=tuple((tick, label(tick)) for tick in ticks if _within(tick, low, high)),
        minor=tuple(value for value in minor if every < 3 and _within(value, low, high)),
        logarithmic=True,
    )


def round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    return _round_125(least, math.ceil)


def seconds_label(seconds: float) -> str:
    """Write an averaging time as a plain number of seconds."""
    return f"{seconds:.10g}"


_NS_UNITS = ((1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s"))
_TIME_UNITS = ((180.0, 1.0, "s"), (3 * 3600.0, 60.0, "min"), (4 * 86400.0, 3600.0, "h"), (math.inf, 86400.0, "d"))
_CLOCK_STEPS = (1, 2, 5, 10, 15, 20, 30, 60)
_FLAT = 1e-9
"""Values that differ by less than this share of their size count as equal."""


def _linear(values: list[float], start: float, end: float, *, divisor: float, unit: str, steps: int) -> Axis:
    low, high = min(values, default=0.0) / divisor, max(values, default=0.0) / divisor
    size = max(abs(low), abs(high))
    if high - low <= size * _FLAT:
        low, high = (low - size / 10, high + size / 10) if size else (-1.0, 1.0)
    step = round_step((high - low) / steps)
    first, last = math.floor(low / step + _FLAT), math.ceil(high / step - _FLAT)
    ticks = tuple((number * step * divisor, _label(number * step)) for number in range(first, last + 1))
    return Axis(low=ticks[0][0], high=ticks[-1][0], start=start, end=end, ticks=ticks, unit=unit)


def _round_125(value: float, direction: Callable[[float], int]) -> float:
    """Round a value above 0 down or up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value) + _FLAT)
    steps = (1.0, 2.0, 5.0, 10.0)
    share = value / power
    if direction is math.floor:
        return max([step for step in steps if step <= share * (1 + _FLAT)], default=1.0) * power
    return min([step for step in steps if step >= share * (1 - _FLAT)], default=10.0) * power


def _clock_step(least: float) -> float:
    return float(next((step for step in _CLOCK_STEPS if step >= least), 60))


def _within(value: float, low: float, high: float) -> bool:
    return low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


def _label(value: float) -> str:
    return f"{value + 0.0:.6g}"
