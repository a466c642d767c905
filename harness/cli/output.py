"""Where words go: for people to standard error, for programs to standard output."""

import json
import shutil
import sys
from typing import Any

from rich.console import Console

from harness.untrusted.plain_text import printable


def console() -> Console:
    """The people's side."""
    return Console(stderr=True)


def say(text: str, *, end: str = "\n") -> None:
    """A line or more for people; nothing in it steers their terminal, whoever it came from."""
    shown = printable(text)
    sys.stderr.write(shown if shown.endswith("\n") else shown + end)
    sys.stderr.flush()


def width() -> int:
    """Columns for tables: those of the terminal, at most 160; 120 where there is no terminal."""
    return min(shutil.get_terminal_size((120, 40)).columns, 160)


def emit(data: Any) -> None:
    """Print a JSON document for programs."""
    write(json.dumps(data, indent=2, default=str) + "\n")


def write(text: str) -> None:
    """A document for programs, whole, in UTF-8 whatever the locale is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
    sys.stdout.buffer.flush()
