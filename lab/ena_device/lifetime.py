"""When does a process of the device end? With its parent, with the guest it serves, or never before."""

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
    """Let the kernel kill this process as soon as its parent ends; end at once when it has already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise DeviceSetupError(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        os._exit(0)


def run_ahead() -> None:
    """Let this process wake up on time, and ahead of a guest on the same core. Only for one that rests often.

    Without the privilege (CAP_SYS_NICE) it stays at ordinary priority: its answers are right, but late at times.
    """
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # in ns; 50 us by default
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def change_core() -> None:
    """Go on on another core, where there is one: the kernel leaves a real-time process where it is."""
    allowed = os.sched_getaffinity(0)
    others = allowed - {_libc.sched_getcpu()}
    if others:
        os.sched_setaffinity(0, others)
        os.sched_setaffinity(0, allowed)


def start_ticks(pid: int) -> int:
    """When the process started. Raises DeviceSetupError when there is none of this number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise DeviceSetupError(f"no process {pid} to end with") from e
    after_name = stat.rpartition(")")[2].split()  # the name may hold blanks and brackets; field 3 comes first here
    return int(after_name[_START_TIME_FIELD - 3])


class Watched:
    """A process whose end is ours: holds a pidfd, which becomes readable when that process ends and no other."""

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
    """End a child of ours and collect it; one that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
