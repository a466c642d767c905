"""Where words go: for people to standard error, for programs to standard output."""

import json
import sys
from typing import Any

from rich.console import Console


def console() -> Console:
    """The people's side."""
    return Console(stderr=True)


def say(text: str) -> None:
    """A line or more for people."""
    sys.stderr.write(text if text.endswith("\n") else text + "\n")
    sys.stderr.flush()


def emit(data: Any) -> None:
    """One JSON document for programs."""
    json.dump(data, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
    sys.stdout.flush()
