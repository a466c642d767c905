"""Lead the watch: each second, plan which worker is to have which stream, and write what changes."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.store.watch_log import LogEntry, LogKind
from harness.store.watch_streams import HEARTBEAT_S, LEASE_S, StreamLine, StreamSums, WatchStreams, WorkerLine
from harness.watch.planner import Worker, plan_streams
from harness.watch.recovery import RecoveryMode

LOOK_EVERY_S, LOOK_CLOSELY_S = 1.0, 0.25
"""How often a leader looks: usually, and while a worker's heartbeat is overdue."""

_SCORE_BAND = 0.1
"""A score that changes by less moves nothing: it is measured, and never the same twice."""

_TOLD_ONE_BY_ONE, _REASONS = 20, 4
"""So many moves to one worker are told one by one; more as one sentence, with so many of their reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderStep:
    """The result of a leader's step. `moves`: the new worker by stream, None for none.

    `left_out`: streams beyond all capacity. `waiting`: moves that wait since many workers failed at once. `entries`:
    for the log. `again_s`: how soon to look again.
    """

    epoch: int
    moves: dict[str, str | None]
    left_out: list[str]
    waiting: int = 0
    entries: Sequence[LogEntry] = ()
    again_s: float = LOOK_EVERY_S


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan's moves to make now, and whom each of these streams comes from.

    `waiting`: how many moves wait; `waiting_unowned`: those of them whose stream no worker has that is there.
    """

    moves: dict[str, str | None]
    sources: Mapping[str, str | None]
    waiting: int
    waiting_unowned: int


class Leader:
    """A process that may lead. `process`: names it; `lease_s`: that of workers; `now`: a monotonic clock, s.

    `avoid`: names workers that live and are to get no streams, where the others can carry all.
    """

    def __init__(
        self,
        streams: WatchStreams,
        process: str,
        *,
        lease_s: float = LEASE_S,
        now: Callable[[], float] = time.monotonic,
        recovery: RecoveryMode | None = None,
        avoid: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._streams, self._process, self._lease_s, self._now = streams, process, lease_s, now
        self._avoid = avoid
        self.recovery = recovery or RecoveryMode()
        self._shares: dict[str, float] = {}
        self._judges_from: float | None = None
        self._silent: frozenset[str] = frozenset()
        self._epoch: int | None = None
        self._settled: tuple[StreamSums, Sequence[Worker]] | None = None
        self._left_out: list[str] = []
        self._known: dict[str, WorkerLine] = {}

    def step(self) -> LeaderStep | None:
        """Lead for a moment; None while another process leads. Raises what the database raises.

        After the database was away, or its clock was set, all leases look over: where most workers are silent at once,
        nobody counts as dead until each had the time to renew its lease.
        """
        try:
            begun_s = self._now()
            epoch = self._streams.lead(self._process)
            if self._now() - begun_s > self._lease_s / 2:  # the database was away, and this call waited for it
                self._judges_from = None
            if epoch is None:
                self._epoch = self._settled = None
                return None
            step = self._plan(epoch)
            if step.moves and not self._streams.write_plan(epoch, step.moves):
                self._epoch = self._settled = None
                return None
        except HarnessError:
            self._judges_from = self._settled = None
            raise
        return step

    def resign(self) -> None:
        """Give up to lead, so that another process may lead at once."""
        if self._epoch is not None:
            self._streams.resign(self._process)
            self._epoch = self._settled = None

    @property
    def leads(self) -> bool:
        """Whether this process led at its latest step."""
        return self._epoch is not None

    def _plan(self, epoch: int) -> LeaderStep:
        entries = []
        if epoch != self._epoch:
            entries.append(LogEntry(kind=LogKind.LEADER, sentence=f"{self._process} leads, epoch {epoch}"))
            self._epoch, self._settled, self._known, self._judges_from = epoch, None, {}, None
        workers = self._streams.list_workers()
        judges = self._judges(workers)
        present = [worker for worker in workers if not worker.draining and (worker.lives or not judges)]
        entries += self._follow_workers(workers, present)
        described = [self._describe(worker) for worker in present]
        self._shares = {worker.name: self._shares[worker.name] for worker in described}
        overdue = any(worker.silent_s > 1.5 * HEARTBEAT_S for worker in workers if worker.lives)
        again_s = LOOK_CLOSELY_S if overdue else LOOK_EVERY_S
        sums = self._streams.sum_streams()
        avoided = {*self._avoid()}
        others = [worker for worker in described if worker.name not in avoided]
        if sum(worker.limit for worker in others) >= sums.weight:
            described = others
        if self._settled == (sums, described):
            entries += self._end_recovery(0)
            return LeaderStep(epoch=epoch, moves={}, left_out=self._left_out, entries=entries, again_s=again_s)
        planned = self._plan_anew(described)
        lines = {worker.worker: worker for worker in workers}
        entries += _tell_moves(planned.moves, planned.sources, lines, avoided)
        entries += self._end_recovery(planned.waiting_unowned)
        if not planned.moves and not planned.waiting:
            self._settled = (sums, described)
        return LeaderStep(
            epoch=epoch,
            moves=planned.moves,
            left_out=self._left_out,
            waiting=planned.waiting,
            entries=entries,
            again_s=again_s,
        )

    def _plan_anew(self, workers: Sequence[Worker]) -> _Planned:
        """Plan for all streams."""
        lines = self._streams.list_streams()
        names = {worker.name for worker in workers}
        held: dict[str, list[str]] = {}
        for line in lines:
            if line.wanted in names:
                held.setdefault(str(line.wanted), []).append(line.stream)
        orphans = [line.stream for line in lines if line.wanted not in names]
        plan = plan_streams(workers, held, orphans, _find_weights(lines))
        wanted = {line.stream: line.wanted for line in lines}
        unassigned = {stream: None for stream in plan.left_out if wanted[stream] is not None}
        all_moves: dict[str, str | None] = {**plan.moves, **unassigned}
        unowned = {*orphans}
        moves = self.recovery.choose(self._now(), all_moves, unowned)
        waiting = all_moves.keys() - moves.keys()
        self._left_out = plan.left_out
        sources = {stream: wanted[stream] for stream in moves}
        return _Planned(moves, sources, waiting=len(waiting), waiting_unowned=len(waiting & unowned))

    def _judges(self, workers: Sequence[WorkerLine]) -> bool:
        """Whether a worker without a lease is dead: the database was there long enough, and they died one by one."""
        silent = frozenset(worker.worker for worker in workers if not worker.lives)
        many_at_once = len(silent - self._silent) > max(1, len(workers) // 2)
        self._silent = silent
        if self._judges_from is None or many_at_once:
            self._judges_from = self._now() + self._lease_s
        return self._now() >= self._judges_from

    def _follow_workers(self, workers: Sequence[WorkerLine], present: Sequence[WorkerLine]) -> list[LogEntry]:
        """Tell which workers came, died, drain or left since the latest step; note deaths for recovery mode."""
        before, self._known = self._known, {worker.worker: worker for worker in present}
        entries = []
        lines = {worker.worker: worker for worker in workers}
        dead = [name for name in before if name not in self._known and name in lines and not lines[name].draining]
        for name in dead:
            sentence = f"worker {name} on {lines[name].process} is dead: silent for {lines[name].silent_s:.1f} s"
            entries.append(LogEntry(kind=LogKind.WORKER, worker=name, sentence=sentence))
        for name in before.keys() - self._known.keys() - {*dead}:
            how = "drains" if name in lines else "has left"
            entries.append(LogEntry(kind=LogKind.WORKER, worker=name, sentence=f"worker {name} {how}"))
        for name, worker in self._known.items():
            if name not in before or before[name].registration != worker.registration:
                sentence = f"worker {name} is there: {worker.process}, capacity {worker.capacity:g}"
                entries.append(LogEntry(kind=LogKind.WORKER, worker=name, sentence=sentence))
        if self.recovery.note_deaths(self._now(), len(dead), len(before)):
            sentence = (
                f"{len(dead)} of {len(before)} workers died at once: streams that nobody has go first, a few a second"
            )
            entries.append(LogEntry(kind=LogKind.RECOVERY, sentence=sentence))
        return entries

    def _end_recovery(self, waiting: int) -> list[LogEntry]:
        if not self.recovery.end_where_quiet(self._now(), waiting):
            return []
        return [LogEntry(kind=LogKind.RECOVERY, sentence="recovery mode is over: streams are balanced again")]

    def _describe(self, worker: WorkerLine) -> Worker:
        """Describe a worker for the planner, with its score of before while the new one differs little."""
        share = self._shares.get(worker.worker)
        if share is None or abs(worker.score - share) > _SCORE_BAND * share:
            share = self._shares[worker.worker] = max(worker.score, 1e-3)
        return Worker(worker.worker, share, worker.capacity)


def _tell_moves(
    moves: Mapping[str, str | None],
    sources: Mapping[str, str | None],
    workers: Mapping[str, WorkerLine],
    avoided: Collection[str],
) -> list[LogEntry]:
    """Tell where streams are to go, and why; many to one worker in one sentence."""
    reasons = {
        stream: "there is no room" if worker is None else _explain_move(sources[stream], workers, avoided)
        for stream, worker in moves.items()
    }
    counts = dict[str | None, Counter[str]]()
    for stream, worker in moves.items():
        counts.setdefault(worker, Counter())[reasons[stream]] += 1
    entries = [
        LogEntry(
            kind=LogKind.MOVE,
            worker=worker,
            sentence=f"{count.total()} streams are to go to {worker or 'no worker'}: "
            + ", ".join(f"{number} since {reason}" for reason, number in count.most_common(_REASONS)),
        )
        for worker, count in counts.items()
        if count.total() > _TOLD_ONE_BY_ONE
    ]
    return entries + [
        LogEntry(
            kind=LogKind.MOVE,
            stream=stream,
            worker=worker,
            sentence=f"stream {stream} is to go from {sources[stream] or 'nobody'} to {worker or 'no worker'}, "
            f"since {reasons[stream]}",
        )
        for stream, worker in moves.items()
        if counts[worker].total() <= _TOLD_ONE_BY_ONE
    ]


def _explain_move(source: str | None, workers: Mapping[str, WorkerLine], avoided: Collection[str]) -> str:
    """Say why a stream leaves the worker that was to have it."""
    if source is None:
        return "no worker was to have it"
    if source not in workers:
        return f"{source} has left"
    if workers[source].draining:
        return f"{source} drains"
    if workers[source].lives and source in avoided:
        return f"{source} does not reach its hosts"
    return "loads are to be even" if workers[source].lives else f"{source} is dead"


def _find_weights(lines: list[StreamLine]) -> dict[str, float] | None:
    """Find the weights of streams; None where all are 1, which makes a plan faster."""
    weights = {line.stream: line.weight for line in lines}
    return None if all(weight == 1.0 for weight in weights.values()) else weights
