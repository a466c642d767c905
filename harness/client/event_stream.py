"""Follow the events of a run: a stream that goes on behind the last event where its connection was lost."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from harness.client.failures import FailedTry
from harness.client.service_connection import ServiceConnection
from harness.errors import SetupError

EVENT, END = "message", "end"
"""The kinds of what a stream has: an event of the run, and the end of the run, with which the stream ends."""

_LASTS_S = 5.0
"""A stream that lasted so long was a good one: after it, the first pause is a short one again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPart:
    """A part of a stream: its kind, its number (0: it has none), and what it says."""

    kind: str
    number: int
    data: Any


def follow_stream(connection: ServiceConnection, path: str, *, after: int = 0) -> Iterator[StreamPart]:
    """Yield the parts of a stream behind the number `after`, until its end.

    A connection that ends earlier is made again, with Last-Event-ID: no event is lost, none comes twice. Raises
    UnavailableError once no connection could be made for the length of a call's deadline, and RequestError.
    """
    retries, failures, answered_at = connection.options.retries, 0, time.monotonic()
    while True:
        opened_at = None
        try:
            with connection.open("GET", path, headers=_headers(after)) as response:
                opened_at = answered_at = time.monotonic()
                for part in _read_parts(response, connection.url):
                    failures, answered_at = 0, time.monotonic()
                    after = max(after, part.number)
                    yield part
                    if part.kind == END:
                        return
            raise FailedTry("ended the stream of events before the end of the run")
        except FailedTry as error:
            now = time.monotonic()
            if opened_at is not None:
                answered_at = now
                failures = 0 if now - opened_at > _LASTS_S else failures
            failures += 1
            left_s = answered_at + retries.deadline_s - now
            pause_s = retries.draw_next_pause_s(failures, left_s, least_s=error.after_s)
            if pause_s is None:
                raise connection.give_up(error) from error
            if failures == 2:
                connection.options.notify(f"the service {connection.url} {error}; it is asked again")
            connection.options.pause(pause_s)


def _headers(after: int) -> dict[str, str]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    return headers | {"Last-Event-ID": str(after)} if after else headers


def _read_parts(response: httpx2.Response, url: str) -> Iterator[StreamPart]:
    for event in httpx2.EventSource(response):
        if not event.data:
            continue  # it says only when to come again
        yield StreamPart(kind=event.event, number=_number(event.id), data=_data(event, url))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _data(event: httpx2.ServerSentEvent, url: str) -> Any:
    try:
        return json.loads(event.data)
    except (ValueError, RecursionError) as error:
        raise SetupError(
            f"the events of {url} are not JSON",
            next_step="use a version of ptp-harness that is as new as that of the service",
        ) from error
