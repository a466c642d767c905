"""Lead the watch: each second, plan which worker is to have which stream, and write what changes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.store.watch_streams import LEASE_S, StreamLine, WatchStreams, WorkerLine
from harness.watch.planner import Worker, plan_streams

_SCORE_BAND = 0.1
"""A score that changes by less moves nothing: it is measured, and never the same twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderStep:
    """What a leader did. `moves`: the new worker by stream, None for none; `left_out`: streams beyond all capacity."""

    epoch: int
    moves: dict[str, str | None]
    left_out: list[str]


class Leader:
    """A process that may lead. `process`: names it; `lease_s`: that of workers; `now`: a monotonic clock, s."""

    def __init__(
        self,
        streams: WatchStreams,
        process: str,
        *,
        lease_s: float = LEASE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams, self._process, self._lease_s, self._now = streams, process, lease_s, now
        self._shares: dict[str, float] = {}
        self._judges_from: float | None = None
        self._silent: frozenset[str] = frozenset()

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
                return None
            step = self._plan(epoch)
        except HarnessError:
            self._judges_from = None
            raise
        return step if self._streams.write_plan(epoch, step.moves) else None

    def _plan(self, epoch: int) -> LeaderStep:
        workers, lines = self._streams.list_workers(), self._streams.list_streams()
        judges = self._judges(workers)
        present = [worker for worker in workers if not worker.draining and (worker.lives or not judges)]
        names = {worker.worker for worker in present}
        held: dict[str, list[str]] = {}
        for line in lines:
            if line.wanted in names:
                held.setdefault(str(line.wanted), []).append(line.stream)
        orphans = [line.stream for line in lines if line.wanted not in names]
        plan = plan_streams([self._describe(worker) for worker in present], held, orphans, _find_weights(lines))
        wanted = {line.stream: line.wanted for line in lines}
        unassigned = {stream: None for stream in plan.left_out if wanted[stream] is not None}
        self._shares = {name: share for name, share in self._shares.items() if name in names}
        return LeaderStep(epoch=epoch, moves={**plan.moves, **unassigned}, left_out=plan.left_out)

    def _judges(self, workers: Sequence[WorkerLine]) -> bool:
        """Whether a worker without a lease is dead: the database was there long enough, and they died one by one."""
        silent = frozenset(worker.worker for worker in workers if not worker.lives)
        many_at_once = len(silent - self._silent) > max(1, len(workers) // 2)
        self._silent = silent
        if self._judges_from is None or many_at_once:
            self._judges_from = self._now() + self._lease_s
        return self._now() >= self._judges_from

    def _describe(self, worker: WorkerLine) -> Worker:
        """Describe a worker for the planner, with its score of before while the new one differs little."""
        share = self._shares.get(worker.worker)
        if share is None or abs(worker.score - share) > _SCORE_BAND * share:
            share = self._shares[worker.worker] = max(worker.score, 1e-3)
        return Worker(worker.worker, share, worker.capacity)


def _find_weights(lines: list[StreamLine]) -> dict[str, float] | None:
    """Find the weights of streams; None where all are 1, which makes a plan faster."""
    weights = {line.stream: line.weight for line in lines}
    return None if all(weight == 1.0 for weight in weights.values()) else weights
