"""Hold a bad word about a clock until the clock has been good for long enough, so that a word does not flicker."""

from collections.abc import Sequence
from typing import Any

from harness.watch.window import SHORT

CLEAR_TICKS = SHORT
"""Ticks in a row that must be good before a bad word ends, as a rule."""

_MOST_DOUBLED = 16
_RELAPSE_TICKS = 3600
"""A word that is back so soon after its end needs twice as long to end; at most 16 times."""


class Alarm:
    """A word that is `active` from the first `bad` on, until it was good `hold` times in a row."""

    __slots__ = ("_cleared_tick", "_good", "_hold", "_longer", "active")

    def __init__(self, hold: int = CLEAR_TICKS) -> None:
        self._hold, self._longer = hold, 1
        self.active, self._good, self._cleared_tick = False, 0, -_RELAPSE_TICKS

    def step(self, tick: int, *, bad: bool, good: bool | None) -> bool:
        """Take what the tick shows; return whether the word has ended by it. `good`: None where nothing was seen."""
        if bad:
            if not self.active:
                relapsed = tick - self._cleared_tick < _RELAPSE_TICKS
                self._longer = min(2 * self._longer, _MOST_DOUBLED) if relapsed else 1
                self.active = True
            self._good = 0
            return False
        if not self.active or good is None:
            return False
        self._good = self._good + 1 if good else 0
        if self._good < self._hold * self._longer:
            return False
        self.active, self._good, self._cleared_tick = False, 0, tick
        return True

    def save(self) -> list[int] | None:
        """Return what another process needs to go on; None for one that was never active."""
        if not self.active and self._cleared_tick < 0:
            return None
        return [int(self.active), self._good, self._cleared_tick, self._longer]

    def restore(self, saved: Sequence[Any] | None) -> None:
        if saved is not None:
            active, self._good, self._cleared_tick, self._longer = map(int, saved)
            self.active = bool(active)
