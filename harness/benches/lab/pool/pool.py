"""How are guests kept warm and handed out in the order in which they were asked for? `stock` decides, threads here act.

What a guest is, how one is made, looked at and removed is passed in. A guest is handed out once and then removed.
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
    given_up,
    next_action,
)
from harness.errors import CleanupError, HarnessError

G = TypeVar("G")


class GuestSource(Protocol[G]):
    """Where guests come from and go to."""

    def make(self, number: int, progress: Progress) -> G:
        """A new guest, or nothing at all of it. What `progress` raises ends it early."""

    def answers(self, guest: G) -> bool:
        """Whether the guest is well, found out within a second or two. Raises HarnessError when it is not."""

    def ready(self, guest: G) -> bool:
        """The same once more, and it is made ready for who gets it: asked once, right before it is handed out."""

    def remove(self, guest: G) -> None:
        """Remove the guest, and verify it. Raises CleanupError."""


class PoolClosed(BenchError):
    """The pool hands out no guests any more."""

    def __init__(self) -> None:
        super().__init__("the pool of warm guests is shut down", next_step="open another one")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGuest(Generic[G]):
    """A guest that was handed out."""

    number: int
    guest: G


class WarmPool(Generic[G]):
    """Guests that wait to be handed out. A context manager: at its end all that still wait are removed.

    Its threads are daemons, so that a program that forgets to close it can end; `sweep` then finds its guests.
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
        self._stock = PoolState()
        self._guests: dict[int, G] = {}
        self._changed = threading.Condition()
        self._tickets, self._numbers = itertools.count(1), itertools.count(1)
        self._refused: dict[int, BenchError] = {}
        self._left: list[str] = []
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
    def stock(self) -> PoolState:
        """What there is at this moment."""
        with self._changed:
            return self._stock

    # -- for those who use guests

    @contextmanager
    def guest(self, *, timeout_s: float) -> Iterator[G]:
        """A guest for the time of this block."""
        held = self.acquire(timeout_s=timeout_s)
        try:
            yield held.guest
        finally:
            self.release(held)

    def acquire(self, *, timeout_s: float) -> HeldGuest[G]:
        """The oldest warm guest, after a look at it; those who asked before are served before.

        Raises CapacityError when none comes free in time, PoolClosed, and BenchError when none comes up.
        """
        give_up_s = self._now() + timeout_s
        with self._changed:
            ticket = next(self._tickets)
        while True:
            number, guest = self._turn(ticket, give_up_s, timeout_s)
            try:
                well = _well(self._source.ready, guest)
            except BaseException:  # an interrupt: nobody holds this guest
                self._bury(number)
                raise
            if well:
                return HeldGuest(number=number, guest=guest)
            self._progress(f"guest {number} does not answer: another one is handed out")
            self._bury(number)

    def release(self, held: HeldGuest[G]) -> None:
        """Remove a guest that was handed out, also after the pool was closed. Again is nothing. Raises CleanupError."""
        with self._changed:
            if held.number not in self._stock.out:
                return
            self._note(self._stock.returned(held.number))
        try:
            self._source.remove(self._guests[held.number])
        finally:
            self._forget(held.number)

    def close(self) -> None:
        """Hand out nothing more, wake those who wait, end the threads, remove the warm guests. Raises CleanupError.

        Guests that are handed out stay with those who hold them, who release them as ever.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for keeper in self._keepers:
            if keeper.is_alive():
                keeper.join()
        with self._changed:
            rest = [*(warm.number for warm in self._stock.warm), *self._stock.dead]
        for number in rest:
            self._discard(number, "the pool is shut down")
        if self._left:
            left, self._left = self._left, []
            raise CleanupError(left, next_step="`ptp-harness sweep --yes`")

    def _turn(self, ticket: int, give_up_s: float, timeout_s: float) -> tuple[int, G]:
        """Wait for this ticket's turn."""
        with self._changed:
            self._note(self._stock.asked(ticket))
            try:
                while True:
                    if self._closed:
                        raise PoolClosed
                    if ticket in self._refused:
                        raise self._refused[ticket]
                    stock, number = self._stock.handed_out(ticket, self._rules, self._now())
                    if number is not None:
                        self._note(stock)
                        return number, self._guests[number]
                    left_s = give_up_s - self._now()
                    if left_s <= 0:
                        raise self._none_free(timeout_s)
                    self._changed.wait(left_s)
            finally:
                self._refused.pop(ticket, None)
                self._note(self._stock.left(ticket))

    def _none_free(self, timeout_s: float) -> CapacityError:
        stock = self._stock
        return CapacityError(
            f"no guest came free within {timeout_s:g} s: {len(stock.out)} of {self._rules.most} are handed out, "
            f"{stock.coming} on their way, {len(stock.queue)} wait for one",
            next_step="release guests that are handed out, or wait longer",
        )

    def _bury(self, number: int) -> None:
        """A guest that does not answer goes to the threads to be removed, or is removed here when they have ended."""
        with self._changed:
            self._note(self._stock.died(number))
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
                    answers = _well(self._source.answers, self._guests[number])
                    with self._changed:
                        self._note(self._stock.looked(number, self._now(), answers=answers))
                case RemoveGuest(number=number, why=why):
                    self._progress(f"removing guest {number}: {why}")
                    self._take_away(number)
                case Pause():
                    pass

    def _next(self) -> Action | None:
        """The next thing to do, begun; None when there is nothing to do any more."""
        with self._changed:
            while not self._closed:
                action = next_action(self._stock, self._rules, self._now())
                if not isinstance(action, Pause):
                    self._note(self._stock.begun(action))
                    return action
                self._changed.wait(None if action.until_s is None else max(0.0, action.until_s - self._now()))
            return None

    def _make(self) -> None:
        number = next(self._numbers)
        begun_s = self._now()
        try:
            guest = self._source.make(number, self._unless_closed)
        except PoolClosed:
            with self._changed:
                self._note(replace(self._stock, coming=self._stock.coming - 1))
        except Exception as error:  # whatever it was, those who wait are told of it instead of a thread that ended
            self._not_made(number, error)
        else:
            with self._changed:
                self._guests[number] = guest
                self._note(self._stock.made(number, self._now()))
            self._progress(f"guest {number} is warm after {self._now() - begun_s:.1f} s")

    def _not_made(self, number: int, error: Exception) -> None:
        self._progress(f"guest {number} did not come up: {error}")
        if isinstance(error, CleanupError):
            self._left += error.left
        with self._changed:
            self._note(self._stock.not_made(self._now()))
            if given_up(self._stock, self._rules):
                for ticket in self._stock.queue:
                    self._refused[ticket] = _refusal(self._stock.failures, error)

    def _unless_closed(self, line: str) -> None:
        """Passes news on, or ends what is under way when the pool is closed."""
        if self._closed:
            raise PoolClosed
        self._progress(line)

    def _discard(self, number: int, why: str) -> None:
        with self._changed:
            self._note(self._stock.begun(RemoveGuest(number=number, why=why)))
        self._take_away(number)

    def _take_away(self, number: int) -> None:
        try:
            self._source.remove(self._guests[number])
        except CleanupError as error:
            self._progress(str(error))
            self._left += error.left
        finally:
            self._forget(number)

    def _forget(self, number: int) -> None:
        with self._changed:
            del self._guests[number]
            self._note(self._stock.gone(number))

    def _note(self, stock: PoolState) -> None:
        """The stock changed: wake all who wait for it. The lock is held."""
        self._stock = stock
        self._changed.notify_all()


def _well(look: Callable[[G], bool], guest: G) -> bool:
    try:
        return look(guest)
    except HarnessError:
        return False


def _refusal(failures: int, error: Exception) -> BenchError:
    """What those who wait are told; of the same kind as the last failure, where that tells the reason."""
    words = error.message if isinstance(error, HarnessError) else f"our fault: {type(error).__name__}: {error}"
    kind = type(error) if isinstance(error, BenchError) else BenchError
    next_step = error.next_step if isinstance(error, HarnessError) else ""
    return kind(f"no guest comes up, {failures} failures in a row, the last: {words}", next_step=next_step)
