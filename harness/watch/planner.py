"""Plan which worker takes which stream: balanced by weight and share, with as few moves as that takes.

A pure function of what is there, so that every leader plans the same. A *stream* is one host's clock; its *weight* is
what it costs a worker, 1 unless it was measured. A worker's *share* is its part of the work, in proportion to those of
the others; its *limit* is the weight that it can carry.

Without weights each worker gets its share within one stream. With weights, which are measured and change all the time,
a worker is left alone while its load is within DEAD_BAND of its part, or within the heaviest of its streams.
"""

import bisect
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

DEAD_BAND = 0.05
_MOST_PASSES = 8


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that may get streams. `share` > 0: relative to the others; `limit`: the largest sum of weights."""

    name: str
    share: float = 1.0
    limit: float = math.inf


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan. `moves`: the new worker by stream; `left_out`: streams that no worker can carry."""

    moves: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def plan_streams(
    workers: Sequence[Worker],
    held: Mapping[str, Sequence[str]],
    orphans: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
) -> Plan:
    """Plan for the streams that workers hold, by the worker's name, and for those that nobody holds.

    The streams of a worker that is not among `workers`, since it is gone or is to end, go to others. `weights`: of each
    stream, > 0; None: all are 1.
    """
    ordered = sorted(workers, key=lambda worker: worker.name)
    names = {worker.name for worker in ordered}
    free = [*orphans, *chain.from_iterable(streams for name, streams in held.items() if name not in names)]
    if not ordered:
        return Plan(left_out=sorted(free))
    if weights is None:
        return _plan_alike(ordered, held, free)
    return _WeightedPlan(ordered, held, weights).make(free)


def divide(total: float, workers: Sequence[Worker]) -> list[float]:
    """Divide a sum of weights over workers in proportion to their shares, to none more than its limit.

    Where the limits do not suffice, each gets its limit.
    """
    parts = [0.0] * len(workers)
    shares = sum(worker.share for worker in workers)
    by_fullness = sorted(range(len(workers)), key=lambda index: workers[index].limit / workers[index].share)
    for index in by_fullness:  # the first to be full first: what it cannot take is divided over the rest
        worker = workers[index]
        parts[index] = min(worker.limit, max(0.0, total) * worker.share / shares)
        total -= parts[index]
        shares -= worker.share
    return parts


def _plan_alike(workers: Sequence[Worker], held: Mapping[str, Sequence[str]], free: Sequence[str]) -> Plan:
    """Plan for streams of the same weight: by their numbers, without a look at each."""
    counts = [len(held.get(worker.name, ())) for worker in workers]
    quotas = _make_quotas(workers, counts, sum(counts) + len(free))
    surplus = (
        held[worker.name][quota:] for worker, count, quota in zip(workers, counts, quotas, strict=True) if count > quota
    )
    moving = chain(free, chain.from_iterable(surplus))
    moves = {
        stream: worker.name
        for worker, count, quota in zip(workers, counts, quotas, strict=True)
        for _, stream in zip(range(quota - count), moving, strict=False)
    }
    return Plan(moves, left_out=[*moving])


def _make_quotas(workers: Sequence[Worker], counts: Sequence[int], total: int) -> list[int]:
    """Round each worker's part to whole streams: up first for those that hold one more already, which saves a move."""
    whole = [
        Worker(worker.name, worker.share, math.inf if math.isinf(worker.limit) else math.floor(worker.limit))
        for worker in workers
    ]
    parts = divide(total, whole)
    quotas = [math.floor(part + 1e-9) for part in parts]
    missing = round(min(total, sum(worker.limit for worker in whole))) - sum(quotas)

    def rank(index: int) -> tuple[bool, float]:
        return counts[index] <= quotas[index], quotas[index] - parts[index]

    growing = (index for index in range(len(whole)) if quotas[index] + 1 <= whole[index].limit)
    for index in heapq.nsmallest(missing, growing, key=rank) if missing > 0 else ():
        quotas[index] += 1
    return quotas


class _WeightedPlan:
    """A plan for streams of different weights, while it is made. Workers are named by their index."""

    def __init__(
        self, workers: Sequence[Worker], held: Mapping[str, Sequence[str]], weights: Mapping[str, float]
    ) -> None:
        self._workers, self._held, self._weights = workers, held, weights
        self._loads = [self._weigh(held.get(worker.name, ())) for worker in workers]
        self._sorted: dict[int, list[tuple[float, str]]] = {}
        self._given: dict[int, list[tuple[float, str]]] = {}
        self._moves, self._owners = dict[str, str](), dict[str, str]()
        self._moved = 0

    def make(self, free: Sequence[str]) -> Plan:
        self._parts = divide(sum(self._loads) + self._weigh(free), self._workers)
        pool = [(self._weights[stream], stream) for stream in free]
        for _ in range(_MOST_PASSES):
            moved = self._moved
            for index, (load, part) in enumerate(zip(self._loads, self._parts, strict=True)):
                if load > self._workers[index].limit or self._has_too_much(index):
                    pool += self._shed(index, load - part)
            pool = self._give(pool)
            for index, (load, part) in enumerate(zip(self._loads, self._parts, strict=True)):
                if load < part * (1 - DEAD_BAND):
                    self._fill(index)
            if self._moved == moved:
                break
        moves = {stream: worker for stream, worker in self._moves.items() if self._owners.get(stream) != worker}
        return Plan(moves, [stream for _, stream in pool])

    def _has_too_much(self, index: int) -> bool:
        excess = self._loads[index] - self._parts[index]
        return excess > self._parts[index] * DEAD_BAND and excess > self._streams(index)[-1][0]

    def _weigh(self, streams: Iterable[str]) -> float:
        return sum(map(self._weights.__getitem__, streams))

    def _streams(self, index: int) -> list[tuple[float, str]]:
        """The streams that a worker still holds, with their weights, the lightest first."""
        if index not in self._sorted:
            held = self._held.get(self._workers[index].name, ())
            given = self._given.pop(index, ())
            self._sorted[index] = sorted([*((self._weights[stream], stream) for stream in held), *given])
        return self._sorted[index]

    def _shed(self, index: int, excess: float) -> list[tuple[float, str]]:
        """Take streams from a worker until it has no more than its part: few heavy ones rather than many light ones.

        A worker beyond its limit gives one more, where none fits what is too much.
        """
        shed = []
        beyond = self._loads[index] - self._workers[index].limit
        streams = self._streams(index)
        while excess > 0 and streams:
            place = bisect.bisect_right(streams, excess * (1 + 1e-9), key=_weight)
            if place == 0 and beyond <= 0:
                break
            weight, stream = streams.pop(max(0, place - 1))
            self._owners.setdefault(stream, self._workers[index].name)
            shed.append((weight, stream))
            self._loads[index] -= weight
            excess -= weight
            beyond -= weight
        return shed

    def _give(self, pool: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """Give streams, the heaviest first, each to the worker that has the least of its part; return what is left."""
        left = []
        heap = [(self._fullness(index), index) for index in range(len(self._workers))]
        heapq.heapify(heap)
        for weight, stream in sorted(pool, key=lambda each: (-each[0], each[1])):
            full = []
            while heap and self._loads[heap[0][1]] + weight > self._workers[heap[0][1]].limit * (1 + 1e-9):
                full.append(heapq.heappop(heap))
            if heap:
                index = heap[0][1]
                self._move(weight, stream, index)
                heapq.heapreplace(heap, (self._fullness(index), index))
            else:
                left.append((weight, stream))
            for each in full:  # it may carry a lighter one
                heapq.heappush(heap, each)
        return left

    def _fill(self, index: int) -> None:
        """Give a worker that has too little streams of those that have the most, as long as these keep more than it."""
        donors = [
            (-self._fullness(donor), donor)
            for donor in range(len(self._workers))
            if donor != index and self._loads[donor] > self._parts[donor]
        ]
        heapq.heapify(donors)
        while donors and self._loads[index] < self._parts[index] * (1 - DEAD_BAND):
            _, donor = donors[0]
            streams = self._streams(donor)
            weight_that_evens = self._weight_that_evens(donor, index)
            place = bisect.bisect_right(streams, weight_that_evens, key=_weight)
            if place == 0:
                heapq.heappop(donors)
                continue
            weight, stream = streams.pop(place - 1)
            self._owners.setdefault(stream, self._workers[donor].name)
            self._loads[donor] -= weight
            self._move(weight, stream, index)
            heapq.heapreplace(donors, (-self._fullness(donor), donor))

    def _weight_that_evens(self, donor: int, receiver: int) -> float:
        """The weight whose move makes both equally full, at most what the receiver lacks and can carry."""
        of_donor, of_receiver = self._workers[donor].share, self._workers[receiver].share
        difference = self._loads[donor] * of_receiver - self._loads[receiver] * of_donor
        lacking = min(self._parts[receiver] * (1 + DEAD_BAND), self._workers[receiver].limit) - self._loads[receiver]
        return min(difference / (of_donor + of_receiver), lacking)

    def _move(self, weight: float, stream: str, index: int) -> None:
        self._moves[stream] = self._workers[index].name
        self._moved += 1
        self._loads[index] += weight
        if index in self._sorted:
            bisect.insort(self._sorted[index], (weight, stream))
        else:
            self._given.setdefault(index, []).append((weight, stream))

    def _fullness(self, index: int) -> float:
        return self._loads[index] / self._workers[index].share


def _weight(held: tuple[float, str]) -> float:
    return held[0]
