"""Sum up how long a watched clock was within its bound, from the readings of its ticks and its changes of state.

A tick is *outside* where its reading shows the system clock further from the PHC than chrony's bound says, or where the
bound was above its limit. It is *shown* where its reading can tell. What was not shown counts for neither side: the
share of time within the bound is an interval.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from harness.campaign.limits import Requirement
from harness.model.watched import StateChange, StreamState, TickReading

HOUR_S = 3600
DAY_S = 86_400
_BOUNDS = ("error_bound_ns", "chrony_bound_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstHour:
    """The hour (UTC, whole) with the most ticks outside. `begin_s`: seconds since the epoch."""

    begin_s: int
    outside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """A stream over an interval, in ticks of `interval_s`.

    Of `ticks` there were `seen` with a reading and `shown` with one that tells whether the clock is within its bound;
    `outside` of them show that it is not, of which `refuted` by a reading. `states`: ticks in each state.
    """

    interval_s: float
    ticks: int
    seen: int
    shown: int
    outside: int
    refuted: int
    worst_hour: WorstHour | None
    states: Mapping[str, int]

    @property
    def outside_s(self) -> float:
        """The time outside the bound that was shown, s."""
        return self.outside * self.interval_s

    @property
    def evidence_share(self) -> float | None:
        """The share of time in which a reading could tell: the availability of evidence."""
        return self.shown / self.ticks if self.ticks else None

    @property
    def within_shares(self) -> tuple[float, float] | None:
        """The least and the greatest share of time within the bound that the readings allow."""
        if not self.ticks:
            return None
        return (self.shown - self.outside) / self.ticks, (self.ticks - self.outside) / self.ticks

    def to_json(self) -> dict[str, Any]:
        """Write it for the ledger."""
        shares, worst = self.within_shares, self.worst_hour
        return {
            "interval_s": self.interval_s,
            "ticks": self.ticks,
            "seen": self.seen,
            "shown": self.shown,
            "outside": self.outside,
            "refuted": self.refuted,
            "worst_hour": None if worst is None else {"begin_s": worst.begin_s, "outside": worst.outside},
            "states": dict(self.states),
            "evidence_share": self.evidence_share,
            "within_least": None if shares is None else shares[0],
            "within_most": None if shares is None else shares[1],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ServiceLevel":
        """Read it from the ledger. Raises KeyError, TypeError, ValueError for what is no service level."""
        worst = stored["worst_hour"]
        return cls(
            interval_s=float(stored["interval_s"]),
            **{name: int(stored[name]) for name in ("ticks", "seen", "shown", "outside", "refuted")},
            worst_hour=worst and WorstHour(begin_s=int(worst["begin_s"]), outside=int(worst["outside"])),
            states={state.value: int(stored["states"].get(state.value, 0)) for state in StreamState},
        )


def find_first_tick(first_tick: int, added_ns: int, readings: Sequence[TickReading], interval_s: float) -> int:
    """Find the tick from which a stream counts: the first of an interval, or that at which it was added to the watch.

    Where an earlier reading is there, it counts from that one.
    """
    added_tick = -int(-added_ns // (interval_s * 1e9))
    earliest = min(added_tick, readings[0].tick) if readings else added_tick
    return max(first_tick, earliest)


def measure_service(
    readings: Iterable[TickReading],
    changes: Sequence[StateChange],
    *,
    first_tick: int,
    last_tick: int,
    interval_s: float,
    requirements: Sequence[Requirement] = (),
) -> ServiceLevel:
    """Measure from the first to the last tick, both included.

    `readings`: in the order of their ticks, at most one a tick; others are left out. `changes`: those within and the
    last one before, in order. `requirements`: of which the limit of the error bound counts, else that of chrony's.
    """
    bound_limits = {limit.quantity: limit.value for limit in requirements if limit.quantity in _BOUNDS}
    seen = shown = outside = refuted = 0
    by_hour: dict[int, int] = {}
    before: TickReading | None = None
    for reading in readings:
        if not first_tick <= reading.tick <= last_tick or (before and reading.tick <= before.tick):
            continue
        seen += 1
        if reading.offset_ns is not None and reading.chrony_bound_ns is not None:
            shown += 1
            excluded = _is_excluded(reading, before)
            refuted += excluded
            if excluded or _is_above_limit(reading, bound_limits):
                outside += 1
                hour = int(reading.tick * interval_s // HOUR_S)
                by_hour[hour] = by_hour.get(hour, 0) + 1
        before = reading
    worst = max(by_hour, key=lambda hour: (by_hour[hour], -hour), default=None)
    return ServiceLevel(
        interval_s=interval_s,
        ticks=max(0, last_tick - first_tick + 1),
        seen=seen,
        shown=shown,
        outside=outside,
        refuted=refuted,
        worst_hour=None if worst is None else WorstHour(begin_s=worst * HOUR_S, outside=by_hour[worst]),
        states=_count_states(changes, first_tick, last_tick),
    )


def _is_excluded(reading: TickReading, before: TickReading | None) -> bool:
    """Whether a reading excludes chrony's bound, the larger one of this tick and the one before."""
    bounds = [reading.chrony_bound_ns or 0, (before.chrony_bound_ns or 0) if before else 0]
    return abs(reading.offset_ns or 0) - (reading.window_ns or 0) / 2 > max(bounds)


def _is_above_limit(reading: TickReading, limits: Mapping[str, float]) -> bool:
    chrony_ns, device_ns = reading.chrony_bound_ns or 0, reading.device_bound_ns
    if device_ns and "error_bound_ns" in limits:
        return chrony_ns + device_ns > limits["error_bound_ns"]
    return chrony_ns > limits.get("chrony_bound_ns", chrony_ns)


def _count_states(changes: Sequence[StateChange], first_tick: int, last_tick: int) -> dict[str, int]:
    """Count the ticks in each state; UNKNOWN before the first change."""
    counts = {state.value: 0 for state in StreamState}
    edges = [(first_tick, StreamState.UNKNOWN)]
    edges += [(min(max(change.tick, first_tick), last_tick + 1), change.state) for change in changes]
    for (begin, state), (end, _) in pairwise([*edges, (last_tick + 1, StreamState.UNKNOWN)]):
        counts[state.value] += max(0, end - begin)
    return counts


def sum_levels(levels: Sequence[ServiceLevel]) -> ServiceLevel | None:
    """Sum up the levels of days, as over 30 of them; None for none."""
    if not levels:
        return None
    hours = [level.worst_hour for level in levels if level.worst_hour is not None]
    return ServiceLevel(
        interval_s=levels[-1].interval_s,
        ticks=sum(level.ticks for level in levels),
        seen=sum(level.seen for level in levels),
        shown=sum(level.shown for level in levels),
        outside=sum(level.outside for level in levels),
        refuted=sum(level.refuted for level in levels),
        worst_hour=max(hours, key=lambda hour: (hour.outside, -hour.begin_s), default=None),
        states={state.value: sum(level.states.get(state.value, 0) for level in levels) for state in StreamState},
    )
