"""No call of the ledger holds up the event loop: each has its deadline, and the most urgent goes first."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from harness.errors import ConflictError, SetupError
from harness.watch.ledger_calls import CircuitState, LedgerCalls, LedgerSilentError, Urgency


def with_calls(act: Callable[[LedgerCalls], Awaitable[None]]) -> None:
    async def run() -> None:
        calls = LedgerCalls()
        try:
            await act(calls)
        finally:
            await calls.end(5)

    asyncio.run(run())


def refuse() -> None:
    raise SetupError("the disk is full")


def conflict() -> None:
    raise ConflictError("taken")


def test_a_call_s_result_and_its_error_arrive() -> None:
    async def act(calls: LedgerCalls) -> None:
        assert await calls.call(lambda: 7, urgency=Urgency.LIVE, within_s=10) == 7
        with pytest.raises(SetupError, match="the disk is full"):
            await calls.call(refuse, urgency=Urgency.HEARTBEAT, within_s=10)
        assert calls.failures == {"SetupError": 1}

    with_calls(act)


def test_a_call_that_takes_too_long_is_given_up_and_the_loop_goes_on() -> None:
    release = threading.Event()

    async def act(calls: LedgerCalls) -> None:
        begun = time.monotonic()
        with pytest.raises(LedgerSilentError, match=r"did not answer within 0\.3 s"):
            await calls.call(lambda: release.wait(30), urgency=Urgency.HEARTBEAT, within_s=0.3)
        assert time.monotonic() - begun < 5
        assert calls.state is CircuitState.OPEN
        with pytest.raises(LedgerSilentError, match="is away"):
            await calls.call(lambda: 1, urgency=Urgency.LIVE, within_s=10)
        made = []
        with pytest.raises(LedgerSilentError):
            await calls.call(lambda: made.append(1), urgency=Urgency.HEARTBEAT, within_s=0.2)
        release.set()
        assert await calls.call(lambda: 8, urgency=Urgency.HEARTBEAT, within_s=10) == 8
        assert made == [], "what was given up before it began is not made"
        assert calls.state is CircuitState.CLOSED
        assert await calls.call(lambda: 1, urgency=Urgency.LIVE, within_s=10) == 1

    with_calls(act)


def test_the_most_urgent_call_goes_first() -> None:
    release, order = threading.Event(), list[str]()

    async def act(calls: LedgerCalls) -> None:
        first = asyncio.create_task(calls.call(lambda: release.wait(30), urgency=Urgency.LIVE, within_s=60))
        await asyncio.sleep(0.1)
        waiting = [
            asyncio.create_task(calls.call(lambda name=name: order.append(name), urgency=urgency, within_s=60))  # type: ignore[misc]
            for name, urgency in (
                ("replay", Urgency.REPLAY),
                ("live", Urgency.LIVE),
                ("states", Urgency.STATES),
                ("heartbeat", Urgency.HEARTBEAT),
            )
        ]
        await asyncio.sleep(0.1)
        release.set()
        await asyncio.gather(first, *waiting)
        assert order == ["heartbeat", "states", "live", "replay"]

    with_calls(act)


def test_a_conflict_says_nothing_about_the_ledger() -> None:
    async def act(calls: LedgerCalls) -> None:
        with pytest.raises(ConflictError):
            await calls.call(conflict, urgency=Urgency.HEARTBEAT, within_s=10)
        assert calls.state is CircuitState.CLOSED

    with_calls(act)
