"""Hear at once that a process has ended."""

import os
import select
import threading
from collections.abc import Callable

from harness.system.proc import ProcessId


def watch_end(process: ProcessId, tell: Callable[[], object]) -> None:
    """Call `tell` once a program of `spawn` ends, in a thread of its own. A kernel without pidfds never calls it."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        tell()
        return
    except OSError:  # an old kernel, or a container that forbids it
        return

    def wait() -> None:
        try:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll()
        finally:
            os.close(descriptor)
        tell()

    threading.Thread(target=wait, name=f"end of process {process.pid}", daemon=True).start()
