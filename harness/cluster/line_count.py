"""Count the lines that a pod prints, so that whoever reads its log knows which of them were lost.

A node keeps the latest part of a log alone, and nobody can read what it rotated away before. So a pod prints, after
every fifty lines and at its end, how many it has printed so far; the reader counts, too, and does not show these marks.
"""

import io
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, cast

COUNT_LINES = "PTP_HARNESS_COUNT_LINES"
"""The variable by which a Job has its pods print marks; pytest in such a pod does not get it."""

MARK_EVERY = 50
_MARK = re.compile(r"-- ptp-harness: (?P<lines>[0-9]{1,12}) lines so far --")
_STANDARD_OUTPUT = 1


def make_mark(lines: int) -> str:
    """Write a mark behind so many lines of a pod."""
    return f"-- ptp-harness: {lines} lines so far --"


@dataclass(slots=True)
class LineCheck:
    """Holds the lines that were read of a pod against its marks. `lines`: how many were read, or told to be missing."""

    lines: int = 0

    def take(self, line: str) -> Iterator[str]:
        """Yield a line to show: this one, or, for a mark, how many lines before it are missing, if any are."""
        match = _MARK.fullmatch(line)
        if match is None:
            self.lines += 1
            yield line
            return
        missing = int(match["lines"]) - self.lines
        if missing > 0:
            self.lines += missing
            yield describe_gap(missing)


def describe_gap(lines: int) -> str:
    """Say that so many lines of a pod are missing."""
    number = "1 line" if lines == 1 else f"{lines} lines"
    return f"-- {number} up to here cannot be had: the node rotated the log away before they were read --"


class _CountedOutput(io.RawIOBase):
    """Standard output and standard error of a process as one stream, in which marks are. Threads may share it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lock = descriptor, threading.RLock()
        self._lines = self._marked = 0
        self._in_line = False

    def writable(self) -> bool:
        return True

    def write(self, content: "bytes | bytearray | memoryview[int]", /) -> int:  # type: ignore[override]
        """Write bytes, with a mark where one is due."""
        pieces = bytes(content).splitlines(keepends=True)
        with self._lock:
            for piece in pieces:
                self._in_line = not piece.endswith(b"\n")
                self._lines += not self._in_line
                due = not self._in_line and self._lines - self._marked >= MARK_EVERY
                self._write_all(piece + (self._make_due_mark() if due else b""))
        return len(content)

    def mark_end(self) -> None:
        """Write a mark, unless nothing was printed since the last one."""
        with self._lock:
            if self._in_line:
                self.write(b"\n")
            if self._lines > self._marked:
                self._write_all(self._make_due_mark())

    def _make_due_mark(self) -> bytes:
        self._marked = self._lines
        return f"{make_mark(self._lines)}\n".encode()

    def _write_all(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._descriptor, content) :]


_output: _CountedOutput | None = None


@contextmanager
def counting_lines(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Put marks into what this process prints in this block, on both of its streams, if its Job says so."""
    global _output
    if COUNT_LINES not in environ or _output is not None:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    streams = sys.stdout, sys.stderr
    _output = _CountedOutput(_STANDARD_OUTPUT)
    raw = cast(io.RawIOBase, _output)
    counted = [
        io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        for _ in streams
    ]
    sys.stdout, sys.stderr = (cast("IO[str]", stream) for stream in counted)
    try:
        yield
    finally:
        end_count()
        sys.stdout, sys.stderr = streams
        _output = None


def end_count() -> None:
    """Write the last mark of this process, before it ends in the middle of anything; nothing where none are written."""
    if _output is not None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        with suppress(OSError):
            _output.mark_end()
