"""Parse numbers in the output of tools: exact, in ASCII, and bounded; anything else is None."""

import re

INTEGER = r"[+-]?[0-9]{1,19}"
DECIMAL = r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,12})?"
"""Patterns of the numbers that are understood, for patterns of whole lines."""

_INTEGER, _DECIMAL = re.compile(INTEGER), re.compile(DECIMAL)


def parse_integer(text: str) -> int | None:
    """Parse a decimal integer of at most 19 digits."""
    return int(text) if _INTEGER.fullmatch(text) else None


def parse_decimal(text: str) -> float | None:
    """Parse a plain decimal number without exponent, "nan" or "inf"."""
    return float(text) if _DECIMAL.fullmatch(text) else None


def parse_seconds_as_ns(text: str) -> int | None:
    """Parse decimal seconds into whole nanoseconds, cut (not rounded) after the ninth digit, without any float."""
    return seconds_as_ns(text) if _DECIMAL.fullmatch(text) else None


def seconds_as_ns(text: str) -> int:
    """Convert seconds, a text that matches DECIMAL, as `parse_seconds_as_ns` does."""
    if text[-10:-9] == ".":  # nine digits behind the point, as chronyc writes them
        return int(text[:-10] + text[-9:])
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(9, "0")[:9])
