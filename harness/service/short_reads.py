"""Carry out short reads of the ledger together: one change of threads for all that wait.

Threads of Python wait for one another: a read in a thread of its own costs its request more than the read itself.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from anyio import to_thread
from anyio.lowlevel import RunVar

MOST_TOGETHER = 16
"""Reads of a batch. Each of them is answered once all of them are done."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def short_read(route: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    """Make a route of a function that reads the ledger for about a millisecond, and does nothing else that waits."""

    @functools.wraps(route)
    async def carry_out(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        result: Result = await _batches().add(functools.partial(route, *arguments, **named))
        return result

    return carry_out


class _Batches:
    """The reads that wait, of one event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
        self._worker: asyncio.Task[None] | None = None

    def add(self, read: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Add a read; return its result to come."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((future, read))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                await _answer(batch)
        finally:
            self._worker = None


async def _answer(batch: Sequence[tuple["asyncio.Future[Any]", Callable[[], Any]]]) -> None:
    try:
        done = await to_thread.run_sync(_read_all, [read for _, read in batch])
    except BaseException:  # the loop ends
        for future, _ in batch:
            future.cancel()
        raise
    for (future, _), (result, error) in zip(batch, done, strict=True):
        if future.done():  # its request was given up
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _read_all(reads: Sequence[Callable[[], Any]]) -> list[tuple[Any, Exception | None]]:
    done: list[tuple[Any, Exception | None]] = []
    for read in reads:
        try:
            done.append((read(), None))
        except Exception as error:
            done.append((None, error))
    return done


_BATCHES: RunVar[_Batches] = RunVar("batches")


def _batches() -> _Batches:
    batches = _BATCHES.get(None)
    if batches is None:
        batches = _Batches()
        _BATCHES.set(batches)
    return batches
