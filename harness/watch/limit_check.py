"""Hold the readings of a stream against one limit: the ladder's statistic over a window, as a count of ticks.

A quantile by nearest rank is above a limit exactly where more values are above it than the rank leaves behind: so a
limit is judged by counts, which cost the same for each tick, and readings that are missing count as the ladder has it,
against neither side.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from harness import units
from harness.analysis.summary import rank
from harness.campaign.limits import Requirement
from harness.campaign.profiles import LimitKind
from harness.ladder.limit_rungs import quantity_title
from harness.model.watched import TickReading
from harness.watch.alarm import Alarm
from harness.watch.stream_limits import ProfileTickLimit
from harness.watch.window import LONG, FlagWindow

RUN = 8
"""Readings in a row beyond a limit that break it, whatever its statistic is: a step, told within 10 s."""

RUN_OF_ANSWERS = 3
LEAST_BEYOND = 3
"""Fewer readings beyond a limit never break it: one may be the reading's own fault."""

_DEAD_BAND = 0.8
"""A clock is good again below this part of its limit."""

_MOST_MISSING = LONG // 10
_SHARES: Mapping[str, float] = {"p99": 0.99, "p99_abs": 0.99, "median_abs": 0.5, "max": 1.0}

Span = tuple[float, float]
"""The least and the greatest size that a reading allows."""

Observer = Callable[[TickReading, "Memory"], Span | bool]
"""The size of a quantity in a reading; True: it should have one and has not; False: there was to be none."""


class Memory:
    """The facts of earlier ticks that observers share.

    `publishes`: the device's bound was seen; `drift_ppb`: of a new answer.
    """

    __slots__ = ("chrony_bound_ns", "chrony_offset_ns", "drift_ppb", "publishes")

    def __init__(self) -> None:
        self.chrony_offset_ns: int | None = None
        self.chrony_bound_ns: int | None = None
        self.publishes = False
        self.drift_ppb: float | None = None


def _observe_own_offset(reading: TickReading, _memory: Memory) -> Span | bool:
    if reading.offset_ns is None:
        return True
    size_ns = abs(reading.offset_ns)
    return max(0.0, size_ns - (reading.window_ns or 0) / 2), size_ns


def _observe_chrony_offset(reading: TickReading, memory: Memory) -> Span | bool:
    if reading.chrony_offset_ns is None:
        return True
    if reading.chrony_offset_ns == memory.chrony_offset_ns:
        return False
    return _both(abs(reading.chrony_offset_ns))


def _observe_chrony_bound(reading: TickReading, _memory: Memory) -> Span | bool:
    return True if reading.chrony_bound_ns is None else _both(reading.chrony_bound_ns)


def _observe_error_bound(reading: TickReading, memory: Memory) -> Span | bool:
    if not memory.publishes:
        return False
    if not reading.device_bound_ns or reading.chrony_bound_ns is None:
        return True
    return _both(reading.chrony_bound_ns + reading.device_bound_ns)


def _observe_opinion(reading: TickReading, _memory: Memory) -> Span | bool:
    return False if reading.opinion_ns is None else _both(abs(reading.opinion_ns))


def _observe_drift(_reading: TickReading, memory: Memory) -> Span | bool:
    return False if memory.drift_ppb is None else _both(abs(memory.drift_ppb))


def _both(size: float) -> Span:
    return size, size


OBSERVERS: Mapping[str, Observer] = {
    "phc_offset_ns": _observe_own_offset,
    "offset_ns": _observe_chrony_offset,
    "chrony_bound_ns": _observe_chrony_bound,
    "error_bound_ns": _observe_error_bound,
    "second_opinion_offset_ns": _observe_opinion,
    "second_opinion_drift_ppb": _observe_drift,
}
BY_ANSWERS = ("second_opinion_offset_ns", "second_opinion_drift_ppb")


def make_profile_observer(limit: ProfileTickLimit) -> Observer:
    """Return what a reading says of a profile's limit, as the quality of a run has it.

    Against UTC, the device's own bound explains a part of what was read, and adds to what may be.
    """

    def observe(reading: TickReading, _memory: Memory) -> Span | bool:
        if reading.offset_ns is None:
            return True
        size_ns, half_ns = abs(reading.offset_ns), (reading.window_ns or 0) / 2
        device_ns = (reading.device_bound_ns or 0) if limit.against_utc else 0
        low_ns = max(0.0, size_ns - half_ns - device_ns)
        if limit.kind is LimitKind.OFFSET:
            return low_ns, size_ns + half_ns
        if reading.chrony_bound_ns is None or (limit.against_utc and not device_ns):
            return low_ns, math.inf
        return low_ns, reading.chrony_bound_ns + device_ns

    return observe


class LimitCheck:
    """The check of a limit. `broken`: it does not hold; `unproven`: too many readings do not show whether it does."""

    __slots__ = (
        "_beyond",
        "_decides_short",
        "_missing",
        "_near",
        "_observe",
        "_points",
        "_run",
        "_run_breaks",
        "_share",
        "_worst",
        "broken",
        "requirement",
        "unproven",
    )

    def __init__(self, requirement: Requirement, observe: Observer) -> None:
        by_answers = requirement.quantity in BY_ANSWERS
        self.requirement, self._observe = requirement, observe
        self._share = _SHARES[requirement.statistic]
        self._decides_short = self._share == 0.5 and not by_answers
        self._run_breaks = RUN_OF_ANSWERS if by_answers else RUN
        self._beyond, self._near, self._missing, self._points = (FlagWindow() for _ in range(4))
        self._run, self._worst = 0, 0.0
        self.broken = Alarm(5) if by_answers else Alarm()
        self.unproven = Alarm()

    def skip(self, ticks: int) -> None:
        """Pass ticks that were missed, which say nothing of this limit."""
        for window in (self._beyond, self._near, self._missing, self._points):
            window.skip(ticks)

    def add(self, reading: TickReading, memory: Memory) -> None:
        """Hold the reading of the next tick against the limit."""
        limit, span = self.requirement.value, self._observe(reading, memory)
        if span is True or span is False:
            beyond, near, missing = False, False, span
        else:
            low, high = span
            beyond, missing = low > limit, low <= limit < high
            near = high > _DEAD_BAND * limit
            self._worst = max(self._worst, float(low)) if beyond else self._worst
        point = not missing and span is not False
        self._beyond.add(beyond)
        self._near.add(near)
        self._missing.add(missing)
        self._points.add(point)
        if point:
            self._run = self._run + 1 if beyond else 0
        self._step(reading.tick, point=point, beyond=beyond, near=near, missing=missing)
        if not self._beyond.bits and not self._run:
            self._worst = 0.0

    def _step(self, tick: int, *, point: bool, beyond: bool, near: bool, missing: bool) -> None:
        good: bool | None = None if not point else not near
        if self._decides_short and point:
            good = 2 * self._near.count_short() <= self._points.count_short() + self._missing.count_short()
        if self.broken.step(tick, bad=beyond and self._is_broken(), good=good):
            self._beyond.clear()
            self._run, self._worst = 0, 0.0
        unproven = missing and self._missing.count() > _MOST_MISSING
        if self.unproven.step(tick, bad=unproven, good=True if point else None):
            self._missing.clear()

    def _is_broken(self) -> bool:
        if self._run >= self._run_breaks:
            return True
        if not self._beyond.bits or self._beyond.count() < LEAST_BEYOND:
            return False
        points = self._points.count()
        if points < self.requirement.min_samples:
            return False
        if self._decides_short:
            beyond, count = self._beyond.count_short(), self._points.count_short() + self._missing.count_short()
        else:
            beyond, count = self._beyond.count(), points + self._missing.count()
        return beyond > 0 and beyond > count - rank(count, self._share)

    @property
    def points(self) -> int:
        """How many readings of the long window show the quantity."""
        return self._points.count()

    @property
    def needed(self) -> int | None:
        """How many readings are needed before the limit is judged; None where none may ever come."""
        return None if self.requirement.quantity in (*BY_ANSWERS, "offset_ns") else self.requirement.min_samples

    def describe_broken(self) -> str:
        """Say how the limit was broken: `phc offset median: 8 of the last 60 readings were above 5 us, up to 8 us`."""
        beyond, unit = self._beyond.count(), self.requirement.unit
        return (
            f"{self.title}: {beyond} of the last {max(self.points, beyond)} readings were above "
            f"{units.with_unit(self.requirement.value, unit)}, up to {units.with_unit(self._worst, unit)}"
        )

    def describe_unproven(self) -> str:
        limit = units.with_unit(self.requirement.value, self.requirement.unit)
        return f"{self.title}: {self._missing.count()} of the last {LONG} readings do not show whether it is in {limit}"

    @property
    def title(self) -> str:
        """The quantity and its statistic: `phc offset median`."""
        statistic = self.requirement.statistic.removesuffix("_abs")
        title = quantity_title(self.requirement.quantity)
        return title if self.requirement.unit != "ns" else f"{title} {statistic}"

    def figures(self) -> dict[str, Any]:
        """Return the counts of the long window, as JSON."""
        requirement = self.requirement
        return {
            "quantity": requirement.quantity,
            "statistic": requirement.statistic,
            "limit": requirement.value,
            "unit": requirement.unit,
            "beyond": self._beyond.count(),
            "points": self.points,
            "missing": self._missing.count(),
            "broken": self.broken.active,
        }

    def list_windows(self) -> tuple[FlagWindow, ...]:
        return self._beyond, self._near, self._missing, self._points

    def save(self) -> dict[str, Any]:
        """Return what is to be known beside the windows, without what is as at the beginning."""
        saved = {"run": self._run, "worst": self._worst, "broken": self.broken.save(), "unproven": self.unproven.save()}
        return {key: value for key, value in saved.items() if value}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self._run, self._worst = int(saved.get("run", 0)), float(saved.get("worst", 0.0))
        self.broken.restore(saved.get("broken"))
        self.unproven.restore(saved.get("unproven"))
