"""Let one process at a time do something, by a lock on a file. The lock ends with its process."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, label: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Lock a file for as long as the context lasts, against other processes and other threads.

    `label` names the work that the lock allows, in the message of a process that waits.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{label}: another run is at it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
