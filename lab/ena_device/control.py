"""Change the running device by a control socket: one JSON object per line in, one JSON object per line out.

ControlServer is the device's side, part of its poll loop; ask() is the client's side.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from ena_device.device_errors import BadRequest
from ena_device.sockets import ListeningSocket

MAX_LINE = 16_384
MAX_REPLY = 1 << 20
READ_BYTES = 2_048  # read from one client at a time before the next one is served: each line costs a reply
LONGEST_ERROR = 2_000
MAX_CLIENTS = 8
BACKLOG = 64  # a full backlog refuses at once, so it exceeds any sensible number of clients
AnswerRequest = Callable[[object], dict[str, Any]]  # a decoded line -> the reply; raises BadRequest


class ControlError(Exception):
    """The device refused the request, or did not answer."""


def ask(path: str, *, timeout_s: float = 5.0, **changes: int | bool | str) -> dict[str, Any]:
    """Request changes from the device at a control socket, and return its state after them.

    Without changes it only returns the state. Raises ControlError when the device refuses, is absent, or is too late.
    """
    deadline_s = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(path)
            sock.sendall(json.dumps(changes or {"state": True}).encode() + b"\n")
            reply = json.loads(_line(sock, deadline_s))
    except TimeoutError as e:
        raise ControlError(f"{path}: no answer within {timeout_s:g} s") from e
    except (OSError, ValueError, RecursionError) as e:
        raise ControlError(f"{path}: {e}") from e
    if not isinstance(reply, dict):
        raise ControlError(f"{path}: no device answers there, but something else")
    if "error" in reply:
        raise ControlError(f"{path}: {reply['error']}")
    return dict(reply)


def _line(sock: socket.socket, deadline_s: float) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        sock.settimeout(remaining_s)
        part = sock.recv(65_536)
        if not part:
            raise ConnectionError("closed without an answer")
        data += part
        if len(data) > MAX_REPLY:
            raise ConnectionError(f"an answer of more than {MAX_REPLY} bytes")
    return bytes(data)


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.data = b""
        self.last_received_s = time.monotonic()

    def lines(self) -> Iterator[bytes]:
        """Read the complete lines that have arrived. Raises OSError or EOFError when the client is to be dropped."""
        part = self.sock.recv(READ_BYTES)
        if not part:
            raise EOFError
        self.last_received_s = time.monotonic()
        self.data += part
        *complete_lines, self.data = self.data.split(b"\n")
        yield from complete_lines

    def send(self, reply: dict[str, Any]) -> None:
        data = json.dumps(reply).encode() + b"\n"
        if self.sock.send(data) < len(data):
            raise BlockingIOError("does not read its replies")


class ControlServer:
    """The control socket and its clients. It never blocks: a client that is silent or does not read delays nobody."""

    def __init__(self, path: str, answer: AnswerRequest, log: Callable[[str], None]) -> None:
        self._listener = ListeningSocket(path, BACKLOG)
        self._answer, self._log = answer, log
        self._clients: dict[int, _Client] = {}

    def fds(self) -> list[int]:
        """List the descriptors to poll, the listening socket last: a new client may replace one with pending input."""
        return [*self._clients, self._listener.fileno()]

    def handle(self, fd: int) -> None:
        """Handle input on one of fds()."""
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._clients:
            self._serve(fd)

    def close(self) -> None:
        for fd in list(self._clients):
            self._drop(fd)
        self._listener.close()

    def _accept(self) -> None:
        sock = self._listener.accept()
        if sock is None:
            return
        if len(self._clients) >= MAX_CLIENTS:
            longest_silent = min(self._clients, key=lambda fd: self._clients[fd].last_received_s)
            self._log(f"control: more than {MAX_CLIENTS} clients, the longest silent one is dropped")
            self._drop(longest_silent)
        self._clients[sock.fileno()] = _Client(sock)

    def _serve(self, fd: int) -> None:
        client = self._clients[fd]
        try:
            for line in client.lines():
                client.send(self._reply(line))
            if len(client.data) > MAX_LINE:
                client.send({"error": f"line of more than {MAX_LINE} bytes"})
                self._drop(fd)
        except (OSError, EOFError):
            self._drop(fd)

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            return self._answer(json.loads(line))
        except BadRequest as e:
            error = _shorten(str(e))
        except (ValueError, RecursionError) as e:
            error = f"not a line of JSON: {e}"
        self._log(f"control: {error}")
        return {"error": error}

    def _drop(self, fd: int) -> None:
        self._clients.pop(fd).sock.close()


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}... ({len(text)} characters)"
