"""Find the running processes of each folder of the lab, by tags in their environment.

Every process that the lab starts has its folder in its environment. The kernel shows the environment in
/proc/PID/environ from exec on. So no process is lost when its parent is killed before recording the process id.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.benches.lab.processes import confinement
from harness.system import proc, proc_files
from harness.system.proc import ProcessId

FOLDER, ROLE, TOKEN = (f"PTP_HARNESS_LAB_{name}" for name in ("FOLDER", "ROLE", "TOKEN"))
GUEST = "guest"
_SETTLE_S = 0.1  # longer than a child of a killed parent needs from fork to exec


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedProcess:
    """A running process of the lab with its tags."""

    process: ProcessId
    folder: Path
    role: str
    token: str


def environment(folder: Path, role: str, token: str = "") -> Mapping[str, str]:
    """Make the tags: environment variables for a process that works for `folder`."""
    return {FOLDER: str(folder), ROLE: role, TOKEN: token}


def running_processes(condition: Callable[[TaggedProcess], bool] = lambda _: True) -> list[TaggedProcess]:
    """Find tagged processes that meet a condition, of lab users alone: other users' tags cannot be trusted by root."""
    candidates = (_read_tags(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [tagged for tagged in candidates if tagged is not None and condition(tagged)]


def processes_of_folder(folder: Path) -> list[TaggedProcess]:
    """Find the processes that work for this folder."""
    return running_processes(lambda tagged: tagged.folder == folder)


def end_all(folder: Path) -> list[TaggedProcess]:
    """End all processes of a folder until two searches in a row find none; return the processes that survive."""
    empty_searches, tries = 0, 0
    while empty_searches < 2:
        remaining = processes_of_folder(folder)
        empty_searches = 0 if remaining else empty_searches + 1
        tries += 1
        if remaining and tries > 20:
            return remaining
        for tagged in remaining:
            proc.end(tagged.process, grace_s=2.0)
            if tagged.process.alive():  # not a group's leader: only a signal to its own id reaches it
                os.kill(tagged.process.pid, signal.SIGKILL)
        time.sleep(_SETTLE_S)
    return []


def _read_tags(pid: int) -> TaggedProcess | None:
    process = proc.identify(pid)
    try:
        if not _is_ours(pid):
            return None
    except OSError:
        return None
    entries = proc_files.read_environment(pid)
    variables = dict(entry.decode(errors="replace").split("=", 1) for entry in entries if b"=" in entry)
    if process is None or FOLDER not in variables or pid == os.getpid():
        return None
    return TaggedProcess(
        process=process,
        folder=Path(variables[FOLDER]),
        role=variables.get(ROLE, ""),
        token=variables.get(TOKEN, ""),
    )


def _is_ours(pid: int) -> bool:
    """Tell whether this user or a guest of this lab started a process, by the real user id in /proc/PID/status.

    The owner of /proc/PID is root for a process that hides its memory (PR_SET_DUMPABLE of prctl(2)), and the other ids
    change in a setuid program.
    """
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return confinement.is_lab_uid(int(line.split()[1]))
