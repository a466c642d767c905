"""How are JSON lines exchanged with a guest or with QEMU over a unix socket, within a deadline?"""

import json
import socket
import time
from pathlib import Path
from typing import Any

from harness.errors import CommandError

_RETRY_S = 0.01


class JsonLines:
    """One JSON object a line each way. Raises CommandError when the other side hangs up or is silent for too long."""

    def __init__(self, path: Path, *, deadline_s: float) -> None:
        """Connect, waiting up to `deadline_s` for the other side to listen."""
        self.path = path
        self._data = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        give_up = time.monotonic() + deadline_s
        while True:
            try:
                self._socket.connect(str(path))
                return
            except OSError as error:
                if time.monotonic() > give_up:
                    self._socket.close()
                    raise self._error(f"cannot connect: {error.strerror}", deadline_s) from error
                time.sleep(_RETRY_S)

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._error(f"cannot write: {error.strerror}", 0) from error

    def receive(self, *, deadline_s: float) -> dict[str, Any]:
        """The next object; lines that are no JSON objects (a console's noise) are passed over."""
        give_up = time.monotonic() + deadline_s
        while True:
            while b"\n" not in self._data:
                self._data += self._read(give_up - time.monotonic(), deadline_s)
            line, self._data = self._data.split(b"\n", 1)
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                return message

    def close(self) -> None:
        self._socket.close()

    def _read(self, left_s: float, deadline_s: float) -> bytes:
        try:
            self._socket.settimeout(max(left_s, 0.001))
            part = self._socket.recv(65536)
        except TimeoutError as error:
            raise CommandError([str(self.path)], None, "", "", after_s=deadline_s) from error
        except OSError as error:
            raise self._error(f"cannot read: {error.strerror}", deadline_s) from error
        if not part:
            raise self._error("the other side hung up", deadline_s)
        return part

    def _error(self, words: str, after_s: float) -> CommandError:
        return CommandError([str(self.path)], 1, "", words, after_s=after_s)
