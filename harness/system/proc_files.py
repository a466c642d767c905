"""Read what the kernel tells of a process: the files of /proc/PID (proc(5))."""

import os
from pathlib import Path


def read_session(pid: int) -> int | None:
    """Read the session of a process, field 6 of /proc/PID/stat; None for a process that has ended or is a zombie."""
    fields = read_stat_fields(pid)
    return None if fields is None else int(fields[3])


def read_stat_fields(pid: int) -> list[str] | None:
    """Read the fields of /proc/PID/stat from the third on.

    None for a process that has ended, is a zombie, or is hidden.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return None if fields[0] in "ZX" else fields


def read_environment(pid: int) -> list[bytes]:
    """Read the variables that a process was started with; none where they cannot be read."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def read_start_ticks(pid: int) -> int | None:
    """Read the start of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc_pid_stat(5)).

    None for a process that has ended, is a zombie, or is hidden.
    """
    fields = read_stat_fields(pid)
    return None if fields is None else int(fields[19])


def is_hidden(pid: int) -> bool:
    """Whether there is a process of which the kernel shows us nothing (`hidepid`, proc(5)): that of another user."""
    path = Path(f"/proc/{pid}")
    if path.exists():
        return not os.access(path / "stat", os.R_OK)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not path.exists()
