"""Decide what a pool of warm guests does next. Pure: the time is passed in.

Guests have numbers and waiting clients have tickets, both in ascending order. `PoolState` is the complete state of a
pool; each of its methods returns the state after one event. Times are seconds of one monotonic clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """The limits and intervals of a pool. Raises RequestError unless 1 <= size <= most.

    `size` guests wait to be handed out, each at most `ttl_s`; all guests, including those handed out, are at most
    `most`. A waiting guest is checked every `check_every_s`. After each failure to make a guest the pause doubles, from
    `first_backoff_s` to `longest_backoff_s`; after `give_up_after` failures in a row the waiting clients get an error.
    """

    size: int
    most: int
    ttl_s: float = 600.0
    check_every_s: float = 5.0
    give_up_after: int = 3
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.most:
            raise RequestError(f"a pool of {self.size} warm guests cannot be kept with at most {self.most} at once")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmGuest:
    """A waiting guest, with the times of its creation and of its last successful check."""

    number: int
    made_s: float
    checked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeGuest:
    """Make one more guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGuest:
    """Check whether this guest still answers."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveGuest:
    """Remove this guest."""

    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait until this time (None: without limit) or until the next event."""

    until_s: float | None


Action = MakeGuest | CheckGuest | RemoveGuest | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """The guests by their states, and the waiting tickets. A guest in any state takes a slot of the machine."""

    warm: tuple[WarmGuest, ...] = ()  # oldest first
    being_checked: tuple[WarmGuest, ...] = ()
    being_made: int = 0
    in_use: frozenset[int] = frozenset()  # handed out
    unresponsive: tuple[int, ...] = ()  # do not answer; to be removed
    being_removed: frozenset[int] = frozenset()
    queue: tuple[int, ...] = ()  # tickets of waiting clients, earliest first
    failures: int = 0  # in a row
    failed_s: float = 0.0

    @property
    def slots_taken(self) -> int:
        """The number of all guests, including those being made and being removed."""
        parts = (self.warm, self.being_checked, self.in_use, self.unresponsive, self.being_removed)
        return self.being_made + sum(len(part) for part in parts)

    # -- events of clients

    def after_request(self, ticket: int) -> "PoolState":
        """Return the state after a client started to wait. Earlier tickets go before later ones."""
        return replace(self, queue=tuple(sorted((*self.queue, ticket))))

    def after_leaving(self, ticket: int) -> "PoolState":
        """Return the state after a client stopped waiting."""
        return replace(self, queue=tuple(queued for queued in self.queue if queued != ticket))

    def handed_out(self, ticket: int, rules: PoolRules, now_s: float) -> "tuple[PoolState, int | None]":
        """Give the oldest warm guest within its ttl to this ticket, if the ticket is first in the queue; else None."""
        oldest = next((warm for warm in self.warm if not _too_old(warm, rules, now_s)), None)
        if oldest is None or self.queue[:1] != (ticket,):
            return self, None
        state = self._without(oldest.number).after_leaving(ticket)
        return replace(state, in_use=self.in_use | {oldest.number}), oldest.number

    def after_death(self, number: int) -> "PoolState":
        """Return the state after a guest that was handed out did not answer."""
        return replace(self, in_use=self.in_use - {number}, unresponsive=(*self.unresponsive, number))

    def after_return(self, number: int) -> "PoolState":
        """Return the state after a client released its guest, which is then removed, never handed out again."""
        return replace(self, in_use=self.in_use - {number}, being_removed=self.being_removed | {number})

    # -- events of actions

    def after_start(self, action: Action) -> "PoolState":
        """Return the state after an action has begun."""
        match action:
            case MakeGuest():
                return replace(self, being_made=self.being_made + 1)
            case CheckGuest(number=number):
                [warm] = [warm for warm in self.warm if warm.number == number]
                return replace(self._without(number), being_checked=(*self.being_checked, warm))
            case RemoveGuest(number=number):
                remaining = tuple(guest for guest in self.unresponsive if guest != number)
                return replace(
                    self._without(number), unresponsive=remaining, being_removed=self.being_removed | {number}
                )
            case Pause():
                return self

    def after_making(self, number: int, now_s: float) -> "PoolState":
        """Return the state after a guest was made."""
        warm = WarmGuest(number=number, made_s=now_s, checked_s=now_s)
        return replace(self, being_made=self.being_made - 1, warm=(*self.warm, warm), failures=0)

    def after_failure(self, now_s: float) -> "PoolState":
        """Return the state after a guest could not be made."""
        return replace(self, being_made=self.being_made - 1, failures=self.failures + 1, failed_s=now_s)

    def after_check(self, number: int, now_s: float, *, answers: bool) -> "PoolState":
        """Return the state after a check: the guest waits again in its old position, or is to be removed."""
        [warm] = [warm for warm in self.being_checked if warm.number == number]
        remaining = tuple(checked for checked in self.being_checked if checked.number != number)
        if not answers:
            return replace(self, being_checked=remaining, unresponsive=(*self.unresponsive, number))
        back = sorted((*self.warm, replace(warm, checked_s=now_s)), key=lambda warm: (warm.made_s, warm.number))
        return replace(self, being_checked=remaining, warm=tuple(back))

    def after_removal(self, number: int) -> "PoolState":
        """Return the state after a guest was removed."""
        return replace(self, being_removed=self.being_removed - {number})

    def _without(self, number: int) -> "PoolState":
        return replace(self, warm=tuple(warm for warm in self.warm if warm.number != number))


def next_action(state: PoolState, rules: PoolRules, now_s: float) -> Action:
    """Choose the next action: remove bad guests first, then make missing guests, then check waiting guests."""
    if state.unresponsive:
        return RemoveGuest(number=state.unresponsive[0], why="it does not answer")
    for warm in state.warm:
        if _too_old(warm, rules, now_s):
            return RemoveGuest(number=warm.number, why=f"it has waited for {rules.ttl_s:g} s")
    if _is_guest_missing(state, rules) and now_s >= _retry_s(state, rules):
        return MakeGuest()
    for warm in state.warm:
        if now_s - warm.checked_s >= rules.check_every_s:
            return CheckGuest(number=warm.number)
    return Pause(until_s=min(_action_times(state, rules), default=None))


def has_given_up(state: PoolState, rules: PoolRules) -> bool:
    """Tell whether the waiting clients should get an error because no guest comes up."""
    return state.failures >= rules.give_up_after


def _is_guest_missing(state: PoolState, rules: PoolRules) -> bool:
    available = len(state.warm) + len(state.being_checked) + state.being_made
    return available < rules.size + len(state.queue) and state.slots_taken < rules.most


def _retry_s(state: PoolState, rules: PoolRules) -> float:
    if state.failures == 0:
        return float("-inf")
    pause_s = rules.first_backoff_s * 2.0 ** min(state.failures - 1, 30)
    return state.failed_s + min(pause_s, rules.longest_backoff_s)


def _too_old(warm: WarmGuest, rules: PoolRules, now_s: float) -> bool:
    return now_s - warm.made_s >= rules.ttl_s


def _action_times(state: PoolState, rules: PoolRules) -> Iterator[float]:
    """Yield the times of the next actions if no event comes before."""
    for warm in state.warm:
        yield warm.made_s + rules.ttl_s
        yield warm.checked_s + rules.check_every_s
    if _is_guest_missing(state, rules):
        yield _retry_s(state, rules)
