"""Is there room for one more guest on this machine? Counted over all processes, and never taken by two at once.

A guest holds its place by running: places need no books, so a crash can neither lose one nor keep one.
"""

import fcntl
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.benches.bench import CapacityError, Progress
from harness.benches.lab.processes import process_tags, runtime_dir

WAIT_S = 900.0
_POLL_S = 1.0
_WORD_EVERY_S = 10.0  # also how soon somebody who wants to stop is heard, by an exception from `progress`
_BESIDE_GUEST_MIB = 256  # QEMU itself, its device and the NTP server


@contextmanager
def guest_slot(*, most: int, memory_mib: int, progress: Progress, wait_s: float = WAIT_S) -> Iterator[None]:
    """Start a guest inside this block. Raises CapacityError when no place comes free in time, or for want of memory."""
    require_memory(memory_mib)
    with (runtime_dir.sockets_root() / "places.lock").open("w") as lock:
        _wait(lambda: _free(lock.fileno(), most), most, progress, wait_s)
        require_memory(memory_mib)
        yield


def require_memory(memory_mib: int, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Raises CapacityError when this machine has not so much memory free."""
    needed_mib = memory_mib + _BESIDE_GUEST_MIB
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    free_mib = int(found[1]) // 1024 if found else 0
    if needed_mib > free_mib:
        raise CapacityError(f"the guest needs {needed_mib} MiB of memory and this machine has {free_mib} MiB available")


def running_guests() -> list[process_tags.TaggedProcess]:
    """The guests that run on this machine now."""
    return process_tags.running_processes(lambda marked: marked.role == process_tags.GUEST)


def _free(lock: int, most: int) -> bool:
    """Whether a place is free; if so, the lock is ours."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    if len(running_guests()) < most:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _wait(free: Callable[[], bool], most: int, progress: Progress, wait_s: float) -> None:
    begun, next_word_s = time.monotonic(), 0.0
    while not free():
        waited_s = time.monotonic() - begun
        holders = ", ".join(sorted(guest.token for guest in running_guests()))
        if waited_s > wait_s:
            raise CapacityError(
                f"all {most} places for lab guests stayed taken for {wait_s:.0f} s by {holders}",
                next_step="`ptp-harness lab list` and `ptp-harness lab down`, or set PTP_HARNESS_LAB_GUESTS",
            )
        if waited_s >= next_word_s:
            progress(f"waiting for one of {most} places for guests, held by {holders}")
            next_word_s = waited_s + _WORD_EVERY_S
        time.sleep(_POLL_S)
