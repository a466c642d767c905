"""Exchange JSON lines with a guest or with QEMU over a unix socket, within a deadline.

A guest may send arbitrary data without end, so the memory and the time spent on reading are bounded.
"""

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import CommandError

MOST_BYTES = 2**20
"""Limit of one line. Legitimate lines have at most some kilobytes: an agent's reply holds 2000 characters of output."""

_RETRY_S = 0.01
SEND_DEADLINE_S = 30.0
_PART_BYTES = 65536


class JsonLines:
    """A connection with one JSON object per line in each direction. Raises CommandError on disconnect or timeout."""

    def __init__(self, path: Path, *, deadline_s: float) -> None:
        """Connect, waiting up to `deadline_s` for the other side to listen."""
        self.path = path
        self._data = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(max(deadline_s, _RETRY_S))
        give_up_s = time.monotonic() + deadline_s
        while True:
            try:
                _connect(self._socket, path)
                return
            except OSError as error:
                if time.monotonic() > give_up_s:
                    self._socket.close()
                    raise self._make_error(f"cannot connect: {error.strerror}", deadline_s) from error
                time.sleep(_RETRY_S)

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one object, with open files for the other side (unix(7), SCM_RIGHTS)."""
        data = json.dumps(message).encode() + b"\n"
        try:
            self._socket.settimeout(SEND_DEADLINE_S)
            if descriptors:
                data = data[socket.send_fds(self._socket, [data], descriptors) :]
            self._socket.sendall(data)
        except TimeoutError as error:
            raise self._make_timeout_error(SEND_DEADLINE_S) from error
        except OSError as error:
            raise self._make_error(f"cannot write: {error.strerror}", 0) from error

    def receive(self, *, deadline_s: float) -> dict[str, Any]:
        """Return the next object, skipping lines that are no JSON object (console output), until the deadline."""
        give_up_s = time.monotonic() + deadline_s
        while True:
            message = _parse_object(self._line(give_up_s, deadline_s))
            if message is not None:
                return message

    def close(self) -> None:
        self._socket.close()

    def _line(self, give_up: float, deadline_s: float) -> bytes:
        """Return the next line. Data already searched for a line feed is not searched again."""
        searched = 0
        while (end := self._data.find(b"\n", searched)) < 0:
            searched = len(self._data)
            if searched > MOST_BYTES:
                raise self._make_error(f"a line of more than {MOST_BYTES} bytes", deadline_s)
            self._data += self._read(give_up - time.monotonic(), deadline_s)
        if time.monotonic() > give_up:
            raise self._make_timeout_error(deadline_s)
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        return line

    def _read(self, left_s: float, deadline_s: float) -> bytes:
        if left_s <= 0:
            raise self._make_timeout_error(deadline_s)
        try:
            self._socket.settimeout(left_s)
            part = self._socket.recv(_PART_BYTES)
        except TimeoutError as error:
            raise self._make_timeout_error(deadline_s) from error
        except OSError as error:
            raise self._make_error(f"cannot read: {error.strerror}", deadline_s) from error
        if not part:
            raise self._make_error("the other side hung up", deadline_s)
        return part

    def _make_timeout_error(self, deadline_s: float) -> CommandError:
        return CommandError([str(self.path)], None, "", "", after_s=deadline_s)

    def _make_error(self, message: str, after_s: float) -> CommandError:
        return CommandError([str(self.path)], 1, "", message, after_s=after_s)


def _connect(client: socket.socket, path: Path) -> None:
    """Connect to a socket without following symbolic links, which a guest's user could create in its folder."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        client.connect(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _parse_object(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, or nested deeper than Python follows
        return None
    return message if isinstance(message, dict) else None
