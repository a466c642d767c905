"""Decide what a pool of warm guests does next. Pure: the time is passed in.

Guests have numbers and waiting clients have tickets; both are given in ascending order. `PoolState` is all that a pool
knows; each of its methods returns the state after one event. Times are seconds of one monotonic clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """What a pool keeps to.

    `size` guests wait to be handed out, none longer than `ttl_s`; with those handed out there are never more than
    `most`. One that waits is looked at every `look_every_s`. After a failure to make one the pauses double, from
    `first_backoff_s` to `longest_backoff_s`; after `give_up_after` failures in a row those who wait are told.
    """

    size: int
    most: int
    ttl_s: float = 600.0
    look_every_s: float = 5.0
    give_up_after: int = 3
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.most:
            raise RequestError(f"a pool of {self.size} warm guests cannot be kept with at most {self.most} at once")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmGuest:
    """A guest that waits: since when, and when it was last found well."""

    number: int
    made_s: float
    looked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeGuest:
    """Make one more guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGuest:
    """See whether this guest still answers."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveGuest:
    """Remove this guest."""

    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing is to be done before this moment, or before something happens."""

    until_s: float | None


Action = MakeGuest | CheckGuest | RemoveGuest | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """Where each guest is and who waits. A guest that is anywhere here takes a place on the machine."""

    warm: tuple[WarmGuest, ...] = ()  # oldest first
    looked_at: tuple[WarmGuest, ...] = ()
    coming: int = 0
    out: frozenset[int] = frozenset()
    dead: tuple[int, ...] = ()  # found not to answer, to be removed
    leaving: frozenset[int] = frozenset()  # being removed
    queue: tuple[int, ...] = ()  # tickets of those who wait, first come first
    failures: int = 0  # in a row
    failed_s: float = 0.0

    @property
    def places(self) -> int:
        """How many guests there are, those on their way in or out included."""
        parts = (self.warm, self.looked_at, self.out, self.dead, self.leaving)
        return self.coming + sum(len(part) for part in parts)

    # -- those who ask

    def asked(self, ticket: int) -> "PoolState":
        """Somebody waits. An earlier ticket that comes back goes before later ones."""
        return replace(self, queue=tuple(sorted((*self.queue, ticket))))

    def left(self, ticket: int) -> "PoolState":
        """Somebody waits no more."""
        return replace(self, queue=tuple(other for other in self.queue if other != ticket))

    def handed_out(self, ticket: int, rules: PoolRules, now_s: float) -> "tuple[PoolState, int | None]":
        """The oldest warm guest that is not too old goes to this ticket, if it is the first in the queue."""
        fresh = next((warm for warm in self.warm if not _too_old(warm, rules, now_s)), None)
        if fresh is None or self.queue[:1] != (ticket,):
            return self, None
        return replace(self._without(fresh.number).left(ticket), out=self.out | {fresh.number}), fresh.number

    def died(self, number: int) -> "PoolState":
        """A guest was handed out and does not answer."""
        return replace(self, out=self.out - {number}, dead=(*self.dead, number))

    def returned(self, number: int) -> "PoolState":
        """A guest comes back: it is removed, never handed out again."""
        return replace(self, out=self.out - {number}, leaving=self.leaving | {number})

    # -- what is done

    def begun(self, action: Action) -> "PoolState":
        """An action is under way."""
        match action:
            case MakeGuest():
                return replace(self, coming=self.coming + 1)
            case CheckGuest(number=number):
                [warm] = [warm for warm in self.warm if warm.number == number]
                return replace(self._without(number), looked_at=(*self.looked_at, warm))
            case RemoveGuest(number=number):
                dead = tuple(other for other in self.dead if other != number)
                return replace(self._without(number), dead=dead, leaving=self.leaving | {number})
            case Pause():
                return self

    def made(self, number: int, now_s: float) -> "PoolState":
        """A guest has come up."""
        warm = WarmGuest(number=number, made_s=now_s, looked_s=now_s)
        return replace(self, coming=self.coming - 1, warm=(*self.warm, warm), failures=0)

    def not_made(self, now_s: float) -> "PoolState":
        """A guest has not come up."""
        return replace(self, coming=self.coming - 1, failures=self.failures + 1, failed_s=now_s)

    def looked(self, number: int, now_s: float, *, answers: bool) -> "PoolState":
        """A guest was looked at: it goes back to its place, or is to be removed."""
        [warm] = [warm for warm in self.looked_at if warm.number == number]
        rest = tuple(other for other in self.looked_at if other.number != number)
        if not answers:
            return replace(self, looked_at=rest, dead=(*self.dead, number))
        back = sorted((*self.warm, replace(warm, looked_s=now_s)), key=lambda warm: (warm.made_s, warm.number))
        return replace(self, looked_at=rest, warm=tuple(back))

    def gone(self, number: int) -> "PoolState":
        """A guest was removed."""
        return replace(self, leaving=self.leaving - {number})

    def _without(self, number: int) -> "PoolState":
        return replace(self, warm=tuple(warm for warm in self.warm if warm.number != number))


def next_action(stock: PoolState, rules: PoolRules, now_s: float) -> Action:
    """What to do next: what is no good goes first, then the stock is filled up, then it is looked after."""
    if stock.dead:
        return RemoveGuest(number=stock.dead[0], why="it does not answer")
    for warm in stock.warm:
        if _too_old(warm, rules, now_s):
            return RemoveGuest(number=warm.number, why=f"it has waited for {rules.ttl_s:g} s")
    if _wanted(stock, rules) and now_s >= _retry_s(stock, rules):
        return MakeGuest()
    for warm in stock.warm:
        if now_s - warm.looked_s >= rules.look_every_s:
            return CheckGuest(number=warm.number)
    return Pause(until_s=min(_moments(stock, rules), default=None))


def given_up(stock: PoolState, rules: PoolRules) -> bool:
    """Whether those who wait should be told that no guest comes up."""
    return stock.failures >= rules.give_up_after


def _wanted(stock: PoolState, rules: PoolRules) -> bool:
    ready = len(stock.warm) + len(stock.looked_at) + stock.coming
    return ready < rules.size + len(stock.queue) and stock.places < rules.most


def _retry_s(stock: PoolState, rules: PoolRules) -> float:
    if stock.failures == 0:
        return float("-inf")
    pause_s = rules.first_backoff_s * 2.0 ** min(stock.failures - 1, 30)
    return stock.failed_s + min(pause_s, rules.longest_backoff_s)


def _too_old(warm: WarmGuest, rules: PoolRules, now_s: float) -> bool:
    return now_s - warm.made_s >= rules.ttl_s


def _moments(stock: PoolState, rules: PoolRules) -> Iterator[float]:
    """When there will be something to do, if nothing happens before."""
    for warm in stock.warm:
        yield warm.made_s + rules.ttl_s
        yield warm.looked_s + rules.look_every_s
    if _wanted(stock, rules):
        yield _retry_s(stock, rules)
