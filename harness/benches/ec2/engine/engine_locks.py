"""Read a stack's locks, and tell whether their holders are alive. An engine that is killed leaves its lock behind.

An engine also outlives the process that started it, for a while or for good; OWNER in its environment names that
process, so that another one can end such an orphan.
"""

import json
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.ec2.engine.resource_failures import LockedError
from harness.system import proc, proc_files

OWNER = "PTP_HARNESS_ENGINE_OWNER"
"""The variable of engines that names the process that started them: PID:START, its start in clock ticks since boot."""

_SLACK_S = 2.0
_TELL_EACH_S, _LOOK_EACH_S = 10.0, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class StackLock:
    """A lock file of a file backend, as the engine wrote it (pkg/backend/diy/lock.go)."""

    path: Path
    pid: int
    host: str
    user: str
    acquired_at: datetime

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    def held(self) -> bool:
        """Return whether the lock's process still runs. A lock of another host counts as held.

        A process with this id that started after the lock was taken is a different process.
        """
        return not self.here or self.find_holder() is not None

    def find_holder(self) -> proc.ProcessId | None:
        """Find the process of this machine that holds the lock; None when it has ended."""
        process = proc.identify(self.pid)
        if process is None or proc.compute_start_s(process) > self.acquired_at.timestamp() + _SLACK_S:
            return None
        return process

    def find_orphan(self) -> proc.ProcessId | None:
        """Find the engine that holds the lock, if the process that started it has ended. None if that is not known."""
        holder = self.find_holder() if self.here else None
        owner = None if holder is None else _read_owner(holder)
        return holder if owner is not None and not owner.alive() else None

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user} on {self.host}, since {self.acquired_at.isoformat(timespec='seconds')}"
        )


def name_owner() -> dict[str, str]:
    """Name this process as the owner of the engines that it starts, for their environment."""
    process = proc.own_process()
    return {OWNER: f"{process.pid}:{process.start_ticks}"}


def _read_owner(engine: proc.ProcessId) -> proc.ProcessId | None:
    prefix = f"{OWNER}=".encode()
    for variable in proc_files.read_environment(engine.pid):
        pid, _, ticks = variable.removeprefix(prefix).decode(errors="replace").partition(":")
        if variable.startswith(prefix) and pid.isdecimal() and ticks.isdecimal():
            return proc.ProcessId(pid=int(pid), start_ticks=int(ticks))
    return None


def read_locks(backend: Path, project: str, stack: str) -> list[StackLock]:
    """Return the locks on a stack. An incomplete lock file, which the engine did not finish writing, is removed."""
    locks = []
    for path in sorted((backend / ".pulumi/locks").glob(f"*/{project}/{stack}/*.json")):
        try:
            document = json.loads(path.read_text())
            acquired_at = datetime.fromisoformat(_cut_to_microseconds(document["timestamp"]))
            locks.append(
                StackLock(
                    path=path,
                    pid=int(document["pid"]),
                    host=document["hostname"],
                    user=document["username"],
                    acquired_at=acquired_at,
                )
            )
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            remove(path)
    return locks


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPatience:
    """How long to wait for the holder of a lock, s: for another operation, and for an engine whose owner has ended."""

    others_s: float
    orphans_s: float


def release_locks(backend: Path, project: str, stack: str, patience: LockPatience, progress: Progress) -> None:
    """Remove the locks of processes that have ended, and wait for those that have not.

    An engine whose owner has ended is killed when it does not end by itself. Raises LockedError for the engine of a
    living process, and of another machine.
    """
    begun_s = told_s = time.monotonic()
    while lock := _remove_dead_locks(backend, project, stack):
        orphan, now_s = lock.find_orphan(), time.monotonic()
        left_s = begun_s + (patience.others_s if orphan is None else patience.orphans_s) - now_s
        if left_s <= 0 and orphan is not None:
            progress(f"killing Pulumi's engine, {lock}: the run that started it has ended")
            if (session := proc.find_session(orphan)) is not None:
                proc.end_session(session)  # its worker and plugins too
            begun_s = now_s
        elif left_s <= 0 or not lock.here:
            raise LockedError(
                f"stack {stack} is locked by {lock}, which still runs",
                next_step="wait for it or end it; if that machine is gone for good: `pulumi cancel`",
            )
        elif now_s >= told_s:
            told_s = now_s + _TELL_EACH_S
            whose = "another operation on the stack" if orphan is None else "Pulumi's engine of a run that has ended"
            progress(f"waiting up to {left_s:.0f} s for {whose}: {lock}")
        time.sleep(_LOOK_EACH_S)


def _remove_dead_locks(backend: Path, project: str, stack: str) -> StackLock | None:
    """Remove the locks of processes that have ended; return a lock whose holder has not, if there is one."""
    held = None
    for lock in read_locks(backend, project, stack):
        if lock.held():
            held = held or lock
        else:
            remove(lock.path)
    return held


def remove(path: Path) -> None:
    """Remove a lock, and the file that the backend keeps beside it."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".attrs").unlink(missing_ok=True)


def _cut_to_microseconds(text: str) -> str:
    """Reduce a time to microseconds: Go writes nanoseconds without trailing zeros; Python reads three or six digits."""
    whole, dot, fraction = text.replace("Z", "+00:00").partition(".")
    if not dot:
        return whole
    digits = fraction[
        : next((index for index, character in enumerate(fraction) if not character.isdigit()), len(fraction))
    ]
    return f"{whole}.{digits[:6]:0<6}{fraction[len(digits) :]}"
