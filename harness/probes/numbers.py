"""Parse numbers in the output of tools: exact, in ASCII, and bounded; anything else is None."""

import re

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"([+-]?)([0-9]{1,12})(?:\.([0-9]{1,12}))?")


def parse_integer(text: str) -> int | None:
    """Parse a decimal integer of at most 19 digits."""
    return int(text) if _INTEGER.fullmatch(text) else None


def parse_decimal(text: str) -> float | None:
    """Parse a plain decimal number without exponent, "nan" or "inf"."""
    return float(text) if _DECIMAL.fullmatch(text) else None


def parse_seconds_as_ns(text: str) -> int | None:
    """Parse decimal seconds into whole nanoseconds, cut (not rounded) after the ninth digit, without any float."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction = match.groups()
    ns = int(whole) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")[:9])
    return -ns if sign == "-" else ns
