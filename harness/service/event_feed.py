"""Follow the events of runs for many clients: the ledger is asked once for all who follow, and only while some do.

Each client has a place of its own, the number of the event that it got last. Events that are new wait in memory, a few
hundred of each run, for all clients of the run; a client that is behind them gets pages of the ledger, so that a slow
one costs no memory. Everything here but the readings of the ledger happens in the event loop.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from json import dumps
from typing import TypeVar

from harness.errors import HarnessError
from harness.runs.event_lines import event_document
from harness.service.problems import ServiceError
from harness.store.event_heads import EventHead, read_heads, read_news
from harness.store.event_log import NumberedEvent
from harness.store.ledger import Ledger
from harness.store.run_query import RunState

MOST_FOLLOWERS = 2000
POLL_S = 0.1
HEARTBEAT_S = 15.0
LONGEST_S = 600.0
"""A stream ends after so long: its client comes again behind the last event, with a token that is checked again."""

RECENT_EVENTS = 256
PAGE_EVENTS = 100
_MOST_JOINED = 8
_READERS = 2
_COMES_AGAIN = b"retry: 1000\n\n"
_HEARTBEAT = b": still here\n\n"
_STOPPING = b": the service is being stopped\n\n"

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


def encode_event(numbered: NumberedEvent) -> bytes:
    """Write an event as the stream has it, with its number as the id."""
    return b"id: %d\ndata: %b\n\n" % (numbered.number, dumps(event_document(numbered)).encode())


def encode_end(state: RunState, number: int) -> bytes:
    """Write the last event of a stream, named `end`, with the state of the run."""
    return b"event: end\nid: %d\ndata: %b\n\n" % (number, dumps({"state": state}).encode())


@dataclass(slots=True)
class _FollowedRun:
    """A run that clients follow. `recent`: its latest events as they are sent, all those with numbers above `base`.

    `joined`: those behind some numbers as one text: most clients have the same place.
    """

    run: str
    followers: int = 0
    head: EventHead | None = None
    base: int = 0
    last: int = 0
    recent: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=RECENT_EVENTS))
    joined: dict[int, bytes] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, events: Sequence[NumberedEvent]) -> None:
        """Add events that are behind all others."""
        for numbered in events:
            if len(self.recent) == RECENT_EVENTS:
                self.base = self.recent[0][0]
            self.recent.append((numbered.number, encode_event(numbered)))
            self.last = numbered.number
        self.joined.clear()

    def join_behind(self, number: int) -> bytes:
        """Join the recent events behind a number."""
        if number in self.joined:
            return self.joined[number]
        joined = b"".join(sent for each, sent in self.recent if each > number)
        if len(self.joined) < _MOST_JOINED:
            self.joined[number] = joined
        return joined

    def begin(self, head: EventHead) -> None:
        """Begin at the latest event, where nothing was read before."""
        if self.head is None:
            self.base = self.last = head.events

    def take(self, head: EventHead, news: Sequence[NumberedEvent]) -> None:
        """Take what was read of the run, and wake all who wait where there is something new."""
        before, self.head = self.head, head
        if news:
            self.add(news)
        else:
            self.last = head.events  # what was pruned is not waited for
        if before is None or news or not head.goes_on:
            self.tell()

    def tell(self) -> None:
        """Wake all who wait for something new."""
        self.changed.set()
        self.changed = asyncio.Event()


class EventFeed:
    """The runs that clients of this process follow. `draining`: once it is set, every stream ends."""

    def __init__(self, ledger: Ledger, draining: threading.Event) -> None:
        self._ledger, self._draining = ledger, draining
        self._runs: dict[str, _FollowedRun] = {}
        self._followers = 0
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="events")
        self._poller: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @property
    def followers(self) -> int:
        """How many streams are open."""
        return self._followers

    @property
    def runs(self) -> list[str]:
        """The runs that clients follow, by their names."""
        return sorted(self._runs)

    def check_room(self) -> None:
        """Raise ServiceError (503) where too many streams are open."""
        if self._followers >= MOST_FOLLOWERS:
            raise ServiceError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._followers} clients follow events here",
                next_step="try again in a minute, or read events as JSON: Accept: application/json",
                headers={"Retry-After": "60"},
            )

    async def follow(self, run: str, after: int) -> AsyncIterator[bytes]:
        """Yield what a stream of a run's events sends, behind a number, until the run has ended."""
        followed = self._join(run)
        place, sent_at = after, time.monotonic()
        ends_at = sent_at + LONGEST_S
        try:
            yield _COMES_AGAIN
            while (now := time.monotonic()) < ends_at:
                if self._draining.is_set():
                    yield _STOPPING
                    return
                if now - sent_at >= HEARTBEAT_S:
                    yield _HEARTBEAT
                    sent_at = now
                changed, head = followed.changed, followed.head
                if head is not None and place < followed.base:
                    page = await self._read(lambda: self._ledger.events(run, after=place, most=PAGE_EVENTS))  # noqa: B023
                    place = page[-1].number if page else followed.base
                    if page:
                        yield b"".join(map(encode_event, page))
                    continue
                if place < followed.last:
                    news, place, sent_at = followed.join_behind(place), followed.last, now
                    yield news
                    continue
                if head is not None and not head.goes_on and followed.last >= head.events:
                    yield encode_end(head.line.state, max(place, head.events))
                    return
                await changed.wait()
        except HarnessError as error:
            _log.warning("a stream of events ends: %s", error)
        finally:
            self._leave(followed)

    def _join(self, run: str) -> _FollowedRun:
        followed = self._runs.setdefault(run, _FollowedRun(run))
        followed.followers += 1
        self._followers += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        self._wake.set()
        return followed

    def _leave(self, followed: _FollowedRun) -> None:
        followed.followers -= 1
        self._followers -= 1
        if not followed.followers:
            self._runs.pop(followed.run, None)

    async def _watch(self) -> None:
        """Wake all clients for a heartbeat, and once the service is to end, also while the ledger does not answer."""
        told_at = time.monotonic()
        while self._runs:
            if self._draining.is_set() or time.monotonic() - told_at >= HEARTBEAT_S:
                told_at = time.monotonic()
                for followed in self._runs.values():
                    followed.tell()
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> None:
        """Ask the ledger for news of all followed runs, again and again, until nobody follows one."""
        while self._runs:
            begun = time.monotonic()
            try:
                await self._look()
            except HarnessError as error:
                _log.warning("the events of runs were not read: %s", error)
            except Exception:
                _log.exception("our fault: the events of runs were not read")
            # Many runs take long to ask for: at most a tenth of the time is spent on it.
            self._wake.clear()
            await _wait(self._wake, max(POLL_S, 9 * (time.monotonic() - begun)))

    async def _look(self) -> None:
        """Read how far the followed runs are, then what is new of them, and wake who waits for it.

        Of a run that was not looked at before nothing is new: its clients read what was before from the ledger.
        """
        followed = dict(self._runs)
        heads = await self._read(lambda: read_heads(self._ledger.database, followed))
        for run, head in heads.items():
            followed[run].begin(head)
        behind = {run: followed[run].last for run, head in heads.items() if followed[run].last < head.events}
        news = await self._read(lambda: read_news(self._ledger.database, behind, most=RECENT_EVENTS)) if behind else {}
        for run, head in heads.items():
            followed[run].take(head, news.get(run, ()))

    async def _read(self, action: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, action)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
