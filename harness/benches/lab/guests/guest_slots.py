"""Limit the number of guests on this machine, over all processes; a lock keeps two from taking one slot.

A running guest is what occupies a slot. No separate record exists that a crash could leave wrong.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.benches.bench import CapacityError, Progress
from harness.benches.lab.processes import process_tags, runtime_dir
from harness.system import memory

WAIT_S = 900.0
_POLL_S = 1.0
_WORD_EVERY_S = 10.0  # also the longest delay of a stop, which `progress` raises as an exception
_BESIDE_GUEST_MIB = 256  # for QEMU itself, its device and the NTP server


@contextmanager
def guest_slot(*, most: int, memory_mib: int, progress: Progress, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold a free slot while a guest starts in this block. Raises CapacityError without a slot in time, or memory."""
    require_memory(memory_mib)
    with (runtime_dir.sockets_root() / "places.lock").open("w") as lock:
        _wait(lambda: _free(lock.fileno(), most), most, progress, wait_s)
        require_memory(memory_mib)
        yield


def require_memory(memory_mib: int, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Check this machine's available memory. Raises CapacityError when it is too small for the guest."""
    needed_mib = memory_mib + _BESIDE_GUEST_MIB
    free_mib = memory.available_mib(meminfo)
    if needed_mib > free_mib:
        raise CapacityError(f"the guest needs {needed_mib} MiB of memory and this machine has {free_mib} MiB available")


def running_guests() -> list[process_tags.TaggedProcess]:
    """List the guests that run on this machine now."""
    return process_tags.running_processes(lambda tagged: tagged.role == process_tags.GUEST)


def _free(lock: int, most: int) -> bool:
    """Lock and tell whether a slot is free; if none is, unlock."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    if len(running_guests()) < most:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _wait(free: Callable[[], bool], most: int, progress: Progress, wait_s: float) -> None:
    begun_s, next_message_s = time.monotonic(), 0.0
    while not free():
        waited_s = time.monotonic() - begun_s
        holders = ", ".join(sorted(guest.token for guest in running_guests()))
        if waited_s > wait_s:
            raise CapacityError(
                f"all {most} places for lab guests stayed taken for {wait_s:.0f} s by {holders}",
                next_step="`ptp-harness lab list` and `ptp-harness lab down`, or set PTP_HARNESS_LAB_GUESTS",
            )
        if waited_s >= next_message_s:
            progress(f"waiting for one of {most} places for guests, held by {holders}")
            next_message_s = waited_s + _WORD_EVERY_S
        time.sleep(_POLL_S)
