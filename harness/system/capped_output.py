"""How much of what a program prints is read, and for how long? Never more than its caps, never past its deadline.

A program that is run may be ssh, and print whatever a measured host sends: without a newline, without an end, or one
byte a second.
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
    """The ends that we hold of a program's standard streams; `words` is its input, None where it has none."""

    words: IO[bytes] | None
    out: IO[bytes]
    err: IO[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class CappedOutputs:
    """What was read until then, at most a chunk above the caps."""

    out: bytes
    err: bytes
    ended: EndReason


def exchange(
    pipes: ProgramPipes, words: bytes, *, deadline: float, runs: Callable[[], bool], most_out: int, most_err: int
) -> CappedOutputs:
    """Feed a program its input and read both outputs until both are closed. `deadline` is of time.monotonic().

    A program that `runs` no more, while a child of its own holds its outputs open, is not waited for beyond a moment.
    """
    out, err = pipes.out.fileno(), pipes.err.fileno()
    read: dict[int, bytearray] = {out: bytearray(), err: bytearray()}
    caps = {out: most_out, err: most_err}
    pending, ended, gone_since = memoryview(words), EndReason.CLOSED, None
    with selectors.DefaultSelector() as selector:
        for stream in read:
            os.set_blocking(stream, False)
            selector.register(stream, selectors.EVENT_READ)
        if pipes.words is not None:
            os.set_blocking(pipes.words.fileno(), False)
            selector.register(pipes.words.fileno(), selectors.EVENT_WRITE)
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                ended = EndReason.LATE
                break
            if gone_since is not None and now > gone_since + _LINGER_S:
                break
            ready = selector.select(min(_TICK_S, deadline - now))
            for key, _ in ready:
                if key.fd not in read:
                    pending = _feed(selector, pipes.words, pending)
                elif chunk := _read(key.fd):
                    read[key.fd] += chunk
                    if len(read[key.fd]) > caps[key.fd]:
                        return _outputs(read, EndReason.TOO_MUCH)
                elif chunk is not None:
                    selector.unregister(key.fd)
            if not ready and gone_since is None and not runs():
                gone_since = now
    return _outputs(read, ended)


class LineCutter:
    """Cuts what a program prints into lines. One above `LONGEST_LINE` bytes is passed on in its beginning alone."""

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put, self._line = put, bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            self._add(part)
            self.end()
        self._add(rest)

    def end(self) -> None:
        """Pass on the line that has no newline yet, if there is one."""
        if self._line:
            self._put(self._line.decode(errors="replace"))
        self._line.clear()

    def _add(self, part: bytes) -> None:
        self._line += part[: max(LONGEST_LINE - len(self._line), 0)]


def _read(stream: int) -> bytes | None:
    """The next bytes; none at the end; None where there are none yet after all."""
    try:
        return os.read(stream, _CHUNK)
    except BlockingIOError:
        return None


def _feed(selector: selectors.BaseSelector, words: IO[bytes] | None, pending: memoryview) -> memoryview:
    """Write what the program takes now, and close its input after the last byte, or when it reads no more."""
    assert words is not None
    try:
        pending = pending[os.write(words.fileno(), pending[:_CHUNK]) :] if pending else pending
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        pending = pending[:0]
    if not pending:
        selector.unregister(words.fileno())
        with suppress(BrokenPipeError):
            words.close()
    return pending


def _outputs(read: dict[int, bytearray], ended: EndReason) -> CappedOutputs:
    out, err = read.values()
    return CappedOutputs(out=bytes(out), err=bytes(err), ended=ended)
