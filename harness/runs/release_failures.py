"""What failed while hosts were released and books were closed? Noted, so that the rest is done all the same.

Whatever cannot be judged, written or booked, each host is released and each run gets its report, which names it.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from harness.benches.bench import Bench
from harness.errors import CleanupError, SetupError
from harness.model import Token
from harness.untrusted.plain_text import bounded

T = TypeVar("T")


class ReleaseFailures:
    """Does what must not keep the next step from being done. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: list[str] = []

    @property
    def noted(self) -> tuple[str, ...]:
        """One sentence for each."""
        with self._lock:
            return tuple(self._noted)

    def attempt(self, what: str, action: Callable[..., T], *arguments: Any) -> T | None:
        """What the action returns; None, and a note, where it raises. A request to end this process goes on."""
        try:
            return action(*arguments)
        except Exception as error:
            self.note(what, error)
            return None

    def release(self, bench: Bench, token: Token) -> str | None:
        """Have the bench remove a host; None when it is gone, else why it may not be. Whatever the bench raises."""
        try:
            bench.release(token)
        except CleanupError as error:  # what is left is named in the run's record
            return str(error)
        except Exception as error:
            self.note(f"releasing {token}", error)
            return f"{type(error).__name__}: {error}"
        return None

    def note(self, what: str, error: BaseException) -> None:
        """Remember what could not be done, and why."""
        with self._lock:
            self._noted.append(bounded(f"{what}: {type(error).__name__}: {error}"))

    def raise_noted(self) -> None:
        """Raises SetupError that names all that was noted, if anything was."""
        if noted := self.noted:
            raise SetupError("; ".join(noted), next_step="see whether the disk is full; then do it again")
