"""Check the size and characters of input by people: the same rules for every key, flag and variable.

Accepted text may still be wrong, but contains no template and no control characters, and is short enough for messages.
Patterns for names (a user, a path, a clock) are in `names`.
"""

import reprlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from harness.untrusted.names import TEMPLATE_MARKS

MOST_BYTES = 256 * 1024
"""Largest campaign file: room for some ten thousand instance types."""

MOST_CHARACTERS = 4096
"""Longest text; also the longest path (PATH_MAX of Linux)."""

MOST_KEY_CHARACTERS = 100
MOST_DEPTH = 8
MOST_VALUES = 20_000
MOST_MISTAKES = 20
"""Most mistakes that one message lists."""


def text_mistakes(written: object, *, templates: bool = True) -> list[str]:
    """Describe what is unfit in a tree of mappings, lists and texts: one sentence each, at most `MOST_MISTAKES`.

    `templates`: whether text that begins an Ansible template is refused too.
    """
    messages: list[str] = []
    waiting: list[tuple[str, int, Any]] = [("", 0, written)]
    count = 0
    while waiting and len(messages) < MOST_MISTAKES:
        place, depth, value = waiting.pop()
        count += 1
        if depth > MOST_DEPTH:
            return [*messages, f"{place} is nested too deeply"]
        if count > MOST_VALUES:
            return [*messages, f"more than {MOST_VALUES} values"]
        if isinstance(value, str) and (why := why_unfit(value, templates=templates)):
            messages.append(f"{place or 'it'} {why}")
        for key, inner in reversed(_items(value)):
            name = f"{place}.{_key(key)}".lstrip(".")
            if isinstance(key, str) and (why := why_unfit(key, most=MOST_KEY_CHARACTERS)):
                messages.append(f"the key {name} {why}")
            waiting.append((name, depth + 1, inner))
    return messages


def why_unfit(text: str, *, templates: bool = True, most: int = MOST_CHARACTERS) -> str:
    """Why a text is refused, as a phrase to follow its name ("holds ..."); empty where the text is accepted."""
    if len(text) > most:
        return f"has {len(text)} characters, and at most {most} are taken"
    if not text.isprintable():
        wrong = next(character for character in text if not character.isprintable())
        return f"holds U+{ord(wrong):04X}, which is no printable character"
    mark = next((mark for mark in TEMPLATE_MARKS if mark in text), None) if templates else None
    return f"holds {mark!r}, which begins a template, and none is filled in" if mark else ""


def shorten_value(value: object) -> str:
    """A value as Python writes it, or its beginning where it is large, however deeply it is nested."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python turns into text
        return f"a large {type(value).__name__}"


def shorten_mistakes(found: Sequence[str]) -> list[str]:
    """The first `MOST_MISTAKES` distinct mistakes, and how many more there are."""
    distinct = list(dict.fromkeys(found))
    more = len(distinct) - MOST_MISTAKES
    return [*distinct[:MOST_MISTAKES], *([f"and {more} more"] if more > 0 else [])]


def _items(value: object) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple | AbstractSet) else []


def _key(key: object) -> str:
    """The key itself where it is fit for a message, else its shortened value."""
    return key if isinstance(key, str) and not why_unfit(key, most=MOST_KEY_CHARACTERS) else shorten_value(key)


def _short() -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxtuple, short.maxset = 3, 4, 6, 6, 6
    short.maxstring, short.maxother, short.maxlong = 100, 100, 60
    return short


_SHORT = _short()
