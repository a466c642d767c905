"""Begin tasks, each in a process of its own, so that the end of the service touches none.

A process that waits for its task is always ready, since a new one takes half a second to load. What a task needs is in
the ledger; the process finds it there, and goes on with the run of a task whose process died.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from harness.system import proc, process_ends

LOOK_EVERY_S = 1.0
_STOPS_WITHIN_S = 5.0
COMMAND = (sys.executable, "-m", "harness")
"""Starts the command in a process of its own."""

GO = b"go\n"
"""Tells a process that waits to take the task whose turn it is. A process whose input ends without it ends too."""

_log = logging.getLogger(__name__)


class Executor:
    """Watches the queue, and begins tasks while there is room. `log`: gets what the processes print."""

    def __init__(
        self,
        queue: TaskQueue,
        limits: QueueLimits,
        log: Path,
        *,
        environ: Mapping[str, str],
        flags: Sequence[str] = (),
    ) -> None:
        self._queue, self._limits, self._log_file = queue, limits, log
        self._environ = dict(environ)
        self._argv = [*COMMAND, "work", "--next", *flags]
        self._wake, self._ending = threading.Event(), threading.Event()
        self._spare: _WaitingProcess | None = None
        self._busy: list[proc.ProcessId] = []
        self._without_task: set[proc.ProcessId] = set()  # those of `_busy` that were not seen with a task yet
        self._thread = threading.Thread(target=self._watch, name="executor", daemon=True)
        self.looked_at_s: float | None = None  # on the monotonic clock: when the queue was last looked at

    def start(self) -> None:
        """Begin to watch the queue."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now: a task was submitted, or a process has ended."""
        self._wake.set()

    def stop(self) -> None:
        """Begin no more tasks. Those that run go on, in their own processes.

        A ledger that is away does not hold the end up: the process that waits ends when this one does.
        """
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOPS_WITHIN_S)
        if self._spare is not None and not self._thread.is_alive():
            os.close(self._spare.stdin)
            self._spare = None

    def count_busy(self) -> int:
        """Count the processes that carry out tasks. For those who stopped this executor, and wait for them."""
        self._busy = [process for process in self._busy if not proc.has_ended(process)]
        return len(self._busy)

    def why_not_ready(self) -> str | None:
        """Say why no tasks are begun, if so."""
        if self.looked_at_s is None:
            return "the queue was not looked at yet"
        silent_s = time.monotonic() - self.looked_at_s
        return f"the queue was looked at {silent_s:.0f} s ago" if silent_s > 20 * LOOK_EVERY_S else None

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                self._look()
                self.looked_at_s = time.monotonic()
            except HarnessError as error:
                _log.warning("the queue was not looked at: %s", error)
            except Exception:
                _log.exception("our fault: the queue was not looked at")
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()

    def _look(self) -> None:
        self.count_busy()
        if self._spare is not None and proc.has_ended(self._spare.process):
            _log.warning("a process that waited for a task has ended; see %s", self._log_file)
            os.close(self._spare.stdin)
            self._spare = None
        for _ in range(self._count_to_begin()):
            self._begin()
        if self._spare is None:
            self._spare = self._make_process()

    def _count_to_begin(self) -> int:
        """Count the processes that are to take a task now: some that were told to, and load, have none yet."""
        self._without_task &= {*self._busy}
        if self._without_task:
            self._without_task -= self._queue.find_processes_here()
        claimable = self._queue.count_claimable(self._limits) - len(self._without_task)
        return max(0, min(claimable, self._limits.tasks - len(self._busy)))

    def _begin(self) -> None:
        """Let the process that waits take a task. One that has just ended takes none, and the next look sees that."""
        waiting = self._spare or self._make_process()
        self._spare = None
        with suppress(BrokenPipeError):
            os.write(waiting.stdin, GO)
        os.close(waiting.stdin)
        self._busy.append(waiting.process)
        self._without_task.add(waiting.process)

    def _make_process(self) -> "_WaitingProcess":
        """Start a process that waits for a task. It has a session of its own: signals to the service miss it."""
        read, write = os.pipe()
        try:
            process = proc.spawn(self._argv, log=self._log_file, env=self._environ, cwd=Path("/"), stdin=read)
        except BaseException:
            os.close(write)
            raise
        finally:
            os.close(read)
        process_ends.watch_end(process, self.wake)
        return _WaitingProcess(process=process, stdin=write)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WaitingProcess:
    """A process that waits for a task, and the end of the pipe that tells it to begin."""

    process: proc.ProcessId
    stdin: int
