"""Call the ledger, which blocks, from the event loop: in one thread, the most urgent call first, with a deadline each.

A call that passed its deadline goes on in the thread, and its result is dropped: who asked goes on without it. A call
that has not begun by then is not made at all. While the ledger is away only heartbeats ask it: the circuit is open, and
each heartbeat tries whether it closes.
"""

import asyncio
import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from harness.errors import ConflictError, HarnessError, SetupError
from harness.watch.circuit_breaker import CircuitState

Result = TypeVar("Result")


class Urgency(IntEnum):
    """The urgency of a call: a smaller number goes first."""

    HEARTBEAT = 0
    STATES = 1
    LIVE = 2
    REPLAY = 3
    END = 9


class LedgerSilentError(SetupError):
    """A call of the ledger that did not end in time, or was not made since the ledger is away."""


@dataclass(order=True, slots=True)
class _Call:
    urgency: int
    number: int
    work: Callable[[], Any] = field(compare=False)
    future: "asyncio.Future[Any]" = field(compare=False)


class LedgerCalls:
    """The thread. `away_since_s`: since when the ledger has been away, on the loop's clock; None while it answers."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._loop, self._now = asyncio.get_running_loop(), now
        self._queue: queue.PriorityQueue[_Call] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self.away_since_s: float | None = None
        self.failures: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._trying = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    @property
    def state(self) -> CircuitState:
        """Whether calls are made; half-open while a heartbeat tries a ledger that was away."""
        if self.away_since_s is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self._trying else CircuitState.OPEN

    async def call(self, work: Callable[[], Result], *, urgency: Urgency, within_s: float) -> Result:
        """Make a call. Raises what it raises, and LedgerSilentError past the deadline, or while the circuit is open."""
        if self.away_since_s is not None and urgency is not Urgency.HEARTBEAT:
            raise LedgerSilentError("the ledger is away")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(_Call(urgency, next(self._numbers), work, future))
        self._trying = self._trying or urgency is Urgency.HEARTBEAT
        try:
            async with asyncio.timeout(within_s):
                result = await future
        except TimeoutError as error:
            self._note("no answer in time")
            raise LedgerSilentError(f"the ledger did not answer within {within_s:g} s") from error
        except ConflictError:
            raise
        except HarnessError as error:
            self._note(type(error).__name__)
            raise
        finally:
            self._trying = False
        if urgency is Urgency.HEARTBEAT:
            self.away_since_s = None
        return result

    def _note(self, cause: str) -> None:
        self.failures[cause] += 1
        if self.away_since_s is None:
            self.away_since_s = self._now()

    async def end(self, within_s: float) -> None:
        """End the thread after the calls that wait; one that hangs in the ledger is left behind."""
        self._queue.put(_Call(Urgency.END, next(self._numbers), lambda: None, self._loop.create_future()))
        give_up_at = self._now() + within_s
        while self._thread.is_alive() and self._now() < give_up_at:
            await asyncio.sleep(0.02)

    def _work(self) -> None:
        while True:
            call = self._queue.get()
            if call.urgency == Urgency.END:
                return
            if call.future.cancelled():
                continue
            begun = time.monotonic()
            try:
                result, error = call.work(), None
            except BaseException as raised:
                result, error = None, raised
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            try:
                self._loop.call_soon_threadsafe(_settle, call.future, result, error)
            except RuntimeError:  # the loop is closed
                return


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
