"""The circuit breaker: when it opens, what a probe does, and that pauses grow and are drawn."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConflictError, SetupError
from harness.store.database import LedgerAwayError
from harness.watch.circuit_breaker import CircuitBreaker, CircuitOpenError, CircuitOptions, CircuitState


class Clock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def make(clock: Clock, draw: Callable[[], float] = lambda: 1.0, **options: float) -> CircuitBreaker:
    return CircuitBreaker("the ledger", CircuitOptions(**options), now=clock, draw=draw)  # type: ignore[arg-type]


def fail(error: Exception | None = None) -> None:
    raise error or LedgerAwayError("the ledger is away")


def failing(breaker: CircuitBreaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(Exception, match=r"away|taken|disk"):
            breaker.call(lambda: fail(error))


def test_it_opens_after_failures_in_a_row_and_then_makes_no_call() -> None:
    clock = Clock()
    breaker = make(clock, failures=3)
    failing(breaker, 2)
    breaker.call(lambda: None)
    failing(breaker, 2)
    assert breaker.snapshot().state is CircuitState.CLOSED, "an answer between them: not three in a row"
    failing(breaker)
    assert breaker.snapshot().state is CircuitState.OPEN
    made: list[int] = []
    with pytest.raises(CircuitOpenError, match=r"the ledger is not asked for 1\.0 s: LedgerAwayError, 3 times"):
        breaker.call(lambda: made.append(1))
    assert (made, breaker.snapshot().refused) == ([], 1)


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_for_longer() -> None:
    clock = Clock()
    breaker = make(clock, failures=1, pause_s=1.0, longest_pause_s=3.0)
    failing(breaker)
    pauses = []
    for _ in range(4):
        pauses.append(breaker.snapshot().next_probe_s)
        clock.at_s += pauses[-1]
        failing(breaker)
    assert pauses == [1.0, 2.0, 3.0, 3.0]
    clock.at_s += 3.0
    assert breaker.call(lambda: 5) == 5
    assert breaker.snapshot().state is CircuitState.CLOSED
    failing(breaker)
    assert breaker.snapshot().next_probe_s == 1.0, "the pauses begin anew"


def test_several_probes_can_be_asked_for() -> None:
    clock = Clock()
    breaker = make(clock, failures=1, probes=2)
    failing(breaker)
    clock.at_s += 2
    breaker.call(lambda: None)
    assert breaker.snapshot().state is CircuitState.HALF_OPEN
    breaker.call(lambda: None)
    assert breaker.snapshot().state is CircuitState.CLOSED


def test_one_probe_at_a_time_while_other_threads_are_refused() -> None:
    clock = Clock()
    breaker = make(clock, failures=1)
    failing(breaker)
    clock.at_s += 2
    began, may_end = threading.Event(), threading.Event()

    def probe() -> None:
        began.set()
        assert may_end.wait(30)

    thread = threading.Thread(target=breaker.call, args=(probe,))
    thread.start()
    assert began.wait(30)
    with pytest.raises(CircuitOpenError):
        breaker.call(lambda: None)
    may_end.set()
    thread.join(30)
    assert breaker.snapshot().state is CircuitState.CLOSED


def test_failures_are_counted_by_cause_and_other_errors_are_answers() -> None:
    breaker = make(Clock(), failures=9)
    failing(breaker, 2)
    failing(breaker, error=SetupError("the disk is full"))
    failing(breaker, error=ConflictError("the name is taken"))
    assert breaker.snapshot().failed == {"LedgerAwayError": 2, "SetupError": 1}
    assert breaker.snapshot().latest_cause == "SetupError"


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 3),
    st.floats(0, 1),
)
def test_it_never_stays_open_for_longer_than_its_longest_pause(
    calls: list[tuple[bool, float]], failures: int, probes: int, drawn: float
) -> None:
    clock = Clock()
    breaker = CircuitBreaker(
        "it", CircuitOptions(failures=failures, probes=probes, longest_pause_s=8.0), now=clock, draw=lambda: drawn
    )
    in_a_row = 0
    for succeeds, passed_s in calls:
        try:
            breaker.call(lambda succeeds=succeeds: None if succeeds else fail())  # type: ignore[misc]
            in_a_row = 0
        except CircuitOpenError:
            assert in_a_row >= failures or breaker.snapshot().opened
        except LedgerAwayError:
            in_a_row += 1
        assert breaker.snapshot().next_probe_s <= 8.0
        if in_a_row >= failures:
            assert breaker.snapshot().state is not CircuitState.CLOSED
        clock.at_s += passed_s
    clock.at_s += 8.0
    for _ in range(probes):
        breaker.call(lambda: None)
    assert breaker.snapshot().state is CircuitState.CLOSED
