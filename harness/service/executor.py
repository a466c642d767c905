"""Begin tasks, each in a process of its own, so that the end of the service touches none.

A process that waits for its task is always ready, since a new one takes half a second to load. What a task needs is in
the ledger; the process finds it there, and goes on with the run of a task whose process died.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from harness.errors import HarnessError
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue

LOOK_EVERY_S = 1.0
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
        self._argv = [sys.executable, "-m", "harness", "work", "--next", *flags]
        self._wake, self._ending = threading.Event(), threading.Event()
        self._spare: subprocess.Popen[bytes] | None = None
        self._busy: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._watch, name="executor", daemon=True)
        self.looked_at_s: float | None = None  # on the monotonic clock: when the queue was last looked at

    def start(self) -> None:
        """Begin to watch the queue."""
        self._log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now: a task was submitted."""
        self._wake.set()

    def stop(self) -> None:
        """Begin no more tasks. Those that run go on, in their own processes."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._spare is not None:
            _close_input(self._spare)
            self._spare = None

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
        self._busy = [process for process in self._busy if process.poll() is None]
        if self._spare is not None and self._spare.poll() is not None:
            _log.warning(
                "a process that waited for a task ended with %s; see %s", self._spare.returncode, self._log_file
            )
            self._spare = None
        room = self._limits.tasks - len(self._busy)
        for _ in range(min(room, self._queue.count_claimable(self._limits)) if room > 0 else 0):
            if not self._begin():
                return
        if self._spare is None:
            self._spare = self._make_process()

    def _begin(self) -> bool:
        """Let the process that waits take a task; return whether there was one."""
        process = self._spare or self._make_process()
        self._spare = None
        assert process.stdin is not None
        try:
            process.stdin.write(GO)
            process.stdin.close()
        except OSError as error:
            _log.warning("a process that waited for a task was gone: %s", error)
            return False
        self._busy.append(process)
        return True

    def _make_process(self) -> subprocess.Popen[bytes]:
        """Start a process that waits for a task. It has a session of its own: signals to the service miss it."""
        with self._log_file.open("ab") as log:
            return _popen(self._argv, log, self._environ)


def _popen(argv: Sequence[str], log: IO[bytes], environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=log, stderr=log, env=dict(environ), start_new_session=True, cwd="/"
    )


def _close_input(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
