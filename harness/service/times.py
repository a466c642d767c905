"""Read the times that requests name."""

import datetime

from harness.campaign import query_values


def parse_moment_ns(name: str, text: str | None) -> int | None:
    """Parse a time or how long ago it was, as `query_values.parse_moment_ns` does. Raises RequestError."""
    return query_values.parse_moment_ns(name, text, now=datetime.datetime.now(datetime.UTC))
