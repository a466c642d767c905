"""Print a command's result on standard output, and everything else that people read on standard error.

The result is a list, a report or a document. Progress, warnings, errors and hints are not part of it, so that
`runs | grep`, `show RUN | less` and `plan > FILE` get only the result.
"""

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from harness.untrusted.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Make the console of the progress display, on standard error."""
    from rich.console import Console  # slow to load, and most commands need none

    return Console(stderr=True)


def say(text: str, *, end: str = "\n") -> None:
    """Print progress, a warning, an error or a hint on standard error, without characters that steer a terminal."""
    shown = printable(text)
    sys.stderr.write(shown if shown.endswith("\n") else shown + end)
    sys.stderr.flush()


def width() -> int:
    """Return the columns for tables: those of the terminal, at most 160; 120 without a terminal."""
    return min(shutil.get_terminal_size((120, 40)).columns, 160)


def show(text: str) -> None:
    """Print lines of the command's result on standard output, without characters that steer a terminal."""
    shown = printable(text)
    write(shown if shown.endswith("\n") else shown + "\n")


def emit(data: Any) -> None:
    """Print the command's result as a JSON document."""
    write(json.dumps(data, indent=2, default=str) + "\n")


def write(text: str) -> None:
    """Print a whole document on standard output, in UTF-8 whatever the locale is.

    A reader that ends early, such as `head`, is no error: the rest is dropped, and the command goes on.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
