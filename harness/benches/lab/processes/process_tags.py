"""Which running processes belong to which folder of the lab? A mark in their environment tells, from the first moment.

Every process that the lab starts is given the folder that it works for. The kernel shows it in /proc/PID/environ from
exec on, so there is no gap between starting a process and recording its number in which kill -9 could hide it from us.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.benches.lab.processes import confinement
from harness.system import proc
from harness.system.proc import ProcessId

FOLDER, ROLE, TOKEN = (f"PTP_HARNESS_LAB_{name}" for name in ("FOLDER", "ROLE", "TOKEN"))
GUEST = "guest"
_SETTLE_S = 0.1  # longer than a child of a killed parent needs from fork to exec


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedProcess:
    """A running process of the lab."""

    process: ProcessId
    folder: Path
    role: str
    token: str


def environment(folder: Path, role: str, token: str = "") -> Mapping[str, str]:
    """What to add to the environment of a process that works for `folder`."""
    return {FOLDER: str(folder), ROLE: role, TOKEN: token}


def running_processes(wanted: Callable[[TaggedProcess], bool] = lambda _: True) -> list[TaggedProcess]:
    """The marked processes of this user that are wanted. Root could see all users': their marks are their own word."""
    found = (_marked(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [marked for marked in found if marked is not None and wanted(marked)]


def processes_of_folder(folder: Path) -> list[TaggedProcess]:
    """The processes that work for this folder."""
    return running_processes(lambda marked: marked.folder == folder)


def end_all(folder: Path) -> list[TaggedProcess]:
    """End every process of a folder, until two looks in a row find none; returns those that could not be ended."""
    clean_looks, tries = 0, 0
    while clean_looks < 2:
        found = processes_of_folder(folder)
        clean_looks = 0 if found else clean_looks + 1
        tries += 1
        if found and tries > 20:
            return found
        for marked in found:
            proc.end(marked.process, grace_s=2.0)
            if marked.process.alive():  # not the leader of a group: it is reached by its own number alone
                os.kill(marked.process.pid, signal.SIGKILL)
        time.sleep(_SETTLE_S)
    return []


def _marked(pid: int) -> TaggedProcess | None:
    process = proc.identify(pid)
    try:
        if not _ours(pid):
            return None
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = dict(word.decode(errors="replace").split("=", 1) for word in words if b"=" in word)
    if process is None or FOLDER not in found or pid == os.getpid():
        return None
    return TaggedProcess(
        process=process,
        folder=Path(found[FOLDER]),
        role=found.get(ROLE, ""),
        token=found.get(TOKEN, ""),
    )


def _ours(pid: int) -> bool:
    """Whether our user, or one of this lab's guests, started it: by the first of its ids in /proc/PID/status.

    The owner of /proc/PID is root's for whoever hides its memory (PR_SET_DUMPABLE of prctl(2)), and the other ids
    change in a program that is setuid.
    """
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return confinement.is_lab_uid(int(line.split()[1]))
