"""Log the device's events: one printable, shortened line each, up to a total bound.

A guest and a client decide by their requests how many events there are and what they contain.
"""

from contextlib import suppress
from typing import TextIO

LONGEST_LINE = 500
MOST_CHARACTERS = 4 << 20
LAST_LINE = f"no more is told: {MOST_CHARACTERS} characters are written"


class EventLog:
    """Write lines to a stream. A failing stream, as on a full disk, does not end the device."""

    def __init__(self, stream: TextIO, max_characters: int = MOST_CHARACTERS) -> None:
        self._stream, self._remaining = stream, max_characters

    def write(self, text: str) -> None:
        """Write one line, or nothing once the bound is reached."""
        if self._remaining <= 0:
            return
        line = _printable(text[:LONGEST_LINE]) + ("..." if len(text) > LONGEST_LINE else "")
        self._remaining -= len(line) + 1
        with suppress(OSError, ValueError):
            print(line if self._remaining > 0 else LAST_LINE, file=self._stream, flush=True)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
