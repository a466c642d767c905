"""What a pool of warm guests decides, for any order of events: never too many, never twice, first come first served."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.benches.lab.pool.pool_state import (
    CheckGuest,
    MakeGuest,
    Pause,
    PoolRules,
    PoolState,
    RemoveGuest,
    WarmGuest,
    given_up,
    next_action,
)
from harness.errors import RequestError

RULES = PoolRules(size=2, most=3, ttl_s=100.0, look_every_s=10.0, give_up_after=3, first_backoff_s=1.0)


def warm(number: int, made_s: float = 0.0, looked_s: float | None = None) -> WarmGuest:
    return WarmGuest(number=number, made_s=made_s, looked_s=made_s if looked_s is None else looked_s)


@pytest.mark.parametrize(
    ("stock", "now_s", "action"),
    [
        (PoolState(), 0.0, MakeGuest()),
        (PoolState(coming=1), 0.0, MakeGuest()),
        (PoolState(coming=2), 0.0, Pause(until_s=None)),
        (PoolState(coming=2, queue=(1,)), 0.0, MakeGuest()),
        (PoolState(coming=2, queue=(1,), out=frozenset({9})), 0.0, Pause(until_s=None)),
        (PoolState(coming=1, leaving=frozenset({8}), out=frozenset({9})), 0.0, Pause(until_s=None)),
        (PoolState(warm=(warm(1), warm(2))), 9.9, Pause(until_s=10.0)),
        (PoolState(warm=(warm(1), warm(2))), 10.0, CheckGuest(number=1)),
        (PoolState(warm=(warm(1, 0, 95), warm(2, 0, 92))), 96.0, Pause(until_s=100.0)),
        (PoolState(warm=(warm(1, 0, 95), warm(2, 0, 92))), 100.0, RemoveGuest(number=1, why="it has waited for 100 s")),
        (PoolState(warm=(warm(1), warm(2)), dead=(7,)), 100.0, RemoveGuest(number=7, why="it does not answer")),
        (PoolState(failures=1, failed_s=5.0), 5.9, Pause(until_s=6.0)),
        (PoolState(failures=1, failed_s=5.0), 6.0, MakeGuest()),
        (PoolState(failures=3, failed_s=5.0), 8.9, Pause(until_s=9.0)),
        (PoolState(failures=50, failed_s=5.0), 64.9, Pause(until_s=65.0)),
        (PoolState(warm=(warm(1, 5.0),), failures=1, failed_s=5.0), 5.5, Pause(until_s=6.0)),
    ],
)
def test_what_is_done_next(stock: PoolState, now_s: float, action: object) -> None:
    assert next_action(stock, RULES, now_s) == action


def test_one_that_is_too_old_is_not_handed_out_even_if_nobody_had_the_time_to_remove_it() -> None:
    stock = PoolState(warm=(warm(1), warm(2, 50.0))).asked(7)
    assert stock.handed_out(7, RULES, 99.9)[1] == 1
    assert stock.handed_out(7, RULES, 100.0)[1] == 2
    assert stock.handed_out(7, RULES, 150.0) == (stock, None)


def test_whoever_got_a_dead_guest_is_first_again() -> None:
    stock = PoolState(warm=(warm(1), warm(2))).asked(1).asked(2).asked(3)
    stock, dead = stock.handed_out(1, RULES, 0.0)
    stock, second = stock.handed_out(2, RULES, 0.0)
    assert (dead, second, stock.queue) == (1, 2, (3,))
    assert stock.died(1).asked(1).queue == (1, 3)


def test_looking_at_a_guest_does_not_make_another_one_and_keeps_their_order() -> None:
    stock = PoolState(warm=(warm(1), warm(2))).begun(CheckGuest(number=1))
    assert next_action(stock, RULES, 1.0) == Pause(until_s=10.0)
    back = stock.looked(1, 10.0, answers=True)
    assert back.warm == (warm(1, 0.0, 10.0), warm(2))
    assert stock.looked(1, 10.0, answers=False) == PoolState(warm=(warm(2),), dead=(1,))


def test_those_who_wait_are_told_after_some_failures_in_a_row_and_a_success_forgets_them() -> None:
    stock = PoolState(failures=1).begun(MakeGuest()).not_made(5.0)
    assert (given_up(stock, RULES), given_up(replace(stock, failures=3), RULES)) == (False, True)
    assert stock.begun(MakeGuest()).made(1, 6.0).failures == 0


@pytest.mark.parametrize("size", [0, 4])
def test_a_pool_that_cannot_be_kept_is_refused(size: int) -> None:
    with pytest.raises(RequestError, match=f"a pool of {size} warm guests cannot be kept with at most 3 at once"):
        replace(RULES, size=size)


class AnyOrder(RuleBasedStateMachine):
    """Events in any order that threads can bring about, with several threads that act and any number that ask."""

    @initialize(size=st.integers(1, 3), spare=st.integers(0, 2))
    def open(self, size: int, spare: int) -> None:
        self.rules = replace(RULES, size=size, most=size + spare)
        self.stock, self.now_s = PoolState(), 0.0
        self.numbers, self.tickets = 0, 0
        self.under_way: list[MakeGuest | CheckGuest | RemoveGuest] = []
        self.served: list[int] = []
        self.handed: list[int] = []

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 60.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def somebody_asks(self) -> None:
        self.tickets += 1
        self.stock = self.stock.asked(self.tickets)

    @precondition(lambda self: self.stock.queue)
    @rule(data=st.data(), answers=st.booleans())
    def somebody_who_waits_looks(self, data: st.DataObject, answers: bool) -> None:
        ticket = data.draw(st.sampled_from(self.stock.queue))
        before = self.stock
        self.stock, number = self.stock.handed_out(ticket, self.rules, self.now_s)
        if number is None:
            assert self.stock == before
            return
        assert ticket == before.queue[0]
        if answers:
            self.handed.append(number)
            self.served.append(ticket)
        else:
            self.stock = self.stock.died(number).asked(ticket)
            assert self.stock.queue[0] == ticket

    @precondition(lambda self: self.stock.queue)
    @rule(data=st.data())
    def somebody_gives_up_waiting(self, data: st.DataObject) -> None:
        self.stock = self.stock.left(data.draw(st.sampled_from(self.stock.queue)))

    @precondition(lambda self: self.stock.out)
    @rule(data=st.data())
    def a_guest_comes_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.stock.out)))
        self.stock = self.stock.returned(number).gone(number)

    @rule()
    def a_thread_takes_something_up(self) -> None:
        action = next_action(self.stock, self.rules, self.now_s)
        if isinstance(action, Pause):
            assert action.until_s is None or action.until_s > self.now_s - 1e-6
            return
        self.stock = self.stock.begun(action)
        self.under_way.append(action)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), well=st.booleans())
    def a_thread_is_done(self, data: st.DataObject, well: bool) -> None:
        action = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        match action:
            case MakeGuest() if well:
                self.numbers += 1
                self.stock = self.stock.made(self.numbers, self.now_s)
            case MakeGuest():
                self.stock = self.stock.not_made(self.now_s)
            case CheckGuest(number=number):
                self.stock = self.stock.looked(number, self.now_s, answers=well)
            case RemoveGuest(number=number):
                self.stock = self.stock.gone(number)

    @invariant()
    def never_more_than_may_be(self) -> None:
        assert 0 <= self.stock.places <= self.rules.most

    @invariant()
    def nobody_gets_what_another_had_and_a_guest_is_in_one_place(self) -> None:
        assert len(set(self.handed)) == len(self.handed)
        stock = self.stock
        waiting = [warm.number for warm in (*stock.warm, *stock.looked_at)]
        everywhere = [*waiting, *stock.out, *stock.dead, *stock.leaving]
        assert len(set(everywhere)) == len(everywhere)
        assert not set(self.handed) & {*waiting, *stock.dead}

    @invariant()
    def each_is_served_once(self) -> None:
        assert len(set(self.served)) == len(self.served)

    @invariant()
    def left_alone_the_stock_is_filled_and_nobody_waits_in_vain(self) -> None:
        stock, now_s = self.stock, self.now_s
        if self.under_way or stock.out:
            return
        for number in range(10_000, 10_100):
            action = next_action(stock, self.rules, now_s)
            if isinstance(action, Pause):
                if stock.queue and stock.warm:
                    stock, got = stock.handed_out(stock.queue[0], self.rules, now_s)
                    assert got is not None
                    stock = stock.returned(got).gone(got)
                    continue
                if not stock.queue and len(stock.warm) == self.rules.size:
                    return
                assert action.until_s is not None, "nothing would ever be done"
                now_s = max(now_s, action.until_s) + 1e-6
                continue
            stock = stock.begun(action)
            match action:
                case MakeGuest():
                    stock = stock.made(number, now_s)
                case CheckGuest(number=looked):
                    stock = stock.looked(looked, now_s, answers=True)
                case RemoveGuest(number=removed):
                    stock = stock.gone(removed)
        pytest.fail(f"the stock does not settle: {stock}")


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
