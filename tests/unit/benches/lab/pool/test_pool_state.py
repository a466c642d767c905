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
    has_given_up,
    next_action,
)
from harness.errors import RequestError

RULES = PoolRules(size=2, most=3, ttl_s=100.0, check_every_s=10.0, give_up_after=3, first_backoff_s=1.0)


def warm(number: int, made_s: float = 0.0, checked_s: float | None = None) -> WarmGuest:
    return WarmGuest(number=number, made_s=made_s, checked_s=made_s if checked_s is None else checked_s)


@pytest.mark.parametrize(
    ("state", "now_s", "action"),
    [
        (PoolState(), 0.0, MakeGuest()),
        (PoolState(being_made=1), 0.0, MakeGuest()),
        (PoolState(being_made=2), 0.0, Pause(until_s=None)),
        (PoolState(being_made=2, queue=(1,)), 0.0, MakeGuest()),
        (PoolState(being_made=2, queue=(1,), in_use=frozenset({9})), 0.0, Pause(until_s=None)),
        (PoolState(being_made=1, being_removed=frozenset({8}), in_use=frozenset({9})), 0.0, Pause(until_s=None)),
        (PoolState(warm=(warm(1), warm(2))), 9.9, Pause(until_s=10.0)),
        (PoolState(warm=(warm(1), warm(2))), 10.0, CheckGuest(number=1)),
        (PoolState(warm=(warm(1, 0, 95), warm(2, 0, 92))), 96.0, Pause(until_s=100.0)),
        (PoolState(warm=(warm(1, 0, 95), warm(2, 0, 92))), 100.0, RemoveGuest(number=1, why="it has waited for 100 s")),
        (PoolState(warm=(warm(1), warm(2)), unresponsive=(7,)), 100.0, RemoveGuest(number=7, why="it does not answer")),
        (PoolState(failures=1, failed_s=5.0), 5.9, Pause(until_s=6.0)),
        (PoolState(failures=1, failed_s=5.0), 6.0, MakeGuest()),
        (PoolState(failures=3, failed_s=5.0), 8.9, Pause(until_s=9.0)),
        (PoolState(failures=50, failed_s=5.0), 64.9, Pause(until_s=65.0)),
        (PoolState(warm=(warm(1, 5.0),), failures=1, failed_s=5.0), 5.5, Pause(until_s=6.0)),
    ],
)
def test_what_is_done_next(state: PoolState, now_s: float, action: object) -> None:
    assert next_action(state, RULES, now_s) == action


def test_one_that_is_too_old_is_not_handed_out_even_if_nobody_had_the_time_to_remove_it() -> None:
    state = PoolState(warm=(warm(1), warm(2, 50.0))).after_request(7)
    assert state.handed_out(7, RULES, 99.9)[1] == 1
    assert state.handed_out(7, RULES, 100.0)[1] == 2
    assert state.handed_out(7, RULES, 150.0) == (state, None)


def test_whoever_got_a_dead_guest_is_first_again() -> None:
    state = PoolState(warm=(warm(1), warm(2))).after_request(1).after_request(2).after_request(3)
    state, dead = state.handed_out(1, RULES, 0.0)
    state, second = state.handed_out(2, RULES, 0.0)
    assert (dead, second, state.queue) == (1, 2, (3,))
    assert state.after_death(1).after_request(1).queue == (1, 3)


def test_looking_at_a_guest_does_not_make_another_one_and_keeps_their_order() -> None:
    state = PoolState(warm=(warm(1), warm(2))).after_start(CheckGuest(number=1))
    assert next_action(state, RULES, 1.0) == Pause(until_s=10.0)
    back = state.after_check(1, 10.0, answers=True)
    assert back.warm == (warm(1, 0.0, 10.0), warm(2))
    assert state.after_check(1, 10.0, answers=False) == PoolState(warm=(warm(2),), unresponsive=(1,))


def test_those_who_wait_are_told_after_some_failures_in_a_row_and_a_success_forgets_them() -> None:
    state = PoolState(failures=1).after_start(MakeGuest()).after_failure(5.0)
    assert (has_given_up(state, RULES), has_given_up(replace(state, failures=3), RULES)) == (False, True)
    assert state.after_start(MakeGuest()).after_making(1, 6.0).failures == 0


@pytest.mark.parametrize("size", [0, 4])
def test_a_pool_that_cannot_be_kept_is_refused(size: int) -> None:
    with pytest.raises(RequestError, match=f"a pool of {size} warm guests cannot be kept with at most 3 at once"):
        replace(RULES, size=size)


class AnyOrder(RuleBasedStateMachine):
    """Events in any order that threads can bring about, with several threads that act and any number that ask."""

    @initialize(size=st.integers(1, 3), spare=st.integers(0, 2))
    def open(self, size: int, spare: int) -> None:
        self.rules = replace(RULES, size=size, most=size + spare)
        self.state, self.now_s = PoolState(), 0.0
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
        self.state = self.state.after_request(self.tickets)

    @precondition(lambda self: self.state.queue)
    @rule(data=st.data(), answers=st.booleans())
    def somebody_who_waits_looks(self, data: st.DataObject, answers: bool) -> None:
        ticket = data.draw(st.sampled_from(self.state.queue))
        before = self.state
        self.state, number = self.state.handed_out(ticket, self.rules, self.now_s)
        if number is None:
            assert self.state == before
            return
        assert ticket == before.queue[0]
        if answers:
            self.handed.append(number)
            self.served.append(ticket)
        else:
            self.state = self.state.after_death(number).after_request(ticket)
            assert self.state.queue[0] == ticket

    @precondition(lambda self: self.state.queue)
    @rule(data=st.data())
    def somebody_gives_up_waiting(self, data: st.DataObject) -> None:
        self.state = self.state.after_leaving(data.draw(st.sampled_from(self.state.queue)))

    @precondition(lambda self: self.state.in_use)
    @rule(data=st.data())
    def a_guest_comes_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state.in_use)))
        self.state = self.state.after_return(number).after_removal(number)

    @rule()
    def a_thread_takes_something_up(self) -> None:
        action = next_action(self.state, self.rules, self.now_s)
        if isinstance(action, Pause):
            assert action.until_s is None or action.until_s > self.now_s - 1e-6
            return
        self.state = self.state.after_start(action)
        self.under_way.append(action)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), well=st.booleans())
    def a_thread_is_done(self, data: st.DataObject, well: bool) -> None:
        action = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        match action:
            case MakeGuest() if well:
                self.numbers += 1
                self.state = self.state.after_making(self.numbers, self.now_s)
            case MakeGuest():
                self.state = self.state.after_failure(self.now_s)
            case CheckGuest(number=number):
                self.state = self.state.after_check(number, self.now_s, answers=well)
            case RemoveGuest(number=number):
                self.state = self.state.after_removal(number)

    @invariant()
    def never_more_than_may_be(self) -> None:
        assert 0 <= self.state.slots_taken <= self.rules.most

    @invariant()
    def nobody_gets_what_another_had_and_a_guest_is_in_one_place(self) -> None:
        assert len(set(self.handed)) == len(self.handed)
        state = self.state
        waiting = [warm.number for warm in (*state.warm, *state.being_checked)]
        everywhere = [*waiting, *state.in_use, *state.unresponsive, *state.being_removed]
        assert len(set(everywhere)) == len(everywhere)
        assert not set(self.handed) & {*waiting, *state.unresponsive}

    @invariant()
    def each_is_served_once(self) -> None:
        assert len(set(self.served)) == len(self.served)

    @invariant()
    def left_alone_the_stock_is_filled_and_nobody_waits_in_vain(self) -> None:
        state, now_s = self.state, self.now_s
        if self.under_way or state.in_use:
            return
        for number in range(10_000, 10_100):
            action = next_action(state, self.rules, now_s)
            if isinstance(action, Pause):
                if state.queue and state.warm:
                    state, got = state.handed_out(state.queue[0], self.rules, now_s)
                    assert got is not None
                    state = state.after_return(got).after_removal(got)
                    continue
                if not state.queue and len(state.warm) == self.rules.size:
                    return
                assert action.until_s is not None, "nothing would ever be done"
                now_s = max(now_s, action.until_s) + 1e-6
                continue
            state = state.after_start(action)
            match action:
                case MakeGuest():
                    state = state.after_making(number, now_s)
                case CheckGuest(number=looked):
                    state = state.after_check(looked, now_s, answers=True)
                case RemoveGuest(number=removed):
                    state = state.after_removal(removed)
        pytest.fail(f"the state does not settle: {state}")


TestAnyOrder = pytest.mark.slow(AnyOrder.TestCase)
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
