"""Bound what connections cost: how many there are, and how long and how much they may send or leave unread.

uvicorn closes a connection that is idle between two requests, and bounds neither the first request nor slow headers.
"""

import asyncio
import resource
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_WITHIN_S = 15.0
MOST_HEADER_BYTES = 64 * 1024
UNREAD_WITHIN_S = 60.0
"""A client that does not read its answer for so long is cut off."""

DRAIN_WITHIN_S, MOST_DRAINED_BYTES = 5.0, 8 * 1024 * 1024
"""The rest of a body whose request is answered already is thrown away up to here: a client that still sends would
otherwise not see the answer."""

MOST_CONNECTIONS = 4096
_FILES_FOR_OTHERS = 256
_MOST_FILES = 65_536


class Connections:
    """The connections of a server. Those that wait for a request are known in the order in which they began to."""

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self.most = most
        self.waiting: OrderedDict[BoundedProtocol, None] = OrderedDict()


class BoundedProtocol(HttpToolsProtocol):
    """A connection of uvicorn's, within the bounds of this module. Pass it to uvicorn with `connections` bound."""

    def __init__(self, *args: Any, shared: Connections, **more: Any) -> None:
        super().__init__(*args, **more)
        self._shared = shared
        self._deadline: asyncio.TimerHandle | None = None  # of the headers, or of what is thrown away
        self._unread: asyncio.TimerHandle | None = None
        self._in_headers = True
        self._header_bytes = self._drained_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where there are too many, the one that has waited longest makes room."""
        super().connection_made(transport)
        self._shared.waiting[self] = None
        self._set_deadline(HEADERS_WITHIN_S)
        if len(self.connections) > self._shared.most:
            oldest, _ = self._shared.waiting.popitem(last=False)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._shared.waiting.pop(self, None)
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends: headers of bounded size, and a bounded rest of what nobody reads."""
        answered = self.cycle is not None and self.cycle.response_complete and self.cycle.more_body
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers and self._header_bytes > MOST_HEADER_BYTES:
            self._refuse_headers()
        elif answered and self.cycle.more_body and not self._in_headers:
            self._throw_away(len(data))
        elif self in self._shared.waiting and self._deadline is None:  # no request began, as by empty lines
            self._set_deadline(HEADERS_WITHIN_S)

    def on_message_begin(self) -> None:
        """Begin a request: its headers have their own deadline."""
        super().on_message_begin()
        if not self._in_headers:
            self._in_headers, self._header_bytes = True, 0
            self._set_deadline(HEADERS_WITHIN_S)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer of a body in chunks, which is dropped: nothing here reads any."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer the request."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEADER_BYTES:
            self._refuse_headers()
            return
        self._in_headers = False
        self._cancel_deadline()
        self._shared.waiting.pop(self, None)
        self._drained_bytes = 0
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._shared.waiting[self] = None

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, unless its request was refused."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; what was thrown away of it is over."""
        if self.cycle is not None:
            if self.cycle.response_complete:
                self.cycle.more_body = False
                self._set_deadline(HEADERS_WITHIN_S)
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Note that the client does not read its answer."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _throw_away(self, number: int) -> None:
        if not self._drained_bytes:
            self._set_deadline(DRAIN_WITHIN_S)
        self._drained_bytes += number
        if self._drained_bytes > MOST_DRAINED_BYTES:
            self.transport.abort()

    def _refuse_headers(self) -> None:
        content = b"the headers are too large"
        lines = [
            b"HTTP/1.1 431 Request Header Fields Too Large",
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(content),
            b"connection: close",
        ]
        if not self.transport.is_closing():
            self.transport.write(b"\r\n".join([*lines, b"", content]))
            self.transport.close()

    def _set_deadline(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, self._close)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def allow_connections() -> int:
    """Let this process open as many files as it may; return how many connections it can have then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    files = wanted if soft == resource.RLIM_INFINITY else soft
    return max(16, min(MOST_CONNECTIONS, files - _FILES_FOR_OTHERS))
