"""Run what leads a watch: the leader each second, and beside it duties of the leader, each in a thread of its own.

Any number of processes do this over one ledger: one leads, and another takes over where that one dies, is stopped or is
cut off. While the ledger is away a circuit breaker asks it seldom; nothing is moved for that.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness import __version__
from harness.errors import HarnessError
from harness.store.database import Database
from harness.store.watch_log import LogEntry, LogKind, WatchLog
from harness.store.watch_mending import WatchMending
from harness.store.watch_streams import LEASE_S, WatchStreams
from harness.store.watch_view import WatchViews
from harness.watch.avoidance import AvoidanceDuty
from harness.watch.circuit_breaker import (
    CircuitBreaker,
    CircuitOpenError,
    CircuitOptions,
    CircuitSnapshot,
    CircuitState,
)
from harness.watch.consistency import CheckLimits, Inconsistency, find_inconsistencies
from harness.watch.leader import LOOK_EVERY_S, Leader, LeaderStep
from harness.watch.process_name import name_process
from harness.watch.recovery import Recovery

CHECK_EVERY_S, TIDY_EVERY_S = 5.0, 60.0
FORGOTTEN_AFTER_S = 600.0
"""A worker's row is removed when a leader saw it dead for so long."""

_CLOCK_BAND_S = 2.0
"""Clocks that go apart by more between two checks were set."""

_DUTY_PART = 0.1
"""A duty that takes long is done so seldom that it takes this part of the time."""

_STOPS_WITHIN_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """Work of the leader beside planning. `do`: gets the epoch of the leadership, returns what is to be told, if any.

    It is called each `every_s` while this process leads. It may take long: it holds up no other duty. What it raises is
    told, and it is called again.
    """

    name: str
    every_s: float
    do: Callable[[int], Sequence[LogEntry | str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorSnapshot:
    """The state of this process. `duties`: by name, how often each was done and how often it failed.

    `looked_s`: how long ago the ledger was looked at, on our own clock; None: never. `retries`: of transactions, by
    cause.
    """

    process: str
    leads: bool
    epoch: int | None
    looked_s: float | None
    left_out: Sequence[str]
    waiting: int
    is_recovering: bool
    moves: int
    circuit: CircuitSnapshot
    retries: Mapping[str, int]
    inconsistencies: Sequence[Inconsistency]
    duties: Mapping[str, tuple[int, int]]


@dataclass(slots=True)
class _DutyCounts:
    done: int = 0
    failed: int = 0
    latest_problem: str = ""


@dataclass(slots=True)
class _State:
    """The result of the latest look, which threads share."""

    step: LeaderStep | None = None
    looked_at_s: float | None = None
    moves: int = 0
    away_since_s: float | None = None
    duties: dict[str, _DutyCounts] = field(default_factory=dict)


class Orchestrator:
    """Leads the watch of a ledger while no other process does. Call `start`, then `stop` within the same process.

    `duties`: those beside the checks of consistency and of reach, and the tidying, which it has of its own.
    """

    def __init__(
        self,
        database: Database,
        *,
        process: str | None = None,
        duties: Sequence[Duty] = (),
        lease_s: float = LEASE_S,
        circuit: CircuitOptions = CircuitOptions(),  # noqa: B008 (it is frozen)
        limits: CheckLimits = CheckLimits(),  # noqa: B008 (it is frozen)
        check_every_s: float = CHECK_EVERY_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._limits, self._now = database, limits, now
        self._process = process or name_process()
        self._streams = WatchStreams(database, lease_s=lease_s)
        self._views, self._log_of_watch = WatchViews(database, lease_s=lease_s), WatchLog(database)
        self._mending = WatchMending(database, lease_s=lease_s)
        self._recovery = Recovery(self._mending, now=now)
        self._avoidance = AvoidanceDuty(database, lambda: self._recovery.open, now=now)
        self._leader = Leader(
            self._streams, self._process, lease_s=lease_s, now=now, avoid=lambda: self._avoidance.avoided.names
        )
        self._circuit = CircuitBreaker("the ledger", circuit, now=now)
        self._duties = (
            Duty(name="consistency", every_s=check_every_s, do=self.check),
            Duty(name="avoidance", every_s=check_every_s, do=self.find_avoided),
            Duty(name="tidying", every_s=TIDY_EVERY_S, do=self.tidy),
            *duties,
        )
        self._state = _State(duties={duty.name: _DutyCounts() for duty in self._duties})
        self._dead_since_s: dict[tuple[str, int], float] = {}
        self._clocks: tuple[float, float] | None = None
        self._trusts_times_from_s = -math.inf
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._lead, name="watch leader", daemon=True)]
        self._threads += [
            threading.Thread(target=self._do, args=(duty,), name=f"watch {duty.name}", daemon=True)
            for duty in self._duties
        ]

    def start(self) -> None:
        """Begin to lead where nobody does."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End at once, and give the leadership up; a ledger that is away holds the end up for two seconds at most."""
        self._ending.set()
        ended_by_s = time.monotonic() + _STOPS_WITHIN_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, ended_by_s - time.monotonic()))

    def look(self) -> LeaderStep | None:
        """Lead for a moment; None where another process leads, or nothing is watched. Raises what the ledger raises."""
        step = self._circuit.call(self._step)
        self._state.looked_at_s = self._now()
        self._tell_return()
        if step is not None:
            self._state.moves += len(step.moves)
            self._log_of_watch.add(step.entries, epoch=step.epoch)
        self._state.step = step
        return step

    def check(self, epoch: int) -> Sequence[LogEntry]:
        """Check what the ledger says, and mend what is safe to mend; a duty."""
        view = self._views.read()
        step_s = self._find_clock_step_s(view.at_ns)
        if step_s:
            sentence = f"the database's clock was set by {step_s:+.0f} s: what looks late is judged in a while"
            return [LogEntry(kind=LogKind.FAULT, sentence=sentence)]
        still_leads = view.leader is not None and view.leader.epoch == epoch and view.leader.leads
        if not still_leads or self._now() < self._trusts_times_from_s:
            return ()
        found = find_inconsistencies(view, version=__version__, limits=self._limits)
        return self._recovery.follow(view, found)

    def find_avoided(self, epoch: int) -> Sequence[LogEntry]:
        """Find the workers that do not reach their hosts, which are left out of the next plans; a duty."""
        return self._avoidance.do(epoch)

    def tidy(self, _epoch: int) -> Sequence[LogEntry]:
        """Remove the rows of workers that were dead for long, and old entries of the log; a duty."""
        self._log_of_watch.prune()
        dead = {(each.worker, each.registration) for each in self._streams.list_workers() if not each.lives}
        now_s = self._now()
        self._dead_since_s = {worker: self._dead_since_s.get(worker, now_s) for worker in dead}
        long_dead = {
            name: number for (name, number), at_s in self._dead_since_s.items() if now_s - at_s >= FORGOTTEN_AFTER_S
        }
        return [
            LogEntry(kind=LogKind.WORKER, worker=name, sentence=f"worker {name} is removed: it was dead for long")
            for name in self._mending.forget(long_dead)
        ]

    def snapshot(self) -> OrchestratorSnapshot:
        """Return what this process does."""
        step, looked_at_s = self._state.step, self._state.looked_at_s
        return OrchestratorSnapshot(
            process=self._process,
            leads=step is not None,
            epoch=None if step is None else step.epoch,
            looked_s=None if looked_at_s is None else self._now() - looked_at_s,
            left_out=() if step is None else step.left_out,
            waiting=0 if step is None else step.waiting,
            is_recovering=self._leader.recovery.is_on,
            moves=self._state.moves,
            circuit=self._circuit.snapshot(),
            retries={cause.value: count for cause, count in self._database.retries.items()},
            inconsistencies=self._recovery.open if step is not None else (),
            duties={name: (counts.done, counts.failed) for name, counts in self._state.duties.items()},
        )

    def why_not_ready(self) -> str | None:
        """Say why this process could not lead, if so."""
        looked_at_s = self._state.looked_at_s
        if looked_at_s is None:
            return "the watch was not looked at yet"
        silent_s = self._now() - looked_at_s
        return f"the watch was looked at {silent_s:.0f} s ago" if silent_s > 20 * LOOK_EVERY_S else None

    def _find_clock_step_s(self, at_ns: int) -> float:
        """Find by how much the database's clock was set since the latest check, s; 0 where it goes as ours does."""
        here_s, before = self._now(), self._clocks
        self._clocks = at_ns / 1e9, here_s
        if before is None:
            return 0.0
        step_s = (at_ns / 1e9 - before[0]) - (here_s - before[1])
        if abs(step_s) <= _CLOCK_BAND_S:
            return 0.0
        self._trusts_times_from_s = here_s + self._limits.handoff_s
        return step_s

    def _step(self) -> LeaderStep | None:
        if not self._leader.leads and not self._streams.is_used():
            return None
        return self._leader.step()

    def _tell_return(self) -> None:
        """Tell for how long the ledger was away, once it is back."""
        if self._state.away_since_s is None:
            return
        away_s, self._state.away_since_s = self._now() - self._state.away_since_s, None
        sentence = f"the ledger was away for {away_s:.0f} s: {self._circuit.snapshot().latest_cause}"
        _log.warning("%s", sentence)
        self._log_of_watch.add([LogEntry(kind=LogKind.FAULT, sentence=f"{self._process}: {sentence}")])

    def _lead(self) -> None:
        while not self._ending.is_set():
            again_s = LOOK_EVERY_S
            try:
                step = self.look()
                again_s = LOOK_EVERY_S if step is None else step.again_s
            except CircuitOpenError:
                again_s = min(LOOK_EVERY_S, 0.05 + self._circuit.snapshot().next_probe_s)
            except HarnessError as error:
                self._note_absence(error)
            except Exception:
                self._state.step = None
                _log.exception("our fault: the watch was not looked at")
            self._ending.wait(again_s)
        try:
            self._leader.resign()
        except HarnessError as error:
            _log.warning("the leadership of the watch ends by its lease: %s", error)

    def _note_absence(self, error: HarnessError) -> None:
        self._state.step = None
        if self._state.away_since_s is None:
            self._state.away_since_s = self._now()
            _log.warning("the watch was not looked at: %s", error)

    def _do(self, duty: Duty) -> None:
        counts = self._state.duties[duty.name]
        pause_s = duty.every_s
        while not self._ending.wait(pause_s):
            step, begun_s = self._state.step, self._now()
            if step is None or self._circuit.snapshot().state is not CircuitState.CLOSED:
                continue
            try:
                told = [_make_entry(duty, each) for each in duty.do(step.epoch)]
                self._log_of_watch.add(told, epoch=step.epoch)
                counts.done += 1
                counts.latest_problem = ""
            except Exception as error:
                counts.failed += 1
                self._tell_problem(duty, counts, error)
            pause_s = max(duty.every_s, (self._now() - begun_s) / _DUTY_PART)

    def _tell_problem(self, duty: Duty, counts: _DutyCounts, error: Exception) -> None:
        """Tell a problem of a duty, once as long as it is the same."""
        problem = str(error) if isinstance(error, HarnessError) else f"our fault: {type(error).__name__}"
        if problem == counts.latest_problem:
            return
        counts.latest_problem = problem
        _log.warning("%s was not done: %s", duty.name, problem, exc_info=not isinstance(error, HarnessError))


def _make_entry(duty: Duty, told: LogEntry | str) -> LogEntry:
    return LogEntry(kind=LogKind.DUTY, sentence=f"{duty.name}: {told}") if isinstance(told, str) else told
