"""How is the device bent while it runs? One JSON object a line in, one JSON object a line out.

ControlServer is the device's side, part of its poll loop; ask() is the side of whoever bends it.
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
CHUNK = 2_048  # read from one client before the others have their turn: each line in it costs a reply
LONGEST_ERROR = 2_000
MAX_CLIENTS = 8
BACKLOG = 64  # a full one refuses at once, so it is longer than any number of clients that makes sense
Answer = Callable[[object], dict[str, Any]]  # a decoded line -> the reply; raises BadRequest


class ControlError(Exception):
    """The device said no, or nothing."""


def ask(path: str, *, timeout_s: float = 5.0, **changes: int | bool | str) -> dict[str, Any]:
    """Ask the device at a control socket for changes, and return its state after them.

    No changes: only the state. Raises ControlError when the device refuses, is not there, or does not answer in time.
    """
    end = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(path)
            sock.sendall(json.dumps(changes or {"state": True}).encode() + b"\n")
            reply = json.loads(_line(sock, end))
    except TimeoutError as e:
        raise ControlError(f"{path}: no answer within {timeout_s:g} s") from e
    except (OSError, ValueError, RecursionError) as e:
        raise ControlError(f"{path}: {e}") from e
    if not isinstance(reply, dict):
        raise ControlError(f"{path}: no device answers there, but something else")
    if "error" in reply:
        raise ControlError(f"{path}: {reply['error']}")
    return dict(reply)


def _line(sock: socket.socket, end: float) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
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
        self.heard_at = time.monotonic()

    def lines(self) -> Iterator[bytes]:
        """The whole lines that have come. Raises OSError or EOFError when the client is to be dropped."""
        part = self.sock.recv(CHUNK)
        if not part:
            raise EOFError
        self.heard_at = time.monotonic()
        self.data += part
        *whole, self.data = self.data.split(b"\n")
        yield from whole

    def send(self, reply: dict[str, Any]) -> None:
        data = json.dumps(reply).encode() + b"\n"
        if self.sock.send(data) < len(data):
            raise BlockingIOError("does not read its replies")


class ControlServer:
    """The control socket and its clients. Nothing here waits: a client that is silent or does not read harms nobody."""

    def __init__(self, path: str, answer: Answer, log: Callable[[str], None]) -> None:
        self._listener = ListeningSocket(path, BACKLOG)
        self._answer, self._log = answer, log
        self._clients: dict[int, _Client] = {}

    def fds(self) -> list[int]:
        """The listening socket last: a new client may take the place of one that has something to say."""
        return [*self._clients, self._listener.fileno()]

    def ready(self, fd: int) -> None:
        """Something has come on one of fds()."""
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
            longest_silent = min(self._clients, key=lambda fd: self._clients[fd].heard_at)
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
            error = _cut(str(e))
        except (ValueError, RecursionError) as e:
            error = f"not a line of JSON: {e}"
        self._log(f"control: {error}")
        return {"error": error}

    def _drop(self, fd: int) -> None:
        self._clients.pop(fd).sock.close()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}... ({len(text)} characters)"
