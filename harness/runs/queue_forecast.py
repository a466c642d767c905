"""Forecast when the tasks of a queue begin and end, as their turns, their durations and the limits have it."""

import heapq
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.model.bench_traits import traits_of_recorded
from harness.model.tasks import TaskState
from harness.store.task_lines import QueueLimits, TaskLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTimes:
    """When a task is expected to begin and to end, ns since the epoch. One that runs has begun."""

    start_ns: int
    end_ns: int


def forecast_queue(
    lines: Sequence[TaskLine], limits: QueueLimits, now_ns: int, *, machines: int = 1
) -> Mapping[str, ExpectedTimes]:
    """Forecast the tasks that run, and those that wait, which stand in the order of their turns.

    `machines`: how many carry out tasks, each within the limits. A task that has run longer than expected is taken to
    end now. Those of other sites have no forecast: their queues are there.
    """
    expected: dict[str, ExpectedTimes] = {}
    queue = _Queue(limits=_multiply(limits, machines), now_ns=now_ns)
    for line in lines:
        if line.site is None and line.state is TaskState.RUNNING:
            begun_ns = now_ns if line.begun_ns is None else line.begun_ns
            expected[line.task] = times = _times(begun_ns, line.expected_s)
            queue.begin(line, max(times.end_ns, now_ns))
    for place, line in enumerate(lines):
        if line.site is None and line.state is TaskState.QUEUED:
            queue.add(place, line)
    while (begun := queue.begin_next()) is not None:
        line, start_ns = begun
        expected[line.task] = times = _times(start_ns, line.expected_s)
        queue.begin(line, times.end_ns)
    return expected


def _multiply(limits: QueueLimits, machines: int) -> QueueLimits:
    """Multiply the limits that each machine has for itself."""
    per_bench = {
        name: most * machines if traits_of_recorded(name).local else most for name, most in limits.per_bench.items()
    }
    return replace(limits, tasks=limits.tasks * machines, per_bench=per_bench)


def _times(start_ns: int, seconds: float) -> ExpectedTimes:
    return ExpectedTimes(start_ns=start_ns, end_ns=start_ns + round(seconds * 1e9))


_Kind = tuple[str, str]
"""The bench and the submitter of a task."""


@dataclass(slots=True, kw_only=True)
class _Queue:
    """The tasks that run and those that wait at a moment, which moves on with each end of a task.

    `ready`: the next task of each kind, by its place, unless it is `held` by a full bench or a busy submitter: so each
    task is looked at once, and again after an end that may let it begin.
    """

    limits: QueueLimits
    now_ns: int
    ends: list[tuple[int, str, str]] = field(default_factory=list)
    benches: Counter[str] = field(default_factory=Counter)
    submitters: Counter[str] = field(default_factory=Counter)
    waiting: dict[_Kind, deque[tuple[int, TaskLine]]] = field(default_factory=dict)
    ready: list[tuple[int, _Kind]] = field(default_factory=list)
    held: dict[str, list[tuple[int, _Kind]]] = field(default_factory=dict)

    def begin(self, line: TaskLine, end_ns: int) -> None:
        """Take a task as begun."""
        heapq.heappush(self.ends, (end_ns, line.bench, line.submitter))
        self.benches[line.bench] += 1
        self.submitters[line.submitter] += 1

    def add(self, place: int, line: TaskLine) -> None:
        """Add a task that waits, behind all that were added before."""
        kind = (line.bench, line.submitter)
        same = self.waiting.setdefault(kind, deque())
        if not same:
            heapq.heappush(self.ready, (place, kind))
        same.append((place, line))

    def begin_next(self) -> tuple[TaskLine, int] | None:
        """Take the next task that begins out of the queue; return it and when it begins, None when none is left."""
        while True:
            line = self._choose() if len(self.ends) < self.limits.tasks else None
            if line is not None:
                return line, self.now_ns
            if not self.ends:
                return None
            self._end_next()

    def _choose(self) -> TaskLine | None:
        while self.ready:
            place, kind = heapq.heappop(self.ready)
            holder = self._find_holder(*kind)
            if holder is not None:
                self.held.setdefault(holder, []).append((place, kind))
                continue
            same = self.waiting[kind]
            _, line = same.popleft()
            if same:
                heapq.heappush(self.ready, (same[0][0], kind))
            return line
        return None

    def _find_holder(self, bench: str, submitter: str) -> str | None:
        """Name the limit that holds back a task of this kind now; None where it may begin."""
        most_on_bench, most = self.limits.per_bench.get(bench), self.limits.per_submitter
        if most_on_bench is not None and self.benches[bench] >= most_on_bench:
            return f"bench {bench}"
        if most is not None and self.submitters[submitter] >= most:
            return f"submitter {submitter}"
        return None

    def _end_next(self) -> None:
        """Go to the next moment at which tasks end, and end them."""
        self.now_ns = max(self.now_ns, self.ends[0][0])
        while self.ends and self.ends[0][0] <= self.now_ns:
            _, bench, submitter = heapq.heappop(self.ends)
            self.benches[bench] -= 1
            self.submitters[submitter] -= 1
            for holder in (f"bench {bench}", f"submitter {submitter}"):
                for entry in self.held.pop(holder, ()):
                    heapq.heappush(self.ready, entry)
