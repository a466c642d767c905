"""Read a program's output up to byte caps and a deadline.

The program may be ssh and print whatever a measured host sends: without a newline, without an end, or one byte a
second.
"""

import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

MIB = 1 << 20
MOST_OUT = 16 * MIB
MOST_ERR = MIB // 4
LONGEST_LINE = MIB
_CHUNK = 1 << 16
_TICK_S = 0.05
_LINGER_S = 0.2


class EndReason(StrEnum):
    """Why reading ended: the outputs were closed, the deadline passed, or a cap was reached."""

    CLOSED = "closed"
    LATE = "late"
    TOO_MUCH = "too much"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramPipes:
    """Our ends of a program's standard streams. `stdin` is None for a program without input."""

    stdin: IO[bytes] | None
    out: IO[bytes]
    err: IO[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class CappedOutputs:
    """The outputs that were read, at most a chunk above the caps, and why reading ended."""

    out: bytes
    err: bytes
    ended: EndReason


def exchange(
    pipes: ProgramPipes,
    input_bytes: bytes,
    *,
    deadline: float,
    is_running: Callable[[], bool],
    most_out: int,
    most_err: int,
) -> CappedOutputs:
    """Feed a program its input and read both outputs until both are closed. `deadline` is a time of time.monotonic().

    `runs` tells whether the program still runs. After the program's end, outputs that a child of the program holds open
    are read for _LINGER_S more.
    """
    out, err = pipes.out.fileno(), pipes.err.fileno()
    outputs: dict[int, bytearray] = {out: bytearray(), err: bytearray()}
    caps = {out: most_out, err: most_err}
    pending, ended, exited_at = memoryview(input_bytes), EndReason.CLOSED, None
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            os.set_blocking(stream, False)
            selector.register(stream, selectors.EVENT_READ)
        if pipes.stdin is not None:
            os.set_blocking(pipes.stdin.fileno(), False)
            selector.register(pipes.stdin.fileno(), selectors.EVENT_WRITE)
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                ended = EndReason.LATE
                break
            if exited_at is not None and now > exited_at + _LINGER_S:
                break
            ready = selector.select(min(_TICK_S, deadline - now))
            for key, _ in ready:
                if pipes.stdin is not None and key.fd not in outputs:
                    pending = _feed(selector, pipes.stdin, pending)
                elif chunk := _read(key.fd):
                    outputs[key.fd] += chunk
                    if len(outputs[key.fd]) > caps[key.fd]:
                        return _outputs(outputs, EndReason.TOO_MUCH)
                elif chunk is not None:
                    selector.unregister(key.fd)
            if not ready and exited_at is None and not is_running():
                exited_at = now
    return _outputs(outputs, ended)


class LineCutter:
    """Cuts a program's output into lines. Of a line above `LONGEST_LINE` bytes only the beginning is passed on."""

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put, self._line = put, bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        *complete_lines, incomplete_line = chunk.split(b"\n")
        for line in complete_lines:
            self._add(line)
            self.end()
        self._add(incomplete_line)

    def end(self) -> None:
        """Pass on the line that has no newline yet, if there is one."""
        if self._line:
            self._put(self._line.decode(errors="replace"))
        self._line.clear()

    def _add(self, part: bytes) -> None:
        self._line += part[: max(LONGEST_LINE - len(self._line), 0)]


def _read(stream: int) -> bytes | None:
    """Read the next bytes; empty at the end of the stream; None while there are none."""
    try:
        return os.read(stream, _CHUNK)
    except BlockingIOError:
        return None


def _feed(selector: selectors.BaseSelector, stdin: IO[bytes], pending: memoryview) -> memoryview:
    """Write as many bytes as the program takes now; close its input after the last byte, or when it stopped reading."""
    try:
        pending = pending[os.write(stdin.fileno(), pending[:_CHUNK]) :] if pending else pending
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        pending = pending[:0]
    if not pending:
        selector.unregister(stdin.fileno())
        with suppress(BrokenPipeError):
            stdin.close()
    return pending


def _outputs(read: dict[int, bytearray], ended: EndReason) -> CappedOutputs:
    out, err = read.values()
    return CappedOutputs(out=bytes(out), err=bytes(err), ended=ended)
