"""Limit the number of guests on this machine, over all processes; a lock keeps two from taking one slot.

A running guest is what occupies a slot. No separate record exists that a crash could leave wrong.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.benches.bench import CapacityError, Progress
from harness.benches.lab.processes import process_tags, runtime_dir
from harness.system import memory

WAIT_S = 900.0
_LOCK_FILE = "places.lock"  # the name that earlier versions lock too
_POLL_S = 1.0
_WORD_EVERY_S = 10.0  # also the longest delay of a stop, which `progress` raises as an exception
_BESIDE_GUEST_MIB = 256  # for QEMU itself, its device and the NTP server


@contextmanager
def guest_slot(*, most: int, memory_mib: int, progress: Progress, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold a free slot while a guest starts in this block. Raises CapacityError without a slot in time, or memory."""
    require_memory(memory_mib)
    with (runtime_dir.sockets_root() / _LOCK_FILE).open("w") as lock:
        _lock_once_free(lock.fileno(), most, progress, wait_s)
        require_memory(memory_mib)
        yield


def require_memory(memory_mib: int, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Check this machine's available memory. Raises CapacityError when it is too small for the guest."""
    needed_mib = memory_mib + _BESIDE_GUEST_MIB
    free_mib = memory.read_available_mib(meminfo)
    if needed_mib > free_mib:
        raise CapacityError(f"the guest needs {needed_mib} MiB of memory and this machine has {free_mib} MiB available")


def running_guests() -> list[process_tags.TaggedProcess]:
    """List the guests that run on this machine now."""
    return process_tags.running_processes(lambda tagged: tagged.role == process_tags.GUEST)


def slot_is_free(most: int) -> bool:
    """Tell whether fewer guests than `most` run now. Without the lock, the answer may be out of date at once."""
    return len(running_guests()) < most


def _try_to_lock(lock: int, most: int) -> bool:
    """Take the lock, and hold it if a slot is free. Return whether the lock is held."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    if slot_is_free(most):
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _lock_once_free(lock: int, most: int, progress: Progress, wait_s: float) -> None:
    """Wait for a free slot, and return with the lock held. Raises CapacityError when none becomes free in time."""
    begun_s, next_message_s = time.monotonic(), 0.0
    while not _try_to_lock(lock, most):
        waited_s = time.monotonic() - begun_s
        holders = ", ".join(sorted(guest.token for guest in running_guests()))
        if waited_s > wait_s:
            raise CapacityError(
                f"all {most} slots for lab guests stayed taken for {wait_s:.0f} s by {holders}",
                next_step="`ptp-harness lab list` and `ptp-harness lab down`, or set PTP_HARNESS_LAB_GUESTS",
            )
        if waited_s >= next_message_s:
            progress(f"waiting for one of {most} slots for guests, held by {holders}")
            next_message_s = waited_s + _WORD_EVERY_S
        time.sleep(_POLL_S)
