"""Number the moments at which streams are sampled: ticks of the time since 1970, counted on by a clock nobody sets.

A tick is floor(time / interval). The time of a worker is that of its wall clock when it began, or of the ledger's
database where the two disagree then; from there CLOCK_BOOTTIME counts on. So a step of the worker's wall clock, or of
the database's, changes no tick: it is noticed and told.
"""

import hashlib
import time
from collections.abc import Callable

MOST_APART_S = 2.0
"""A grid and the database's time that differ by more are told: both are meant to be the time of the day."""

_SPREAD = 0.4
"""The part of an interval over which streams are spread, so that a thousand hosts are not asked at one moment."""


def boot_time_ns() -> int:
    """Return the time since this machine was started, ns, with the time that it slept."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Grid:
    """The time of a worker. `boot_ns`, `wall_ns`: the clocks of the machine, but in tests."""

    def __init__(self, *, boot_ns: Callable[[], int] = boot_time_ns, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._boot_ns, self._wall_ns = boot_ns, wall_ns
        self._ahead_ns = self._wall_ahead_ns = wall_ns() - boot_ns()
        self.ledger_apart_s: float | None = None

    def now_ns(self) -> int:
        """Return the time of the grid, ns since 1970."""
        return self._boot_ns() + self._ahead_ns

    def wall_apart_s(self) -> float:
        """Return by how much the wall clock was set since this grid was made, s."""
        return (self._wall_ns() - self._boot_ns() - self._wall_ahead_ns) / 1e9

    def compare(self, database_ns: int, *, asked_ns: int, answered_ns: int) -> float | None:
        """Compare the grid with the database's time, which was read between two moments of the grid.

        Returns how far the grid is surely ahead, s; None where that is at most MOST_APART_S.
        """
        early, late = (asked_ns - database_ns) / 1e9, (answered_ns - database_ns) / 1e9
        surely = early if early > 0 else late if late < 0 else 0.0
        self.ledger_apart_s = surely
        return surely if abs(surely) > MOST_APART_S else None

    def begin_anew(self, time_ns: int) -> None:
        """Take another time for the grid's; only while no stream is sampled."""
        self._ahead_ns = time_ns - self._boot_ns()


def tick_at(time_ns: int, interval_s: float) -> int:
    """Compute the tick of a moment."""
    return time_ns // to_interval_ns(interval_s)


def begin_of(tick: int, interval_s: float) -> int:
    """Compute the moment at which a tick begins, ns since 1970."""
    return tick * to_interval_ns(interval_s)


def to_interval_ns(interval_s: float) -> int:
    """Convert an interval to ns, at least 1."""
    return max(1, round(interval_s * 1e9))


def phase_of(stream: str, interval_s: float) -> int:
    """Compute how long after the begin of a tick a stream is asked, ns: the same in every worker."""
    place = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=4).digest(), "little") / 2**32
    return int(place * _SPREAD * to_interval_ns(interval_s))


def chunk_of(tick: int, interval_s: float, chunk_s: float) -> int:
    """Compute the number of the chunk to which a tick belongs: chunks end at full minutes where they last one."""
    return begin_of(tick, interval_s) // to_interval_ns(chunk_s)
