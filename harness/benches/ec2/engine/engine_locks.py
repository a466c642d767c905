"""Read a stack's locks, and tell whether their holders are alive. An engine that is killed leaves its lock behind."""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.system import proc

_SLACK_S = 2.0


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
        if not self.here:
            return True
        process = proc.identify(self.pid)
        return process is not None and proc.compute_start_s(process) <= self.acquired_at.timestamp() + _SLACK_S

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user} on {self.host}, since {self.acquired_at.isoformat(timespec='seconds')}"
        )


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
