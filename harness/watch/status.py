"""Sum up a watch for people: who leads, what each worker carries, and how many clocks are in which state."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.model.watched import StreamState
from harness.store.watch_streams import WorkerLine
from harness.store.watch_view import ReplayLine, WatchedStream, WatchView
from harness.store.word_age import find_age_s, is_fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker. `state`: serving, draining or dead. `streams`: those that it has; `assigned`: those that it is to have.

    `weight`: of those that it is to have; `load`: the part of a core that it used of late. `heard_s`: how long ago its
    latest heartbeat was. `replayed_chunks`: minutes of samples of a stream that it had kept while the ledger was away,
    and stored in the latest hour.
    """

    worker: str
    process: str
    version: str
    state: str
    streams: int
    assigned: int
    weight: float
    capacity: float
    load: float
    score: float
    heard_s: float
    replayed_chunks: int
    replayed_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatus:
    """A watch. `states`: numbers of streams by the state of their clocks; words that are too old count as unknown.

    `left_out`: streams that no worker is to have; `between`: those that a worker is to have and does not have yet.
    `leader`: None where nobody leads; `epoch`: of the latest leadership.
    """

    leader: str | None
    epoch: int | None
    streams: int
    states: dict[str, int]
    left_out: list[str]
    between: int
    workers: list[WorkerStatus]


def find_state(line: WatchedStream, at_ns: int) -> StreamState:
    """Find the state of a stream's clock: UNKNOWN where the latest word about it is too old, or there is none."""
    if line.state is None or find_silence_s(line, at_ns) is not None:
        return StreamState.UNKNOWN
    return StreamState(line.state)


def find_silence_s(line: WatchedStream, at_ns: int) -> float | None:
    """Find for how long a stream was not heard of, s; None where that is no longer than usual."""
    if line.sampled_ns is None or line.tick is None:
        return None
    age_s = find_age_s(at_ns, sampled_ns=line.sampled_ns, tick=line.tick, interval_s=line.interval_s)
    return None if is_fresh(age_s, line.interval_s) else age_s


def sum_up(view: WatchView, replays: Sequence[ReplayLine] = ()) -> WatchStatus:
    """Sum up a view of a ledger's watch."""
    states = Counter(find_state(line, view.at_ns).value for line in view.streams)
    leads = view.leader is not None and view.leader.leads
    return WatchStatus(
        leader=view.leader.process if view.leader is not None and leads else None,
        epoch=None if view.leader is None else view.leader.epoch,
        streams=len(view.streams),
        states={state.value: states[state.value] for state in StreamState},
        left_out=[line.stream for line in view.streams if line.wanted is None],
        between=sum(line.wanted is not None and line.owner != line.wanted for line in view.streams),
        workers=list_workers(view, replays),
    )


def list_workers(view: WatchView, replays: Iterable[ReplayLine] = ()) -> list[WorkerStatus]:
    """List the workers of a view, with what each carries."""
    owned = Counter(line.owner for line in view.streams)
    assigned = Counter(line.wanted for line in view.streams)
    weights: defaultdict[str | None, float] = defaultdict(float)
    for line in view.streams:
        weights[line.wanted] += line.weight
    of_replays = {line.worker: line for line in replays}

    def since_replay_s(name: str) -> float | None:
        return (view.at_ns - of_replays[name].latest_ns) / 1e9 if name in of_replays else None

    return [
        WorkerStatus(
            worker=worker.worker,
            process=worker.process,
            version=worker.version,
            state=_name_state(worker),
            streams=owned[worker.worker],
            assigned=assigned[worker.worker],
            weight=round(weights[worker.worker], 6),
            capacity=worker.capacity,
            load=worker.load,
            score=worker.score,
            heard_s=round(worker.silent_s, 3),
            replayed_chunks=of_replays[worker.worker].chunks if worker.worker in of_replays else 0,
            replayed_s=since_replay_s(worker.worker),
        )
        for worker in view.workers
    ]


def _name_state(worker: WorkerLine) -> str:
    if not worker.lives:
        return "dead"
    return "draining" if worker.draining else "serving"
