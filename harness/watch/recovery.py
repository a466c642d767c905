"""Bring a watch back: mend what is safe to mend, once, and let no storm of moves follow the death of many workers.

Whatever is mended was seen in two checks, so that what is between two states for a moment is left alone. A worker that
is to register anew keeps to sample meanwhile. All that is done is told in the log.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.store.watch_log import LogEntry, LogKind
from harness.store.watch_mending import WatchMending
from harness.store.watch_view import WatchView
from harness.watch.consistency import Inconsistency, Mend


@dataclass(frozen=True, slots=True, kw_only=True)
class MendLimits:
    """How much is mended. `workers_at_once`: so many register anew after one check.

    `tries`: so often the same worker is asked to; after that a person has to look. `again_s`: so long after the time
    before; after ten times that the tries begin anew.
    """

    workers_at_once: int = 5
    tries: int = 3
    again_s: float = 60.0


class Recovery:
    """Follows the inconsistencies of one check after the other, and mends those that are safe to mend."""

    def __init__(
        self,
        mending: WatchMending,
        *,
        limits: MendLimits = MendLimits(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mending, self._limits, self._now = mending, limits, now
        self._found: dict[tuple[str, str], Inconsistency] = {}
        self._asked_s: dict[str, float] = {}
        self._tries: Counter[str] = Counter()

    @property
    def open(self) -> list[Inconsistency]:
        """The inconsistencies that the latest check found."""
        return [*self._found.values()]

    def follow(self, view: WatchView, inconsistencies: Sequence[Inconsistency]) -> list[LogEntry]:
        """Take what a check found; mend what the check before found too. Return what is to be told."""
        before, self._found = self._found, {each.key: each for each in inconsistencies}
        entries = [_tell(each) for key, each in self._found.items() if key not in before and not each.is_logged]
        entries += [
            LogEntry(kind=LogKind.ENDED, sentence=f"no more: {each.sentence}", worker=each.worker, stream=_stream(each))
            for key, each in before.items()
            if key not in self._found and not each.is_logged
        ]
        return entries + self.mend(
            view, [_keep_known(each, before[key]) for key, each in self._found.items() if key in before]
        )

    def mend(self, view: WatchView, inconsistencies: Sequence[Inconsistency]) -> list[LogEntry]:
        """Mend what is safe to mend; return what was done."""
        return [*self._free(view, inconsistencies), *self._register_anew(view, inconsistencies)]

    def _free(self, view: WatchView, inconsistencies: Sequence[Inconsistency]) -> list[LogEntry]:
        names = {stream for each in inconsistencies if each.mend is Mend.FREE for stream in each.streams}
        epochs = {line.stream: line.epoch for line in view.streams if line.stream in names} if names else {}
        freed = self._mending.free(epochs)
        return [
            LogEntry(kind=LogKind.MEND, stream=stream, sentence=f"stream {stream} is freed: its lease was over")
            for stream in freed
        ]

    def _register_anew(self, view: WatchView, inconsistencies: Sequence[Inconsistency]) -> list[LogEntry]:
        asking = {each.worker for each in inconsistencies if each.mend is Mend.REGISTER_ANEW}
        now_s, chosen, entries = self._now(), dict[str, int](), list[LogEntry]()
        for worker in view.workers:
            if worker.worker not in asking or not worker.lives or len(chosen) >= self._limits.workers_at_once:
                continue
            passed_s = now_s - self._asked_s.get(worker.worker, float("-inf"))
            if passed_s < self._limits.again_s:
                continue
            if passed_s > 10 * self._limits.again_s:
                self._tries[worker.worker] = 0
            if self._tries[worker.worker] < self._limits.tries:
                chosen[worker.worker] = worker.registration
            elif self._tries[worker.worker] == self._limits.tries:
                self._tries[worker.worker] += 1
                sentence = f"worker {worker.worker} registered anew {self._limits.tries} times in vain: end its process"
                entries.append(LogEntry(kind=LogKind.MEND, worker=worker.worker, sentence=sentence))
        for name in self._mending.demand_registration(chosen):
            self._asked_s[name] = now_s
            self._tries[name] += 1
            sentence = f"worker {name} is to register anew: what it has is not what the ledger says"
            entries.append(LogEntry(kind=LogKind.MEND, worker=name, sentence=sentence))
        return entries


def _tell(each: Inconsistency) -> LogEntry:
    sentence = f"{each.kind.value}: {each.sentence}; {each.recommendation}"
    return LogEntry(kind=LogKind.INCONSISTENCY, sentence=sentence, worker=each.worker, stream=_stream(each))


def _stream(each: Inconsistency) -> str | None:
    return each.streams[0] if len(each.streams) == 1 else None


def _keep_known(each: Inconsistency, before: Inconsistency) -> Inconsistency:
    """Keep of an inconsistency the streams that the check before had too."""
    if not each.streams:
        return each
    known = {*before.streams}
    return Inconsistency(
        kind=each.kind,
        sentence=each.sentence,
        recommendation=each.recommendation,
        worker=each.worker,
        streams=tuple(stream for stream in each.streams if stream in known),
        mend=each.mend,
        is_logged=each.is_logged,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StormLimits:
    """When many workers fail at once, and what a leader does then.

    `workers`, `part`: so many that died within `within_s`, and that part of all. `streams_a_second`: so many streams a
    worker gets then; each is a new connection to a host. `quiet_s`: recovery mode ends so long after the latest death,
    once no stream waits that nobody has.
    """

    workers: int = 3
    part: float = 0.25
    within_s: float = 30.0
    streams_a_second: int = 25
    quiet_s: float = 15.0


class RecoveryMode:
    """Lets streams that nobody has go first, a few a second to each worker, after many workers failed at once."""

    def __init__(self, limits: StormLimits = StormLimits()) -> None:
        self._limits = limits
        self._deaths: list[float] = []
        self.begun_s: float | None = None
        self._latest_s, self._chosen_s = 0.0, -math.inf

    @property
    def is_on(self) -> bool:
        """Whether moves are limited now."""
        return self.begun_s is not None

    def note_deaths(self, at_s: float, deaths: int, workers: int) -> bool:
        """Note workers that died now, of so many that there were; return whether recovery mode begins by that."""
        self._deaths = [each for each in self._deaths if at_s - each <= self._limits.within_s] + [at_s] * deaths
        if deaths:
            self._latest_s = at_s
        many = max(float(self._limits.workers), self._limits.part * workers)
        if self.is_on or len(self._deaths) < many:
            return False
        self.begun_s = at_s
        return True

    def choose(self, at_s: float, moves: Mapping[str, str | None], orphans: Collection[str]) -> dict[str, str | None]:
        """Choose the moves to make now. `orphans`: the streams that no worker has that is there."""
        if not self.is_on:
            return dict(moves)
        passed_s, self._chosen_s = min(1.0, at_s - self._chosen_s), at_s
        most = math.ceil(passed_s * self._limits.streams_a_second)
        chosen: dict[str, str | None] = {}
        given: Counter[str] = Counter()
        for stream, worker in moves.items():
            if worker is None:
                chosen[stream] = None
            elif stream in orphans and given[worker] < most:
                given[worker] += 1
                chosen[stream] = worker
        return chosen

    def end_where_quiet(self, at_s: float, waiting: int) -> bool:
        """End recovery mode where it is over; return whether it ended now.

        `waiting`: streams that nobody has and that wait. Moves for the balance wait for this end, and hold up none.
        """
        if self.begun_s is None or waiting or at_s - self._latest_s < self._limits.quiet_s:
            return False
        self.begun_s = None
        return True
