"""Read what the kernel tells of a process: the files of /proc/PID (proc(5))."""

from pathlib import Path


def read_session(pid: int) -> int | None:
    """Read the session of a process, field 6 of /proc/PID/stat; None for a process that has ended or is a zombie."""
    fields = read_stat_fields(pid)
    return None if fields is None else int(fields[3])


def read_stat_fields(pid: int) -> list[str] | None:
    """Read the fields of /proc/PID/stat from the third on; None for a process that has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
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

    None for a process that has ended or is a zombie.
    """
    fields = read_stat_fields(pid)
    return None if fields is None else int(fields[19])
