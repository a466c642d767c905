"""Read the times that requests name."""

import datetime

from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value


def parse_moment_ns(name: str, text: str | None) -> int | None:
    """Parse a time (RFC 3339; UTC unless it says otherwise) or a duration before now; ns since the epoch.

    Raises RequestError.
    """
    from harness.campaign.fields import parse_duration_s

    if text is None:
        return None
    now = datetime.datetime.now(datetime.UTC)
    try:
        return _to_ns(now - datetime.timedelta(seconds=parse_duration_s(text)))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
        return _to_ns(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC))
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"{name} is {shorten_value(text)}: it must be a duration such as 12h or 7d, or a time such as 2026-11-21",
        ) from error


def _to_ns(moment: datetime.datetime) -> int:
    """Convert a moment to ns since the epoch, as far as the ledger's times reach."""
    return min(max(0, int(moment.timestamp()) * 10**9), 2**63 - 1)


def parse_figure_ns(name: str, text: str | None) -> float | None:
    """Parse a time with its unit, ns; None stays None. Raises RequestError."""
    from harness.campaign.limit_fields import limit_parser

    if text is None:
        return None
    try:
        return limit_parser("ns")(text)
    except ValueError as error:
        raise RequestError(
            f"{name} is {shorten_value(text)}: it must be a time with its unit, such as 500ns, 20us or 1.5ms"
        ) from error
