"""Who holds a stack's lock, and does it live? The engine leaves its lock behind when it is killed."""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.system import proc

_SLACK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StackLock:
    """One lock file of a backend that is made of files, as the engine wrote it (pkg/backend/diy/lock.go)."""

    path: Path
    pid: int
    host: str
    user: str
    taken: datetime

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    def held(self) -> bool:
        """Whether its process still runs. One of another host is taken to; a process begun later is another's."""
        if not self.here:
            return True
        process = proc.identify(self.pid)
        return process is not None and proc.started_s(process) <= self.taken.timestamp() + _SLACK_S

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.taken.isoformat(timespec='seconds')}"


def read_locks(backend: Path, project: str, stack: str) -> list[StackLock]:
    """The locks on one stack. A file that the engine had not finished writing is nobody's: it is removed."""
    found = []
    for path in sorted((backend / ".pulumi/locks").glob(f"*/{project}/{stack}/*.json")):
        try:
            told = json.loads(path.read_text())
            taken = datetime.fromisoformat(_microseconds(told["timestamp"]))
            found.append(
                StackLock(path=path, pid=int(told["pid"]), host=told["hostname"], user=told["username"], taken=taken)
            )
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            remove(path)
    return found


def remove(path: Path) -> None:
    """A lock and what the backend keeps beside it."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".attrs").unlink(missing_ok=True)


def _microseconds(text: str) -> str:
    """Go writes nanoseconds and cuts zeros; Python reads three or six digits."""
    whole, dot, rest = text.replace("Z", "+00:00").partition(".")
    if not dot:
        return whole
    digits = rest[: next((i for i, letter in enumerate(rest) if not letter.isdigit()), len(rest))]
    return f"{whole}.{digits[:6]:0<6}{rest[len(digits) :]}"
