"""Where words go: for people to standard error, for programs to standard output."""

import json
import sys
from typing import TYPE_CHECKING, Any

from harness.untrusted.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """The people's side."""
    from rich.console import Console  # takes its time to load, and most commands need none

    return Console(stderr=True)


def say(text: str, *, end: str = "\n") -> None:
    """A line or more for people; nothing in it steers their terminal, whoever it came from."""
    shown = printable(text)
    sys.stderr.write(shown if shown.endswith("\n") else shown + end)
    sys.stderr.flush()


def emit(data: Any) -> None:
    """Print a JSON document for programs."""
    write(json.dumps(data, indent=2, default=str) + "\n")


def write(text: str) -> None:
    """A document for programs, whole, in UTF-8 whatever the locale is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
    sys.stdout.buffer.flush()
