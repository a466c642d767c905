"""Parse chronyd's log and version, and the role's record of its wait for chronyd."""

import re
from dataclasses import dataclass

from harness.errors import ParseError
from harness.probes.reading import json_object

_VERSION = re.compile(r"chronyd \(chrony\) version (\S+) \(.*\)")
_STARTED = re.compile(r"chronyd version \S+ starting")
_INTERFERENCE = "System clock interference detected"


def parse_interference(text: str) -> bool:
    """Whether chronyd (4.7 or later) has seen another program steer the clock since it last started.

    A log is free text: every other line is ignored.
    """
    interfered = False
    for line in text.splitlines():
        interfered = _INTERFERENCE in line or (interfered and not _STARTED.search(line))
    return interfered


def parse_version(text: str, where: str) -> str:
    """Parse the version in `chronyd --version`. Raises ParseError."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        raise ParseError(where, 1, text, "chronyd --version")
    return match[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """The result of `chronyc waitsync`, and its boot: `after_s` is None when chronyd did not converge in time.

    `after_s` counts from the last of chronyd's `starts`: the role restarts chronyd where it drops the clock's readings.
    `why`: the reason where chronyd could not try.
    """

    boot_id: str | None
    converged: bool
    after_s: float | None
    starts: int = 1
    why: str | None = None


def parse_convergence(text: str, where: str) -> Convergence | None:
    """Read the record of the role chrony_phc; None when it did not wait. Raises ParseError."""
    try:
        record = json_object(text)
        waited, converged, after_s = record["waited"], record["converged"], record["converged_after_s"]
        if record["schema"] != 1 or not isinstance(waited, bool):
            raise ValueError("unknown schema")
        if not waited:
            return None
        boot_id = record.get("boot_id")
        if boot_id is not None and not isinstance(boot_id, str):
            raise ValueError("boot_id is text")
        starts = record.get("starts", 1)
        if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
            raise ValueError("not a number of starts")
        if converged is True:
            return Convergence(boot_id=boot_id, converged=True, after_s=_parse_seconds(after_s), starts=starts)
        if converged is False:
            why = _parse_reason(record.get("why"))
            return Convergence(boot_id=boot_id, converged=False, after_s=None, starts=starts, why=why)
        raise ValueError("neither converged nor not")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = text[:200].split("\n")[0]
        raise ParseError(where, 1, line, f"the record of the role chrony_phc ({type(error).__name__})") from error


def _parse_reason(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("why is text")
    return value


def _parse_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError("not a number of seconds")
    return float(value)
