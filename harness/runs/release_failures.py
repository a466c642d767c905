"""Note what failed while hosts were released and runs were closed, so that the remaining steps are still carried out.

Every host is released and every run gets its report, which names each failure to judge, write or record something.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from harness.benches.bench import Bench, Progress, ignore_progress
from harness.errors import CleanupError, SetupError
from harness.model import Token
from harness.store.owners import OwnershipLostError
from harness.untrusted.plain_text import bounded

T = TypeVar("T")


class ReleaseFailures:
    """Carries out steps whose failure must not prevent the next step. Threads share an instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: list[str] = []

    @property
    def noted(self) -> tuple[str, ...]:
        """A sentence for each failure."""
        with self._lock:
            return tuple(self._noted)

    def attempt(self, task: str, action: Callable[..., T], *arguments: Any) -> T | None:
        """Return the action's value; None, and note the error, if it raises.

        SystemExit and KeyboardInterrupt pass, and OwnershipLostError, after which nothing more may be done.
        """
        try:
            return action(*arguments)
        except OwnershipLostError:
            raise
        except Exception as error:
            self.note(task, error)
            return None

    def succeeds(self, task: str, action: Callable[..., object], *arguments: Any) -> bool:
        """Carry the action out as `attempt` does; return whether it raised nothing."""

        def carry_out() -> bool:
            action(*arguments)
            return True

        return self.attempt(task, carry_out) is True

    def release(self, bench: Bench, token: Token, progress: Progress = ignore_progress) -> str | None:
        """Have the bench remove a host. Return None when the host is gone, else why it may remain; raise nothing."""
        try:
            bench.release(token, progress)
        except CleanupError as error:  # what is left is named in the run's record
            return str(error)
        except Exception as error:
            self.note(f"releasing {token}", error)
            return f"{type(error).__name__}: {error}"
        return None

    def note(self, task: str, error: BaseException) -> None:
        """Note the task that failed, and why."""
        with self._lock:
            self._noted.append(_describe_failure(task, error))

    def note_once(self, task: str, error: BaseException) -> None:
        """Note a failure that may be repeated many times, unless an equal one was noted."""
        sentence = _describe_failure(task, error)
        with self._lock:
            if sentence not in self._noted:
                self._noted.append(sentence)

    def raise_noted(self) -> None:
        """Raise SetupError that names every failure, if there is any."""
        if noted := self.noted:
            raise SetupError("; ".join(noted), next_step="see whether the disk is full; then do it again")


def _describe_failure(task: str, error: BaseException) -> str:
    return bounded(f"{task}: {type(error).__name__}: {error}")
