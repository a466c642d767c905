"""Check each tick of a stream: readings that fail, bounds that readings refute, what chronyd follows, what is missing.

Each check counts over the windows of `window`, and has one or two words with hysteresis. A check tells within RUN ticks
of a lasting fault: 8 s at 1 Hz.
"""

from array import array
from typing import Any

from harness import units
from harness.campaign.limits import Requirement
from harness.ladder.clock_rungs import FOLLOWED_SHARE, PLAUSIBLE_NS
from harness.model.watched import TickReading
from harness.watch.alarm import Alarm
from harness.watch.limit_check import LEAST_BEYOND, RUN, RUN_OF_ANSWERS, Memory
from harness.watch.window import LONG, SHORT, CountWindow, FlagWindow

RECENT = 10
"""Ticks of which LEAST_BEYOND that refute chrony's bound break it."""

SEEN_AGAIN = 10
"""Ticks in a row that must be seen before a stream that was not seen has a state again."""

ANSWER_WITHIN_S = 3600.0
"""A second opinion that gives no fresh answer for so long is gone: chronyd asks at least every 1,024 s as a rule."""

_MOST_UNFOLLOWED = round(SHORT * (1 - FOLLOWED_SHARE))
_ANSWERS, _ANSWERS_APART_S = 20, 15.0
_MOST_NS = 1 << 62


class ReadCheck:
    """Readings of the PHC: `unreadable` where too few succeed, `unread` where they are not observed."""

    __slots__ = ("_errors", "_failed", "_reads", "_requirement", "_run", "_unread_run", "unread", "unreadable")

    def __init__(self, requirement: Requirement | None) -> None:
        self._requirement = requirement
        self._reads, self._errors, self._failed = CountWindow(), CountWindow(), FlagWindow()
        self._run = self._unread_run = 0
        self.unreadable, self.unread = Alarm(), Alarm()

    def skip(self, ticks: int) -> None:
        for window in (self._reads, self._errors, self._failed):
            window.skip(ticks)

    def add(self, reading: TickReading) -> None:
        reads, errors = reading.reads or 0, reading.read_errors or 0
        self._reads.add(reads)
        self._errors.add(errors)
        self._failed.add(errors > 0)
        self._run = self._run + 1 if errors and not reads else 0
        unread = reading.offset_ns is None and not errors
        self._unread_run = self._unread_run + 1 if unread else 0
        seen = reading.reads is not None or errors > 0
        if self.unreadable.step(reading.tick, bad=errors > 0 and self._is_bad(), good=not errors if seen else None):
            self._errors.clear()
            self._failed.clear()
        self.unread.step(reading.tick, bad=self._unread_run >= RUN, good=not unread)

    def _is_bad(self) -> bool:
        if self._run >= RUN:
            return True
        if self._requirement is None or self._failed.count() < LEAST_BEYOND:
            return False
        served, refused = self._reads.sum(), self._errors.sum()
        enough = served + refused >= self._requirement.min_samples
        return enough and not self._requirement.is_met_by(served / (served + refused))

    @property
    def share(self) -> float | None:
        """The share of readings of the long window that succeeded; None where none was counted."""
        served, refused = self._reads.sum(), self._errors.sum()
        return served / (served + refused) if served + refused else None

    @property
    def needs_more(self) -> bool:
        """Whether fewer readings were counted than the limit asks for."""
        counted = self._reads.sum() + self._errors.sum()
        return self._requirement is not None and counted < self._requirement.min_samples

    def describe_unreadable(self) -> str:
        if self._run >= RUN:
            return f"no reading of the PHC succeeded for {self._run} ticks"
        counted, served = self._reads.sum() + self._errors.sum(), units.with_unit(self.share or 0.0, "ratio")
        limit = "" if self._requirement is None else f"; at least {units.with_unit(self._requirement.value, 'ratio')}"
        return f"{counted} readings, {served} served by our own readings{limit}"

    def describe_unread(self) -> str:
        return f"the PHC was not read for {self._unread_run} ticks, though the host answers"

    def list_windows(self) -> tuple[FlagWindow, ...]:
        return (*self._reads.planes, *self._errors.planes, self._failed)

    def save(self) -> list[Any]:
        return [self._run, self._unread_run, self.unreadable.save(), self.unread.save()]

    def restore(self, saved: list[Any]) -> None:
        self._run, self._unread_run = int(saved[0]), int(saved[1])
        self.unreadable.restore(saved[2])
        self.unread.restore(saved[3])


class RefutedBound:
    """Own readings against chrony's bound: `doubted` once one excludes it, `refuted` where several do.

    The bound is the larger one of this tick and the tick before, as the ladder has it.
    """

    __slots__ = ("_excluded", "_worst", "doubted", "refuted")

    def __init__(self) -> None:
        self._excluded = FlagWindow()
        self._worst = (0.0, 0)  # of an exclusion: the least distance and the bound
        self.doubted, self.refuted = Alarm(), Alarm()

    def skip(self, ticks: int) -> None:
        self._excluded.skip(ticks)

    def add(self, reading: TickReading, memory: Memory) -> None:
        good: bool | None = None
        excluded = False
        if reading.offset_ns is not None and reading.chrony_bound_ns is not None:
            least_ns = abs(reading.offset_ns) - (reading.window_ns or 0) / 2
            bound_ns = max(reading.chrony_bound_ns, memory.chrony_bound_ns or 0)
            excluded = least_ns > bound_ns
            good = not excluded
            if excluded and least_ns - bound_ns > self._worst[0] - self._worst[1]:
                self._worst = (least_ns, bound_ns)
        self._excluded.add(excluded)
        self.refuted.step(reading.tick, bad=excluded and self._excluded.count_last(RECENT) >= LEAST_BEYOND, good=good)
        if self.doubted.step(reading.tick, bad=excluded, good=good):
            self._excluded.clear()
            self._worst = (0.0, 0)

    @property
    def count(self) -> int:
        """How many readings of the long window exclude chrony's bound, since the last word about it ended."""
        return self._excluded.count()

    def describe(self) -> str:
        distance_ns, bound_ns = self._worst
        return (
            f"chrony's bound was refuted in {self.count} of the last {LONG} ticks: {units.ns(bound_ns)}, while a "
            f"reading puts the PHC at least {units.ns(distance_ns)} from the system clock"
        )

    def list_windows(self) -> tuple[FlagWindow, ...]:
        return (self._excluded,)

    def save(self) -> list[Any]:
        return [*self._worst, self.doubted.save(), self.refuted.save()]

    def restore(self, saved: list[Any]) -> None:
        self._worst = (float(saved[0]), int(saved[1]))
        self.doubted.restore(saved[2])
        self.refuted.restore(saved[3])


class FollowedPhc:
    """The check of what chronyd follows: `holdover` once it has left the PHC, `lost` after a long window of that.

    `silent`: chronyd's selection or its bound is not observed. `followed_tick`: the latest with the PHC selected.
    """

    __slots__ = ("_seen_tick", "_silent_run", "_unfollowed", "followed_tick", "holdover", "lost", "silent")

    def __init__(self) -> None:
        self._unfollowed = FlagWindow()
        self._silent_run = 0
        self._seen_tick: int | None = None
        self.followed_tick: int | None = None
        self.holdover, self.lost, self.silent = Alarm(), Alarm(), Alarm()

    def skip(self, ticks: int) -> None:
        self._unfollowed.skip(ticks)

    def add(self, reading: TickReading) -> None:
        tick, follows = reading.tick, reading.follows_phc
        self._seen_tick = tick
        if follows:
            self.followed_tick = tick
        left = follows is False
        self._unfollowed.add(left)
        if self.holdover.step(tick, bad=left and self._unfollowed.count_short() > _MOST_UNFOLLOWED, good=follows):
            self._unfollowed.clear()
        self.lost.step(tick, bad=left and self._unfollowed.count() > LONG * FOLLOWED_SHARE, good=follows)
        silent = follows is None or reading.chrony_bound_ns is None
        self._silent_run = self._silent_run + 1 if silent else 0
        self.silent.step(tick, bad=self._silent_run >= RUN, good=not silent)

    def describe(self, interval_s: float) -> str:
        if self.followed_tick == self._seen_tick:
            return f"chronyd did not select the PHC in {self._unfollowed.count_short()} of the last {SHORT} ticks"
        if self.followed_tick is None:
            return "chronyd has not selected the PHC since it is watched"
        moment = units.utc(round(self.followed_tick * interval_s * 1e9))
        return f"holdover: chronyd selected the PHC until {moment} (tick {self.followed_tick}), and does not now"

    def describe_silent(self) -> str:
        return f"chronyd's bound or its selection was not observed for {self._silent_run} ticks"

    def list_windows(self) -> tuple[FlagWindow, ...]:
        return (self._unfollowed,)

    def save(self) -> list[Any]:
        alarms = (self.holdover, self.lost, self.silent)
        return [self._seen_tick, self.followed_tick, self._silent_run, *(alarm.save() for alarm in alarms)]

    def restore(self, saved: list[Any]) -> None:
        self._seen_tick, self.followed_tick, self._silent_run = saved[0], saved[1], int(saved[2])
        for alarm, each in zip((self.holdover, self.lost, self.silent), saved[3:], strict=True):
            alarm.restore(each)


class SecondOpinion:
    """The second opinion: `implausible` where the PHC shows another time, `gone` where no answer comes.

    The drift of the system clock against it is the lower median of the slopes of all pairs of 20 answers.
    """

    __slots__ = (
        "_apart_ns",
        "_expected_since",
        "_interval_s",
        "_run",
        "_ticks",
        "_values",
        "_within_ticks",
        "gone",
        "implausible",
    )

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._within_ticks = interval_s, ANSWER_WITHIN_S / interval_s
        self._ticks, self._values = array("q"), array("q")  # of the last answers
        self._run, self._apart_ns = 0, 0
        self._expected_since: int | None = None
        self.implausible, self.gone = Alarm(5), Alarm(1)

    def add(self, reading: TickReading) -> float | None:
        """Take the reading of a tick; return the drift in ppb where it has a new answer and 20 are known."""
        tick, opinion_ns = reading.tick, reading.opinion_ns
        if opinion_ns is None:
            if self._expected_since is None:
                self._expected_since = tick
            self.gone.step(tick, bad=tick - self._expected_since > self._within_ticks, good=None)
            return None
        self._expected_since = tick
        self.gone.step(tick, bad=False, good=True)
        if reading.offset_ns is not None:
            self._apart_ns = abs(opinion_ns - reading.offset_ns)
            self._run = self._run + 1 if self._apart_ns > PLAUSIBLE_NS else 0
            self.implausible.step(tick, bad=self._run >= RUN_OF_ANSWERS, good=not self._run)
        if self._ticks and (tick - self._ticks[-1]) * self._interval_s < _ANSWERS_APART_S:
            return None
        self._ticks.append(tick)
        self._values.append(max(-_MOST_NS, min(opinion_ns, _MOST_NS)))
        del self._ticks[:-_ANSWERS], self._values[:-_ANSWERS]
        return self._find_drift()

    def _find_drift(self) -> float | None:
        if len(self._ticks) < _ANSWERS:
            return None
        answers = [*zip(self._ticks, self._values, strict=True)]
        slopes = sorted(
            (value - earlier) / (tick - before)
            for place, (tick, value) in enumerate(answers)
            for before, earlier in answers[:place]
        )
        return slopes[(len(slopes) - 1) // 2] / self._interval_s

    def describe_implausible(self) -> str:
        return f"the PHC is {units.ns(self._apart_ns)} from NTP"

    def describe_gone(self) -> str:
        return f"the second opinion gave no fresh answer for {units.duration(ANSWER_WITHIN_S)}"

    def save(self) -> list[Any]:
        alarms = [self.implausible.save(), self.gone.save()]
        return [[*self._ticks], [*self._values], self._run, self._apart_ns, self._expected_since, *alarms]

    def restore(self, saved: list[Any]) -> None:
        ticks, values = array("q", saved[0]), array("q", saved[1])
        if len(ticks) != len(values):
            raise ValueError("answers and their ticks are not of one number")
        self._ticks, self._values = ticks[-_ANSWERS:], values[-_ANSWERS:]
        self._run, self._apart_ns, self._expected_since = int(saved[2]), int(saved[3]), saved[4]
        self.implausible.restore(saved[5])
        self.gone.restore(saved[6])


class SeenTicks:
    """The check of missed ticks. `silent`: too many in a row, or in the short window; `sparse`: many were missed.

    `silent_ticks`: missed in a row that make a stream unknown, 10 s and at least five.
    """

    __slots__ = (
        "_asked",
        "_missed",
        "_missed_run",
        "_seen",
        "_seen_run",
        "seen_tick",
        "silent",
        "silent_ticks",
        "sparse",
    )

    def __init__(self, interval_s: float) -> None:
        self.silent_ticks = max(5, -int(-10 // interval_s))
        self._seen, self._missed = FlagWindow(), FlagWindow()
        self._missed_run = self._seen_run = 0
        self._asked = False
        self.seen_tick: int | None = None
        self.silent, self.sparse = Alarm(1), Alarm(1)

    def miss(self, tick: int, ticks: int, *, asked: bool) -> None:
        """Pass `ticks` without a reading, the last of which is `tick`. `asked`: the host was, and gave no answer."""
        self._seen.skip(ticks)
        self._missed.fill(ticks)
        self._asked = asked or (self._asked and self._missed_run > 0)
        self._missed_run, self._seen_run = self._missed_run + ticks, 0
        self._step(tick)

    def add(self, tick: int) -> None:
        self._seen.add(True)
        self._missed.add(False)
        self._missed_run, self._seen_run, self.seen_tick = 0, self._seen_run + 1, tick
        self._step(tick)

    def _step(self, tick: int) -> None:
        again, whole = self._seen_run >= SEEN_AGAIN, self._seen_run >= SHORT
        many = not again and self._missed.count_short() > SHORT // 2
        self.silent.step(tick, bad=many or self._missed_run >= self.silent_ticks, good=again)
        if self.sparse.step(tick, bad=not whole and self._missed.count() > LONG // 10, good=whole):
            self._missed.clear()

    @property
    def asked(self) -> bool:
        """Whether the host was asked in vain for the ticks that were missed last; else nobody asked."""
        return self._asked

    @property
    def seen(self) -> int:
        return self._seen.count()

    @property
    def missed(self) -> int:
        return self._missed.count()

    def describe_silent(self, interval_s: float) -> str:
        if self.seen_tick is None:
            return "no sample has come"
        if not self._missed_run:
            return f"{self._missed.count_short()} of the last {SHORT} ticks were missed"
        return f"no sample since {units.utc(round(self.seen_tick * interval_s * 1e9))} (tick {self.seen_tick})"

    def describe_sparse(self) -> str:
        return f"{self.missed} of the last {LONG} ticks were missed"

    def list_windows(self) -> tuple[FlagWindow, ...]:
        return self._seen, self._missed

    def save(self) -> list[Any]:
        runs = [self._missed_run, self._seen_run, int(self._asked), self.seen_tick]
        return [*runs, self.silent.save(), self.sparse.save()]

    def restore(self, saved: list[Any]) -> None:
        self._missed_run, self._seen_run, asked, self.seen_tick = saved[:4]
        self._asked = bool(asked)
        self.silent.restore(saved[4])
        self.sparse.restore(saved[5])
