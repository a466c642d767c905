"""End a process of the device with its parent or with a watched process, and set its scheduling."""

import contextlib
import ctypes
import os
import signal
from pathlib import Path
from typing import Any

from ena_device.device_errors import DeviceSetupError

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_TIMERSLACK = 29
_START_TIME_FIELD = 22  # proc_pid_stat(5), in clock ticks after boot
_libc: Any = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process as soon as its parent ends; exit at once if the parent has already ended."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise DeviceSetupError(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        os._exit(0)


def raise_priority() -> None:
    """Let this process wake up on time, and before a guest on the same core. Only for a process that sleeps often.

    Without the privilege (CAP_SYS_NICE) it keeps ordinary priority: its answers are correct, but sometimes late.
    """
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # in ns; 50 us by default
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def move_to_other_core() -> None:
    """Continue on another core, if there is one: the kernel does not move a real-time process by itself."""
    allowed = os.sched_getaffinity(0)
    other_cores = allowed - {_libc.sched_getcpu()}
    if other_cores:
        os.sched_setaffinity(0, other_cores)
        os.sched_setaffinity(0, allowed)


def start_ticks(pid: int) -> int:
    """Read a process's start time in clock ticks after boot. Raises DeviceSetupError when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise DeviceSetupError(f"no process {pid} to end with") from e
    after_name = stat.rpartition(")")[2].split()  # the name may hold blanks and brackets; field 3 comes first here
    return int(after_name[_START_TIME_FIELD - 3])


class WatchedProcess:
    """A process whose end also ends the device: a pidfd, which becomes readable when exactly that process ends."""

    def __init__(self, pid: int) -> None:
        """Raises DeviceSetupError when there is no such process."""
        self.pid = pid
        self.start_ticks = start_ticks(pid)
        try:
            self._fd = os.pidfd_open(pid)
        except OSError as e:
            raise DeviceSetupError(f"no process {pid} to end with: {e.strerror}") from e
        if start_ticks(pid) != self.start_ticks:  # the number went to another process in between
            self.close()
            raise DeviceSetupError(f"process {pid} ended just now")

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def kill_child(pid: int) -> None:
    """Kill a child process and reap it; a child that is already gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
