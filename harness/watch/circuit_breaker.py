"""Stop to ask what does not answer: a circuit breaker whose pauses grow and are drawn, and whose probes close it.

CLOSED: every call is made. OPEN: after some failures one after the other no call is made for a while, so that whoever
calls goes on with its other work, and what comes back is not met by all callers at once. HALF_OPEN: after the pause one
call at a time is a probe: some that succeed close the circuit, one that fails opens it for longer.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from harness.errors import SetupError

Result = TypeVar("Result")


class CircuitState(StrEnum):
    """Whether calls are made."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOptions:
    """When a circuit opens, and for how long.

    `failures`: so many one after the other open it. `probes`: so many that succeed one after the other close it.
    `pause_s`: the first pause, which doubles with each probe that fails, up to `longest_pause_s`; each is drawn from
    half of that to the whole.
    """

    failures: int = 3
    probes: int = 1
    pause_s: float = 1.0
    longest_pause_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSnapshot:
    """The state of a circuit. `failed`: calls that failed so far, by cause; `refused`: those that were not made."""

    state: CircuitState
    latest_cause: str | None
    failed: Mapping[str, int]
    refused: int
    opened: int
    next_probe_s: float


class CircuitOpenError(SetupError):
    """A call that was not made, since those before it failed."""


class CircuitBreaker:
    """A circuit around calls of one kind. Threads share it. `called`: what is called, for messages.

    `counts`: whether an error says that what is called is away; others pass, and count as an answer. `cause`: the name
    by which an error is counted. `now`: a monotonic clock, s; `draw`: from 0 to 1.
    """

    def __init__(
        self,
        called: str,
        options: CircuitOptions = CircuitOptions(),
        *,
        counts: Callable[[BaseException], bool] = lambda error: isinstance(error, SetupError),
        cause: Callable[[BaseException], str] = lambda error: type(error).__name__,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._called, self._options = called, options
        self._counts, self._cause, self._now, self._draw = counts, cause, now, draw
        self._lock = threading.Lock()
        self._state = CircuitState.CLOSED
        self._in_a_row = self._good_probes = self._refused = self._opened = self._pauses = 0
        self._failed: Counter[str] = Counter()
        self._latest_cause: str | None = None
        self._probe_at_s, self._probing = 0.0, False

    def call(self, function: Callable[[], Result]) -> Result:
        """Make a call. Raises CircuitOpenError where none is made now, and what the function raises."""
        self._enter()
        try:
            result = function()
        except BaseException as error:
            self._leave(error if self._counts(error) else None)
            raise
        self._leave(None)
        return result

    def snapshot(self) -> CircuitSnapshot:
        """Return what the circuit is doing."""
        with self._lock:
            return CircuitSnapshot(
                state=self._state,
                latest_cause=self._latest_cause,
                failed=dict(self._failed),
                refused=self._refused,
                opened=self._opened,
                next_probe_s=max(0.0, self._probe_at_s - self._now()) if self._state is CircuitState.OPEN else 0.0,
            )

    def _enter(self) -> None:
        with self._lock:
            if self._state is CircuitState.OPEN and self._now() >= self._probe_at_s:
                self._state, self._good_probes = CircuitState.HALF_OPEN, 0
            if self._state is CircuitState.CLOSED:
                return
            if self._state is CircuitState.OPEN or self._probing:
                self._refused += 1
                wait_s = max(0.0, self._probe_at_s - self._now())
                raise CircuitOpenError(
                    f"{self._called} is not asked for {wait_s:.1f} s: {self._latest_cause}, {self._in_a_row} times",
                    next_step="it goes on by itself once that answers",
                )
            self._probing = True

    def _leave(self, error: BaseException | None) -> None:
        with self._lock:
            probed, self._probing = self._state is CircuitState.HALF_OPEN and self._probing, False
            if error is None:
                self._in_a_row = 0
                self._good_probes += probed
                if not probed or self._good_probes >= self._options.probes:
                    self._state, self._pauses = CircuitState.CLOSED, 0
                return
            self._latest_cause = self._cause(error)
            self._failed[self._latest_cause] += 1
            self._in_a_row += 1
            if probed or self._in_a_row >= self._options.failures:
                self._open()

    def _open(self) -> None:
        pause_s = min(self._options.longest_pause_s, self._options.pause_s * 2.0 ** min(self._pauses, 30))
        self._state = CircuitState.OPEN
        self._opened += 1
        self._pauses += 1
        self._probe_at_s = self._now() + pause_s * (0.5 + 0.5 * self._draw())
