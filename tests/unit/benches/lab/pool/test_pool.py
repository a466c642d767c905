"""The pool's threads, with guests that are numbers: order, cap, recovery and shutdown under threads that are real."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from harness.benches.bench import BenchError, CapacityError, Progress
from harness.benches.lab.pool.pool import PoolClosed, WarmPool
from harness.benches.lab.pool.pool_state import PoolRules
from harness.errors import CleanupError, HarnessError

RULES = PoolRules(size=2, most=3, ttl_s=60.0, check_every_s=60.0, first_backoff_s=0.001)


class Numbers:
    """A source of guests that are their own numbers, and a count of those that exist."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.exist: set[int] = set()
        self.dead: set[int] = set()
        self.most = 0
        self.fail: list[Exception] = []
        self.stuck = ""
        self.slow_s = 0.0
        self.readied: list[int] = []
        self.removed: list[int] = []

    def make(self, number: int, progress: Progress) -> int:
        give_up = time.monotonic() + self.slow_s
        while time.monotonic() < give_up:
            progress("waiting")
            time.sleep(0.001)
        with self.lock:
            if self.fail:
                raise self.fail.pop(0)
            self.exist.add(number)
            self.most = max(self.most, len(self.exist))
        return number

    def answers(self, guest: int) -> bool:
        return guest not in self.dead

    def prepare_for_client(self, guest: int) -> bool:
        assert guest not in self.readied, "handed out twice"
        self.readied.append(guest)
        return self.answers(guest)

    def remove(self, guest: int) -> None:
        with self.lock:
            assert guest in self.exist, "removed twice"
            if self.stuck:
                raise CleanupError([self.stuck], next_step="kill it")
            self.exist.remove(guest)
            self.removed.append(guest)


@pytest.fixture
def source() -> Numbers:
    return Numbers()


@pytest.fixture
def pool(source: Numbers) -> Iterator[WarmPool[int]]:
    with WarmPool(RULES, source) as opened:
        yield opened
    assert source.exist == opened.state.in_use


def until(seen: Callable[[], object], within_s: float = 10.0) -> None:
    give_up = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < give_up, "did not come to be"
        time.sleep(0.001)


def numbers(pool: WarmPool[int]) -> list[int]:
    return [warm.number for warm in pool.state.warm]


def test_it_fills_up_and_a_guest_that_was_handed_out_is_replaced_and_then_removed(
    pool: WarmPool[int], source: Numbers
) -> None:
    until(lambda: numbers(pool) == [1, 2])
    with pool.guest(timeout_s=5) as guest:
        assert guest == 1
        until(lambda: numbers(pool) == [2, 3])
        assert source.exist == {1, 2, 3}
    assert source.removed == [1]
    assert pool.acquire(timeout_s=5).guest == 2


def test_released_twice_is_removed_once(pool: WarmPool[int], source: Numbers) -> None:
    held = pool.acquire(timeout_s=5)
    pool.release(held)
    pool.release(held)
    assert source.removed == [1]


@pytest.mark.parametrize("makers", [1, 2])
def test_ten_at_once_are_served_in_order_with_three_guests(source: Numbers, makers: int) -> None:
    order: list[int] = []
    asked = threading.Semaphore(0)

    def work(number: int) -> int:
        asked.release()
        held = pool.acquire(timeout_s=30)
        order.append(number)
        time.sleep(0.005)
        pool.release(held)
        return held.guest

    source.slow_s = 0.02
    with WarmPool(RULES, source, makers=makers) as pool, ThreadPoolExecutor(max_workers=10) as threads:
        blockers = [pool.acquire(timeout_s=5) for _ in range(3)]
        jobs = []
        for number in range(10):
            jobs.append(threads.submit(work, number))
            asked.acquire()
            until(lambda number=number: len(pool.state.queue) == number + 1)
        for blocker in blockers:
            pool.release(blocker)
        guests = [job.result() for job in jobs]
    assert order == sorted(order)
    assert len(set(guests)) == 10
    assert (source.most, source.exist) == (3, set())


def test_one_that_died_is_never_handed_out(pool: WarmPool[int], source: Numbers) -> None:
    until(lambda: numbers(pool) == [1, 2])
    source.dead = {1}
    assert pool.acquire(timeout_s=5).guest == 2
    until(lambda: source.removed == [1])
    until(lambda: numbers(pool) == [3, 4])


def test_one_that_died_is_replaced_although_nobody_asks(source: Numbers) -> None:
    with WarmPool(replace(RULES, check_every_s=0.01), source) as pool:
        until(lambda: numbers(pool) == [1, 2])
        source.dead = {2}
        until(lambda: numbers(pool) == [1, 3])


def test_one_whose_look_itself_fails_is_not_handed_out(
    pool: WarmPool[int], source: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(guest: int) -> bool:
        if guest == 1:
            raise HarnessError("it hung up")
        return True

    monkeypatch.setattr(source, "prepare_for_client", look)
    assert pool.acquire(timeout_s=5).guest == 2


def test_old_ones_are_replaced(source: Numbers) -> None:
    clock = [0.0]
    with WarmPool(replace(RULES, check_every_s=0.01), source, now=lambda: clock[0]) as pool:
        until(lambda: numbers(pool) == [1, 2])
        clock[0] = 61.0
        with pool.guest(timeout_s=5) as guest:
            assert guest > 2
            assert {1, 2} <= set(source.removed)


def test_failures_are_tried_again_and_nobody_hears_of_them(source: Numbers) -> None:
    source.fail = [BenchError("no memory"), BenchError("no luck")]
    with WarmPool(RULES, source) as pool:
        assert pool.acquire(timeout_s=5).guest == 3


def test_after_several_failures_in_a_row_all_who_wait_are_told_why(source: Numbers) -> None:
    source.fail = [CapacityError("no place", next_step="make one")] * 3
    gate, source.slow_s = [], 0.2
    with WarmPool(RULES, source) as pool, ThreadPoolExecutor() as threads:
        jobs = [threads.submit(pool.acquire, timeout_s=30) for _ in range(2)]
        for job in jobs:
            with pytest.raises(CapacityError, match="no guest comes up, 3 failures in a row, the last: no p") as got:
                job.result()
            gate.append(got.value.next_step)
        assert gate == ["make one", "make one"]
        assert pool.acquire(timeout_s=5).guest == 4  # it went on trying


def test_even_a_bug_in_making_a_guest_is_told(source: Numbers) -> None:
    source.fail = [ZeroDivisionError("oh")] * 3
    with (
        WarmPool(RULES, source) as pool,
        pytest.raises(BenchError, match="our fault: ZeroDivisionError: oh"),
    ):
        pool.acquire(timeout_s=30)


def test_who_waits_too_long_is_told_who_has_them(pool: WarmPool[int]) -> None:
    held = [pool.acquire(timeout_s=5) for _ in range(3)]
    with pytest.raises(CapacityError, match=r"within 0\.05 s: 3 of 3 are handed out, 0 on their way, 1 wait for one"):
        pool.acquire(timeout_s=0.05)
    assert pool.state.queue == ()
    for one in held:
        pool.release(one)


def test_closing_wakes_who_waits_removes_what_is_warm_and_leaves_what_is_held(source: Numbers) -> None:
    with ThreadPoolExecutor() as threads:
        with WarmPool(replace(RULES, size=1), source) as pool:
            held = [pool.acquire(timeout_s=5) for _ in range(3)]
            waiting = [threads.submit(pool.acquire, timeout_s=30) for _ in range(3)]
            until(lambda: len(pool.state.queue) == 3)
        for job in waiting:
            with pytest.raises(PoolClosed, match="is shut down"):
                job.result()
    assert source.exist == {1, 2, 3}
    for one in held:
        pool.release(one)
    assert source.exist == set()
    with pytest.raises(PoolClosed):
        pool.acquire(timeout_s=5)
    assert [thread.name for thread in threading.enumerate() if thread.name == "warm-pool"] == []


def test_closing_ends_a_guest_on_its_way(source: Numbers) -> None:
    source.slow_s = 60
    begun = time.monotonic()
    with WarmPool(RULES, source) as pool:
        until(lambda: pool.state.being_made == 1)
    assert time.monotonic() - begun < 5
    assert (source.exist, pool.state.being_made) == (set(), 0)


def test_an_interrupt_while_a_guest_is_looked_at_loses_no_guest(
    source: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(guest: int) -> bool:
        raise KeyboardInterrupt

    with WarmPool(RULES, source) as pool:
        until(lambda: numbers(pool) == [1, 2])
        monkeypatch.setattr(source, "prepare_for_client", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.acquire(timeout_s=5)
    assert source.exist == set()


def test_what_cannot_be_removed_is_named_at_the_end(source: Numbers) -> None:
    source.stuck = "process 7"
    with pytest.raises(CleanupError, match=r"left running: process 7, process 7") as told:  # noqa: SIM117
        with WarmPool(RULES, source) as pool:
            until(lambda: numbers(pool) == [1, 2])
    assert told.value.next_step == "`ptp-harness sweep --yes`"
    source.stuck = ""


def test_many_threads_many_deaths_and_failures_leave_nothing_and_serve_each_guest_once(source: Numbers) -> None:
    rules = replace(RULES, ttl_s=0.02, check_every_s=0.005, give_up_after=5)
    served: list[int] = []

    def work(number: int) -> None:
        with suppress(BenchError), pool.guest(timeout_s=10) as guest:
            served.append(guest)
            if number % 3 == 0:
                source.dead.update(range(guest + 1, guest + 3))
            if number % 5 == 0:
                source.fail.append(BenchError("now and then"))
            time.sleep(0.002)

    with WarmPool(rules, source, makers=2) as pool, ThreadPoolExecutor(max_workers=10) as threads:
        list(threads.map(work, range(60)))
    assert len(set(served)) == len(served) == 60
    assert source.most <= 3
    assert source.exist == set()
