"""Short reads are carried out together, each with its own result, and one that hangs or fails spoils no other."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Path

from harness.errors import RequestError
from harness.service.short_reads import MOST_TOGETHER, ReadTogether, short_read

READS = 5 * MOST_TOGETHER


def test_each_read_has_its_own_result_in_few_changes_of_threads() -> None:
    threads: list[tuple[int, int]] = []

    @short_read
    def double(number: int, *, more: int = 0) -> int:
        threads.append((threading.get_ident(), number))
        if number % 7 == 3:
            raise RequestError(f"{number} is refused")
        return 2 * number + more

    async def read() -> list[int | BaseException]:
        return await asyncio.gather(*(double(number, more=1) for number in range(READS)), return_exceptions=True)

    for number, result in enumerate(asyncio.run(read())):
        if number % 7 == 3:
            assert isinstance(result, RequestError)
            assert result.message == f"{number} is refused"
        else:
            assert result == 2 * number + 1
    assert [number for _, number in threads] == list(range(READS)), "in the order in which they came"
    assert threading.get_ident() not in {thread for thread, _ in threads}, "the loop goes on meanwhile"


def test_a_read_that_nobody_waits_for_any_more_leaves_the_others_alone() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    @short_read
    def wait(number: int) -> int:
        if number == 0:
            begun.set()
            assert goes_on.wait(60)
        return number

    async def read() -> list[int]:
        given_up, kept = (
            [asyncio.ensure_future(wait(0)), asyncio.ensure_future(wait(1))],
            asyncio.ensure_future(wait(2)),
        )
        while not begun.is_set():
            await asyncio.sleep(0.001)
        late = asyncio.ensure_future(wait(3))
        await asyncio.sleep(0)
        for each in given_up:
            each.cancel()
        goes_on.set()
        return [await kept, await late]

    assert asyncio.run(read()) == [2, 3]


def test_keys_are_read_together_and_what_the_reading_raises_is_the_error_of_each() -> None:
    batches: list[list[int]] = []

    def double_all(numbers: Sequence[int]) -> list[int | Exception]:
        batches.append([*numbers])
        if 20 in numbers:
            raise RequestError("the ledger is away")
        return [2 * number if number != 40 else RequestError("40 is refused") for number in numbers]

    doubled = ReadTogether(double_all)

    async def read() -> list[int | BaseException]:
        return await asyncio.gather(*(doubled.read(number) for number in range(READS)), return_exceptions=True)

    results = asyncio.run(read())
    assert batches == [[*range(first, first + MOST_TOGETHER)] for first in range(0, READS, MOST_TOGETHER)]
    for number, result in enumerate(results):
        if 16 <= number < 32 or number == 40:
            words = "the ledger is away" if number < 32 else "40 is refused"
            assert isinstance(result, RequestError)
            assert result.message == words
        else:
            assert result == 2 * number


def test_each_loop_has_reads_of_its_own() -> None:
    @short_read
    def read() -> int:
        return threading.get_ident()

    async def several() -> None:
        await asyncio.gather(read(), read())

    def run_loops() -> None:
        for _ in range(20):
            asyncio.run(several())

    others = [threading.Thread(target=run_loops) for _ in range(3)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(60)
        assert not thread.is_alive()


def test_a_loop_that_ends_in_the_middle_leaves_nobody_waiting() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    @short_read
    def wait() -> None:
        begun.set()
        assert goes_on.wait(60)

    async def end() -> None:
        reading = asyncio.ensure_future(wait())
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(end())


def test_a_route_keeps_its_parameters() -> None:
    app = FastAPI()

    @app.get("/{run}")
    @short_read
    def show(run: Annotated[str, Path(max_length=4)], most: int = 5) -> dict[str, Any]:
        """Show."""
        return {"run": run, "most": most}

    route: Callable[..., Awaitable[dict[str, Any]]] = show
    assert asyncio.run(_call(route)) == {"run": "k3f9", "most": 5}
    names = [each["name"] for each in app.openapi()["paths"]["/{run}"]["get"]["parameters"]]
    assert names == ["run", "most"]


async def _call(route: Callable[..., Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    return await route("k3f9")
