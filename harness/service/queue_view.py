"""Look at the queue for requests: what runs, what waits, and when each task is expected to begin and to end."""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.model.tasks import TaskState
from harness.runs.queue_forecast import ExpectedTimes, forecast_queue
from harness.store.ledger import Ledger
from harness.store.task_lines import QueueLimits, TaskLine
from harness.store.task_queue import TaskQueue

_LOOKED_AGAIN_S = 1.0
_DURATIONS_READ_AGAIN_S = 60.0
_MOST_DURATIONS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue at a moment of the ledger's time: tasks that run, then those that wait in the order of their turns."""

    read_ns: int
    lines: Sequence[TaskLine]
    expected: Mapping[str, ExpectedTimes]


class QueueView:
    """Reads the queue at most once a second, whoever asks. Threads share it."""

    def __init__(self, queue: TaskQueue, ledger: Ledger, limits: QueueLimits) -> None:
        self._queue, self._ledger, self._limits = queue, ledger, limits
        self._lock = threading.Lock()
        self._read: tuple[float, QueueState] | None = None

    def read(self, *, newer_than_s: float = _LOOKED_AGAIN_S) -> QueueState:
        """Return the queue as it was so long ago at most."""
        with self._lock:
            if self._read is None or time.monotonic() - self._read[0] > newer_than_s:
                self._read = (time.monotonic(), self._read_now())
            return self._read[1]

    def expect(self, line: TaskLine) -> ExpectedTimes | None:
        """Return when a task is expected to begin and to end; None unless it waits or runs here."""
        if line.state.final or line.site is not None:
            return None
        expected = self.read().expected.get(line.task)
        fits = expected is not None and (line.state is TaskState.QUEUED or line.begun_ns == expected.start_ns)
        return expected if fits else self.read(newer_than_s=0.0).expected.get(line.task)

    def _read_now(self) -> QueueState:
        lines, machines = self._queue.list_queue(), self._queue.count_machines()
        now_ns = self._ledger.now_ns()
        expected = forecast_queue(lines, self._limits, now_ns, machines=max(1, machines))
        return QueueState(read_ns=now_ns, lines=lines, expected=expected)


class TypicalDurations:
    """Remembers for a minute how long hosts of each type took before. Threads share it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, float | None]] = {}

    def forget(self) -> None:
        """Forget all: the ledger is read again."""
        with self._lock:
            self._known.clear()

    def find_s(self, bench: str, instance_types: Collection[str]) -> Mapping[str, float]:
        """Find how long a host of each type takes, s. Types that were never run lack."""
        now = time.monotonic()
        with self._lock:
            known = {name: self._known.get((bench, name)) for name in {*instance_types}}
        missing = [name for name, entry in known.items() if entry is None or now - entry[0] > _DURATIONS_READ_AGAIN_S]
        found = self._ledger.typical_durations_s(bench, missing) if missing else {}
        with self._lock:
            if len(self._known) + len(missing) > _MOST_DURATIONS:
                self._known.clear()
            self._known |= {(bench, name): (now, found.get(name)) for name in missing}
        seconds = {name: entry[1] for name, entry in known.items() if entry is not None and name not in missing}
        return {name: value for name, value in seconds.items() if value is not None} | found
