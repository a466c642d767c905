"""Make text from outside safe to print and to store: hosts, tags, files and flags may hold any character.

`printable` is applied to all output for people; `well_formed`, `clip` and `bounded` to all text that comes in.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

MOST_CHARACTERS = 500
"""Longest piece of a host's text in a fact, a message or a line of a report."""

MOST_ITEMS = 200
"""Longest list that a host fills, such as its clocks."""


def printable(text: str) -> str:
    """Escape characters that control a terminal or are invisible, as \\x1b or \\u202e.

    Line feeds stay, other white space becomes a space. The categories Cc, Cf, Cs, Co and Cn of the Unicode standard are
    escaped: control characters, format characters (text direction, zero width, tags), surrogates, private
    use, unassigned.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_escape_character, line)) for line in text.split("\n"))


def well_formed(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded, by U+FFFD, and join pairs of surrogates."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clip(text: str, characters: int = MOST_CHARACTERS) -> str:
    """Cut a text to `characters`. The full length follows a text that was cut."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


def one_line(text: str, characters: int = MOST_CHARACTERS) -> str:
    """Make one line of a text, without characters that steer a terminal, cut to `characters`."""
    return clip(printable(" ".join(text.split())), characters)


def bounded(value: T, *, characters: int = MOST_CHARACTERS, items: int = MOST_ITEMS) -> T:
    """Copy plain data with every text well formed and clipped, and every list or mapping cut to `items`."""
    return _bound_value(value, characters, items)  # type: ignore[no-any-return]


def _bound_value(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return clip(well_formed(value), characters)
    if isinstance(value, tuple | list):
        return type(value)(_bound_value(item, characters, items) for item in value[:items])
    if isinstance(value, Mapping):
        return {key: _bound_value(item, characters, items) for key, item in list(value.items())[:items]}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: _bound_value(part, characters, items) for name, part in parts.items()})
    return value


def _escape_character(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
