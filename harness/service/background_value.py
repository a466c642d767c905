"""Look at something that may hang, such as a database: never in the thread of a request, and never twice at once."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Generic[Value]):
    """A look at a value: the latest value and its age, s; both None before the first look has ended.

    `error`: that of the latest look, if it failed. `pending_s`: since when a look is under way, s; None without one.
    """

    value: Value | None
    age_s: float | None
    error: Exception | None
    pending_s: float | None


class BackgroundValue(Generic[Value]):
    """A value that is looked at when somebody asks and it is older than `fresh_s`. Threads share it."""

    def __init__(self, name: str, look: Callable[[], Value], *, fresh_s: float) -> None:
        self._name, self._look, self._fresh_s = name, look, fresh_s
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._error: Exception | None = None
        self._looked_at_s: float | None = None
        self._begun_s: float | None = None
        self.ended = threading.Event()  # set while no look is under way

    def refresh(self) -> None:
        """Begin a look in a thread of its own, unless one is under way or the value is fresh. Returns at once."""
        with self._lock:
            now = time.monotonic()
            fresh = self._looked_at_s is not None and now - self._looked_at_s < self._fresh_s
            if fresh or self._begun_s is not None:
                return
            self._begun_s = now
            self.ended.clear()
        threading.Thread(target=self._do, name=f"look at {self._name}", daemon=True).start()

    def read(self) -> Look[Value]:
        """Return what is known now. Returns at once."""
        with self._lock:
            now = time.monotonic()
            return Look(
                value=self._value,
                age_s=None if self._looked_at_s is None else now - self._looked_at_s,
                error=self._error,
                pending_s=None if self._begun_s is None else now - self._begun_s,
            )

    def read_fresh(self, *, within_s: float) -> Look[Value]:
        """Begin a look if need be, wait for its end for so long at most, and return what is known then."""
        self.refresh()
        self.ended.wait(within_s)
        return self.read()

    def _do(self) -> None:
        value, error = None, None
        try:
            value = self._look()
        except Exception as failed:
            error = failed
        with self._lock:
            if error is None:
                self._value = value
            self._error, self._looked_at_s, self._begun_s = error, time.monotonic(), None
            self.ended.set()
