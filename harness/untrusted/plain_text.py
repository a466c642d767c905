"""How is text from outside made fit to be shown, stored and cut? Hosts, tags, files and flags may hold any character.

`printable` is applied inside every way out to people; `well_formed`, `clip` and `bounded` where text comes in.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

MOST_CHARACTERS = 500
"""Of one piece of a host's text that becomes a fact, a message or a line of a report."""

MOST_ITEMS = 200
"""Of one list that a host fills, such as its clocks."""


def printable(text: str) -> str:
    """Write out whatever steers a terminal or is invisible, as \\x1b or \\u202e.

    Line feeds stay, other white space becomes a space. Written out are the categories Cc, Cf, Cs, Co and Cn of the
    Unicode standard: control characters, format characters (text direction, zero width, tags), surrogates, private
    use, unassigned.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def well_formed(text: str) -> str:
    """The text without lone surrogates, which no encoding can write: each becomes U+FFFD; pairs are joined."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clip(text: str, characters: int = MOST_CHARACTERS) -> str:
    """The text, or its beginning and how long the whole is."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


def bounded(value: T, *, characters: int = MOST_CHARACTERS, items: int = MOST_ITEMS) -> T:
    """The same plain data with every text in it well formed and cut, and every list cut too."""
    return _bounded(value, characters, items)  # type: ignore[no-any-return]


def _bounded(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return clip(well_formed(value), characters)
    if isinstance(value, tuple | list):
        return type(value)(_bounded(one, characters, items) for one in value[:items])
    if isinstance(value, Mapping):
        return {key: _bounded(one, characters, items) for key, one in list(value.items())[:items]}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: _bounded(part, characters, items) for name, part in parts.items()})
    return value


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
