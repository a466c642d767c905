"""Carry out short reads of the ledger together: one change of threads, or one query, for all that wait.

Threads of Python wait for one another: a read in a thread of its own costs its request more than the read itself.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from anyio import to_thread
from anyio.lowlevel import RunVar

MOST_TOGETHER = 16
"""Reads of a batch. Each of them is answered once all of them are done."""

Parameters = ParamSpec("Parameters")
Key = TypeVar("Key")
Result = TypeVar("Result")


class ReadTogether(Generic[Key, Result]):
    """Reads what requests wait for at the same time, in one call in a thread.

    `read_all`: returns for each key its result, or its error; what it raises is the error of each.
    """

    def __init__(self, read_all: Callable[[Sequence[Key]], Sequence[Result | Exception]]) -> None:
        self._read_all = read_all
        self._batches: RunVar[_Batches[Key, Result]] = RunVar("batches")

    async def read(self, key: Key) -> Result:
        """Read what belongs to a key, not earlier than now."""
        batches = self._batches.get(None)
        if batches is None:
            batches = _Batches(self._read_all)
            self._batches.set(batches)
        return await batches.add(key)


class _Batches(Generic[Key, Result]):
    """The reads that wait, of one event loop."""

    def __init__(self, read_all: Callable[[Sequence[Key]], Sequence[Result | Exception]]) -> None:
        self._read_all = read_all
        self._waiting: list[tuple[asyncio.Future[Result], Key]] = []
        self._worker: asyncio.Task[None] | None = None

    def add(self, key: Key) -> "asyncio.Future[Result]":
        """Add a read; return its result to come."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, key))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                await self._answer(batch)
        finally:
            self._worker = None

    async def _answer(self, batch: Sequence[tuple["asyncio.Future[Result]", Key]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await to_thread.run_sync(self._read_all, [key for _, key in batch])
        except Exception as error:
            results = [error] * len(batch)
        except BaseException:  # the loop ends
            for future, _ in batch:
                future.cancel()
            raise
        for (future, _), result in zip(batch, results, strict=True):
            if future.done():  # its request was given up
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def short_read(route: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    """Make a route of a function that reads the ledger for about a millisecond, and does nothing else that waits."""

    @functools.wraps(route)
    async def carry_out(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        result: Result = await _SHORT_READS.read(functools.partial(route, *arguments, **named))
        return result

    return carry_out


def _carry_out(reads: Sequence[Callable[[], Any]]) -> list[Any]:
    done: list[Any] = []
    for read in reads:
        try:
            done.append(read())
        except Exception as error:
            done.append(error)
    return done


_SHORT_READS: ReadTogether[Callable[[], Any], Any] = ReadTogether(_carry_out)
