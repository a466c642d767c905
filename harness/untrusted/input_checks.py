"""Check the size and characters of input by people: the same rules for every key, flag and variable.

Accepted text may still be wrong, but contains no template and no control characters, and is short enough for messages.
Patterns for names (a user, a path, a clock) are in `names`.
"""

import reprlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

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


KeyPath = tuple[str | int, ...]
"""Place of a value in a tree of mappings and lists: keys, and positions from 0. The whole tree is `()`."""


class UnfitText(NamedTuple):
    """A text that is not accepted. `problem` is a phrase to follow its place ("holds ..."), `remedy` a command."""

    path: KeyPath
    problem: str
    remedy: str


def describe_unfit_text(data: object, *, templates: bool = True) -> list[str]:
    """Describe what is unfit in a tree of mappings, lists and texts: one sentence each, at most `MOST_MISTAKES`.

    `templates`: whether text that begins an Ansible template is refused too.
    """
    return [f"{show_path(unfit.path)} {unfit.problem}".strip() for unfit in find_unfit_text(data, templates=templates)]


def find_unfit_text(data: object, *, templates: bool = True) -> list[UnfitText]:
    """Find the texts and keys that are not accepted, at most `MOST_MISTAKES`, with their places."""
    unfit: list[UnfitText] = []
    queue: list[tuple[KeyPath, Any]] = [((), data)]
    count = 0
    while queue and len(unfit) < MOST_MISTAKES:
        path, value = queue.pop()
        count += 1
        if len(path) > MOST_DEPTH:
            return [*unfit, UnfitText(path, "is nested too deeply", "nest it less")]
        if count > MOST_VALUES:
            return [*unfit, UnfitText((), f"more than {MOST_VALUES} values", "write fewer")]
        if isinstance(value, str) and (why := why_unfit(value, templates=templates)):
            unfit.append(UnfitText(path, why, _remedy(value, MOST_CHARACTERS)))
        for key, inner in reversed(_items(value)):
            inner_path = (*path, show_key(key) if isinstance(value, Mapping) else key)
            if isinstance(key, str) and (why := why_unfit(key, most=MOST_KEY_CHARACTERS)):
                unfit.append(UnfitText(inner_path, f"is a key that {why}", _remedy(key, MOST_KEY_CHARACTERS)))
            queue.append((inner_path, inner))
    return unfit


def show_path(path: KeyPath) -> str:
    """Write a path with dots between its parts."""
    return ".".join(str(part) for part in path)


def _remedy(text: str, most: int) -> str:
    return "shorten it" if len(text) > most else "remove it"


def why_unfit(text: str, *, templates: bool = True, most: int = MOST_CHARACTERS) -> str:
    """Describe why a text is refused, as a phrase to follow its name ("holds ..."); empty for an accepted text."""
    if len(text) > most:
        return f"has {len(text)} characters, and at most {most} are allowed"
    if not text.isprintable():
        unprintable = next(character for character in text if not character.isprintable())
        return f"holds U+{ord(unprintable):04X}, which is no printable character"
    mark = next((mark for mark in TEMPLATE_MARKS if mark in text), None) if templates else None
    return f"holds {mark!r}, which begins a template: templates are not allowed" if mark else ""


def shorten_value(value: object) -> str:
    """Write a value as Python does; of a large or deeply nested value only the beginning."""
    try:
        return _SHORT_REPR.repr(value)
    except ValueError:  # a number of more digits than Python turns into text
        return f"a large {type(value).__name__}"


def shorten_mistakes(mistakes: Sequence[str]) -> list[str]:
    """Return the first `MOST_MISTAKES` distinct mistakes, and a line with the number of the others."""
    distinct = list(dict.fromkeys(mistakes))
    more = len(distinct) - MOST_MISTAKES
    return [*distinct[:MOST_MISTAKES], *([f"and {more} more"] if more > 0 else [])]


def _items(value: object) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple | AbstractSet) else []


def show_key(key: object) -> str:
    """Write a key for a message: the key itself where it is fit for a message, else its shortened value."""
    return key if isinstance(key, str) and not why_unfit(key, most=MOST_KEY_CHARACTERS) else shorten_value(key)


def _make_short_repr() -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxtuple, short.maxset = 3, 4, 6, 6, 6
    short.maxstring, short.maxother, short.maxlong = 100, 100, 60
    return short


_SHORT_REPR = _make_short_repr()
