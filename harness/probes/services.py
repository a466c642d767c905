"""Which daemons that could steer the system clock are running?"""

import re

from harness.errors import ParseError

_LINE = re.compile(r"(\S+?)(?:\.service)? ([a-z][a-z-]*)")
_RUNNING = ("active", "activating", "reloading", "refreshing", "running")
_OURS = ("chrony", "chronyd")


def competitors(text: str, where: str) -> tuple[str, ...]:
    """Read `name.service state` lines: those that run, beside chrony. Raises ParseError on any other line."""
    running: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ParseError(where, number, line, "a service and its state")
        if match[2] in _RUNNING and match[1] not in _OURS:
            running.append(match[1])
    return tuple(running)
