"""Parse which of the daemons that can steer the system clock are running."""

import re
from collections.abc import Sequence

from harness.errors import ParseError

_LINE = re.compile(r"(\S+?)(?:\.service)? ([a-z][a-z-]*)")
_RUNNING = ("active", "activating", "reloading", "refreshing", "running")
_CHRONY = ("chrony", "chronyd")
_RESTARTING = "auto-restart"
_PTP = re.compile(r"(?:ptp4l|phc2sys|ts2phc|timemaster)\b.*")


def parse_competitors(text: str, where: str) -> tuple[str, ...]:
    """List the running services, except chrony, of `name.service state` lines. Raises ParseError on any other line.

    Daemons of linuxptp that do not stay up are not among them; see `parse_restarting`.
    """
    return tuple(name for name in _parse_states(text, where, (*_RUNNING, _RESTARTING)) if not _is_chrony(name))


def parse_restarting(text: str, where: str) -> tuple[str, ...]:
    """List the daemons of linuxptp that systemd starts again and again. Raises ParseError like `parse_competitors`."""
    return tuple(name for name in _parse_states(text, where, (_RESTARTING,), ptp_too=True) if _PTP.fullmatch(name))


def parse_chronyd_runs(text: str, where: str) -> bool:
    """Whether chronyd runs, as a service or started by hand. Raises ParseError like `parse_competitors`."""
    return any(_is_chrony(name) for name in _parse_states(text, where, _RUNNING))


def _is_chrony(name: str) -> bool:
    return name in _CHRONY or name.startswith("chronyd[")


def _parse_states(text: str, where: str, states: Sequence[str], *, ptp_too: bool = False) -> list[str]:
    """List the names in one of the states; daemons of linuxptp that are only restarting if `ptp_too`."""
    names: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ParseError(where, number, line, "a service and its state")
        ptp_restarting = match[2] == _RESTARTING and _PTP.fullmatch(match[1]) is not None
        if match[2] in states and (ptp_too or not ptp_restarting):
            names.append(match[1])
    return names
