"""How much does the device tell of its events? One printable line each, cut, until all of them reach a bound.

What a guest and a client send decides how many events there are and what stands in them.
"""

from contextlib import suppress
from typing import TextIO

LONGEST_LINE = 500
MOST_CHARACTERS = 4 << 20
LAST_LINE = f"no more is told: {MOST_CHARACTERS} characters are written"


class EventLog:
    """Writes lines to a stream. A stream that takes no more, as on a full disk, is no reason to end the device."""

    def __init__(self, stream: TextIO, most: int = MOST_CHARACTERS) -> None:
        self._stream, self._left = stream, most

    def write(self, text: str) -> None:
        """Write one line, or nothing once the bound is reached."""
        if self._left <= 0:
            return
        line = _printable(text[:LONGEST_LINE]) + ("..." if len(text) > LONGEST_LINE else "")
        self._left -= len(line) + 1
        with suppress(OSError, ValueError):
            print(line if self._left > 0 else LAST_LINE, file=self._stream, flush=True)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
