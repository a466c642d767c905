"""Parse which of the daemons that can steer the system clock are running."""

import re

from harness.errors import ParseError

_LINE = re.compile(r"(\S+?)(?:\.service)? ([a-z][a-z-]*)")
_RUNNING = ("active", "activating", "reloading", "refreshing", "running")
_CHRONY = ("chrony", "chronyd")


def parse_competitors(text: str, where: str) -> tuple[str, ...]:
    """List the running services, except chrony, of `name.service state` lines. Raises ParseError on any other line."""
    return tuple(name for name in _parse_running(text, where) if not _is_chrony(name))


def parse_chronyd_runs(text: str, where: str) -> bool:
    """Whether chronyd runs, as a service or started by hand. Raises ParseError like `parse_competitors`."""
    return any(_is_chrony(name) for name in _parse_running(text, where))


def _is_chrony(name: str) -> bool:
    return name in _CHRONY or name.startswith("chronyd[")


def _parse_running(text: str, where: str) -> list[str]:
    running: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ParseError(where, number, line, "a service and its state")
        if match[2] in _RUNNING:
            running.append(match[1])
    return running
