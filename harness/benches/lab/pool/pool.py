"""Keep warm guests and hand them out in the order of requests. `pool_state` decides; the threads here act.

A GuestSource makes, checks and removes guests. Each guest is handed out at most once and then removed.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from harness.benches.bench import BenchError, CapacityError, Progress
from harness.benches.lab.pool.pool_state import (
    Action,
    CheckGuest,
    MakeGuest,
    Pause,
    PoolRules,
    PoolState,
    RemoveGuest,
    has_given_up,
    next_action,
)
from harness.errors import CleanupError, HarnessError

G = TypeVar("G")


class GuestSource(Protocol[G]):
    """Makes, checks and removes the guests of a pool."""

    def make(self, number: int, progress: Progress) -> G:
        """Make a guest; on failure leave nothing behind. An exception from `progress` ends the work early."""

    def answers(self, guest: G) -> bool:
        """Tell within two seconds whether the guest works. May raise HarnessError when it does not."""

    def prepare_for_client(self, guest: G) -> bool:
        """Check the guest and prepare it for its client. Called once, directly before the guest is handed out."""

    def remove(self, guest: G) -> None:
        """Remove the guest, and verify the removal. Raises CleanupError."""


class PoolClosed(BenchError):
    """The pool is closed and hands out no more guests."""

    def __init__(self) -> None:
        super().__init__("the pool of warm guests is shut down", next_step="open another one")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGuest(Generic[G]):
    """A guest that was handed out."""

    number: int
    guest: G


class WarmPool(Generic[G]):
    """A pool of guests that wait to be handed out. A context manager, which removes the waiting guests at its end.

    The threads are daemons, so a program that does not close the pool can end; `sweep` then finds the pool's guests.
    """

    def __init__(
        self,
        rules: PoolRules,
        source: GuestSource[G],
        *,
        progress: Progress = lambda line: None,
        now: Callable[[], float] = time.monotonic,
        makers: int = 1,
    ) -> None:
        self._rules, self._source, self._progress, self._now = rules, source, progress, now
        self._state = PoolState()
        self._guests: dict[int, G] = {}
        self._changed = threading.Condition()
        self._tickets, self._numbers = itertools.count(1), itertools.count(1)
        self._refused: dict[int, BenchError] = {}
        self._unremoved: list[str] = []
        self._closed = False
        self._keepers = [threading.Thread(target=self._keep, name="warm-pool", daemon=True) for _ in range(makers)]

    def __enter__(self) -> "WarmPool[G]":
        for keeper in self._keepers:
            keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> PoolState:
        """The present state of the pool."""
        with self._changed:
            return self._state

    # -- for clients

    @contextmanager
    def guest(self, *, timeout_s: float) -> Iterator[G]:
        """Hold a guest for the duration of this block."""
        held = self.acquire(timeout_s=timeout_s)
        try:
            yield held.guest
        finally:
            self.release(held)

    def acquire(self, *, timeout_s: float) -> HeldGuest[G]:
        """Hand out the oldest warm guest, after a check. Earlier requests are served first.

        Raises CapacityError when no guest comes free in time, PoolClosed, and BenchError when no guest comes up.
        """
        give_up_s = self._now() + timeout_s
        with self._changed:
            ticket = next(self._tickets)
        while True:
            number, guest = self._wait_for_turn(ticket, give_up_s, timeout_s)
            try:
                answers = _answers_well(self._source.prepare_for_client, guest)
            except BaseException:  # such as an interrupt: no client holds this guest
                self._discard_unresponsive(number)
                raise
            if answers:
                return HeldGuest(number=number, guest=guest)
            self._progress(f"guest {number} does not answer: another one is handed out")
            self._discard_unresponsive(number)

    def release(self, held: HeldGuest[G]) -> None:
        """Remove a guest that was handed out, also after close(). Idempotent. Raises CleanupError."""
        with self._changed:
            if held.number not in self._state.in_use:
                return
            self._note(self._state.after_return(held.number))
        try:
            self._source.remove(self._guests[held.number])
        finally:
            self._forget(held.number)

    def close(self) -> None:
        """Stop handing out, wake waiting clients, end the threads, remove the warm guests. Raises CleanupError.

        Guests that are handed out stay with their clients, who release them as usual.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for keeper in self._keepers:
            if keeper.is_alive():
                keeper.join()
        with self._changed:
            numbers = [*(warm.number for warm in self._state.warm), *self._state.unresponsive]
        for number in numbers:
            self._discard(number, "the pool is shut down")
        if self._unremoved:
            remaining, self._unremoved = self._unremoved, []
            raise CleanupError(remaining, next_step="`ptp-harness sweep --yes`")

    def _wait_for_turn(self, ticket: int, give_up_s: float, timeout_s: float) -> tuple[int, G]:
        """Wait until a guest is handed to this ticket. Raises CapacityError, PoolClosed and BenchError."""
        with self._changed:
            self._note(self._state.after_request(ticket))
            try:
                while True:
                    if self._closed:
                        raise PoolClosed
                    if ticket in self._refused:
                        raise self._refused[ticket]
                    state, number = self._state.handed_out(ticket, self._rules, self._now())
                    if number is not None:
                        self._note(state)
                        return number, self._guests[number]
                    left_s = give_up_s - self._now()
                    if left_s <= 0:
                        raise self._none_free(timeout_s)
                    self._changed.wait(left_s)
            finally:
                self._refused.pop(ticket, None)
                self._note(self._state.after_leaving(ticket))

    def _none_free(self, timeout_s: float) -> CapacityError:
        state = self._state
        return CapacityError(
            f"no guest came free within {timeout_s:g} s: {len(state.in_use)} of {self._rules.most} are handed out, "
            f"{state.being_made} on their way, {len(state.queue)} wait for one",
            next_step="release guests that are handed out, or wait longer",
        )

    def _discard_unresponsive(self, number: int) -> None:
        """Mark a guest that does not answer for removal by the threads; remove it here when the pool is closed."""
        with self._changed:
            self._note(self._state.after_death(number))
            if not self._closed:
                return
        self._discard(number, "it does not answer")

    # -- the threads

    def _keep(self) -> None:
        while (action := self._next()) is not None:
            match action:
                case MakeGuest():
                    self._make()
                case CheckGuest(number=number):
                    answers = _answers_well(self._source.answers, self._guests[number])
                    with self._changed:
                        self._note(self._state.after_check(number, self._now(), answers=answers))
                case RemoveGuest(number=number, why=why):
                    self._progress(f"removing guest {number}: {why}")
                    self._remove_guest(number)
                case Pause():
                    pass

    def _next(self) -> Action | None:
        """Wait for the next action and mark it as begun; None when the pool is closed."""
        with self._changed:
            while not self._closed:
                action = next_action(self._state, self._rules, self._now())
                if not isinstance(action, Pause):
                    self._note(self._state.after_start(action))
                    return action
                self._changed.wait(None if action.until_s is None else max(0.0, action.until_s - self._now()))
            return None

    def _make(self) -> None:
        number = next(self._numbers)
        begun_s = self._now()
        try:
            guest = self._source.make(number, self._report_unless_closed)
        except PoolClosed:
            with self._changed:
                self._note(replace(self._state, being_made=self._state.being_made - 1))
        except Exception as error:  # any error goes to the waiting clients instead of ending the thread
            self._not_made(number, error)
        else:
            with self._changed:
                self._guests[number] = guest
                self._note(self._state.after_making(number, self._now()))
            self._progress(f"guest {number} is warm after {self._now() - begun_s:.1f} s")

    def _not_made(self, number: int, error: Exception) -> None:
        self._progress(f"guest {number} did not come up: {error}")
        if isinstance(error, CleanupError):
            self._unremoved += error.leftovers
        with self._changed:
            self._note(self._state.after_failure(self._now()))
            if has_given_up(self._state, self._rules):
                for ticket in self._state.queue:
                    self._refused[ticket] = _make_refusal(self._state.failures, error)

    def _report_unless_closed(self, line: str) -> None:
        """Pass a progress line on. Raises PoolClosed when the pool is closed, which ends the work in progress."""
        if self._closed:
            raise PoolClosed
        self._progress(line)

    def _discard(self, number: int, why: str) -> None:
        with self._changed:
            self._note(self._state.after_start(RemoveGuest(number=number, why=why)))
        self._remove_guest(number)

    def _remove_guest(self, number: int) -> None:
        try:
            self._source.remove(self._guests[number])
        except CleanupError as error:
            self._progress(str(error))
            self._unremoved += error.leftovers
        finally:
            self._forget(number)

    def _forget(self, number: int) -> None:
        with self._changed:
            del self._guests[number]
            self._note(self._state.after_removal(number))

    def _note(self, state: PoolState) -> None:
        """Store the new state and wake all threads that wait for a change. The caller holds the lock."""
        self._state = state
        self._changed.notify_all()


def _answers_well(check: Callable[[G], bool], guest: G) -> bool:
    try:
        return check(guest)
    except HarnessError:
        return False


def _make_refusal(failures: int, error: Exception) -> BenchError:
    """Make the error for waiting clients, of the last failure's class where that is a BenchError."""
    message = error.message if isinstance(error, HarnessError) else f"our fault: {type(error).__name__}: {error}"
    error_class = type(error) if isinstance(error, BenchError) else BenchError
    next_step = error.next_step if isinstance(error, HarnessError) else ""
    return error_class(f"no guest comes up, {failures} failures in a row, the last: {message}", next_step=next_step)
