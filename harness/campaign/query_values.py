"""Read the values by which people choose among runs, tasks and clocks: moments, durations and figures.

What is slow to load is loaded by the call that needs it: most commands read no such value.
"""

import datetime

from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value


def parse_moment_ns(
    name: str, text: str | None, *, now: datetime.datetime, kind: str = "time", next_step: str = ""
) -> int | None:
    """Parse a moment (RFC 3339; UTC unless it says otherwise) or a duration before `now`; ns since the epoch.

    Whole seconds, as far as the ledger's times reach. None stays None. `kind`: what a moment is called. Raises
    RequestError that names the value by `name`.
    """
    from harness.campaign.fields import parse_duration_s

    if text is None:
        return None
    try:
        return _to_ns(now - datetime.timedelta(seconds=parse_duration_s(text)))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
        return _to_ns(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC))
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"{name} is {shorten_value(text)}: it must be a duration such as 12h or 7d, or a {kind} such as 2026-11-21",
            next_step=next_step,
        ) from error


def _to_ns(moment: datetime.datetime) -> int:
    """Convert a moment to whole seconds since the epoch, in ns, as far as the ledger's times reach."""
    return min(max(0, int(moment.timestamp()) * 10**9), 2**63 - 1)


def parse_figure_ns(name: str, text: str | None, *, next_step: str = "") -> float | None:
    """Parse a clock's figure, a time with its unit; ns. None stays None. Raises RequestError, which has `name`."""
    from harness.campaign.limit_fields import limit_parser

    if text is None:
        return None
    try:
        return limit_parser("ns")(text)
    except ValueError as error:
        raise RequestError(
            f"{name} is {shorten_value(text)}: it must be a time with its unit, such as 500ns, 20us or 1.5ms",
            next_step=next_step,
        ) from error


def parse_duration_within_s(text: str, shortest_s: float, longest_s: float) -> float:
    """Parse a duration from `shortest_s` to `longest_s`, s. Raises ValueError for any other text."""
    from harness.campaign.fields import parse_duration_s

    try:
        seconds = parse_duration_s(text)
    except OverflowError:
        seconds = 0.0
    if not shortest_s <= seconds <= longest_s:
        raise ValueError("outside of its bounds")
    return seconds
