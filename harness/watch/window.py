"""Count what happened in the last ticks, without a list of them: a bit for each tick in one integer.

A clock is judged over two windows. The long one of 600 ticks is the shortest in which a 99th percentile leaves more
than one reading (six) to chance, and ten minutes at 1 Hz. The short one of 60 ticks decides a median, which half of it
moves, and is how long a clock has to be good again before a bad word about it ends. Both are longer than the least
number of samples that limits ask for (at most 60 ticks).
"""

import math
from array import array

SHORT, LONG = 60, 600
"""Ticks of both windows."""

_LONG_MASK, _SHORT_MASK = (1 << LONG) - 1, (1 << SHORT) - 1
_MOST = 2.0**62


class FlagWindow:
    """A flag for each of the last LONG ticks. `bits`: the latest is the lowest."""

    __slots__ = ("bits",)

    def __init__(self, bits: int = 0) -> None:
        self.bits = bits & _LONG_MASK

    def add(self, flag: bool) -> None:
        """Add the flag of the next tick."""
        self.bits = (self.bits << 1 | flag) & _LONG_MASK

    def skip(self, ticks: int) -> None:
        """Pass ticks whose flag is not set."""
        self.bits = (self.bits << ticks) & _LONG_MASK if ticks < LONG else 0

    def fill(self, ticks: int) -> None:
        """Pass ticks whose flag is set."""
        count = min(ticks, LONG)
        self.skip(count)
        self.bits |= (1 << count) - 1

    def clear(self) -> None:
        self.bits = 0

    def count(self) -> int:
        """Count the flags that are set."""
        return self.bits.bit_count()

    def count_short(self) -> int:
        """Count the flags that are set in the short window."""
        return (self.bits & _SHORT_MASK).bit_count()

    def count_last(self, ticks: int) -> int:
        """Count the flags that are set in the last ticks."""
        return (self.bits & ((1 << ticks) - 1)).bit_count()


class CountWindow:
    """The sum of small counts, 0 to 15, over the last LONG ticks; larger ones count as 15."""

    __slots__ = ("planes",)

    def __init__(self, planes: list[int] | None = None) -> None:
        self.planes = [FlagWindow(bits) for bits in planes or (0, 0, 0, 0)]

    def add(self, count: int) -> None:
        """Add the count of the next tick."""
        bounded = min(max(count, 0), 15)
        for place, plane in enumerate(self.planes):
            plane.add(bool(bounded >> place & 1))

    def skip(self, ticks: int) -> None:
        """Pass ticks that count 0."""
        for plane in self.planes:
            plane.skip(ticks)

    def clear(self) -> None:
        for plane in self.planes:
            plane.clear()

    def sum(self) -> int:
        return sum(plane.count() << place for place, plane in enumerate(self.planes))


class ValueWindow:
    """The values of the last SHORT ticks; NaN where there is none."""

    __slots__ = ("_next", "_values")

    def __init__(self) -> None:
        self._values, self._next = array("d", [math.nan]) * SHORT, 0

    def add(self, value: float | None) -> None:
        """Add the value of the next tick. Absurd values of a host are bounded."""
        self._values[self._next] = math.nan if value is None else max(-_MOST, min(value, _MOST))
        self._next = (self._next + 1) % SHORT

    def sort_sizes(self) -> list[float]:
        """List the sizes of the values in their order."""
        return sorted(abs(value) for value in self._values if value == value)
