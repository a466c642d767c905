"""Decide whether a word about a watched clock still says something: the one rule for pages, commands, metrics and API.

A worker that died, or that goes on telling of ticks long ago, must never read as a good clock.
"""

SILENT_S, SILENT_INTERVALS, STORE_S = 15.0, 5.0, 5.0
"""A word is old after the larger of the first two, and the period in which workers store states."""

GRID_APART_S = 2.0
"""A worker's clock, by which it numbers ticks, may be so far from the database's."""


def find_age_s(now_ns: int, *, sampled_ns: int, tick: int, interval_s: float) -> float:
    """Find the age of a word that was stored then and speaks of this tick, s, below 0 for one of the future.

    A word that came now and speaks of ticks long ago is as old as these.
    """
    tick_ended_s = (tick + 1) * interval_s + GRID_APART_S
    return max((now_ns - sampled_ns) / 1e9, now_ns / 1e9 - tick_ended_s)


def is_fresh(age_s: float, interval_s: float) -> bool:
    """Whether a word of so long ago still says something; one of the future says nothing either."""
    longest_s = max(SILENT_S, SILENT_INTERVALS * interval_s) + STORE_S
    return -longest_s <= age_s <= longest_s
