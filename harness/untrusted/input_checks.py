"""Is a text that people wrote fit to be taken at all? The same bounds and characters for every key, flag and variable.

What passes here may still be wrong, but it is no template, steers no terminal, and is short enough to be told of. What
a text names (a user, a path, a clock) has a pattern of its own in `names`.
"""

import reprlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from harness.untrusted.names import TEMPLATE_MARKS

MOST_BYTES = 256 * 1024
"""Of a campaign file: some ten thousand instance types."""

MOST_CHARACTERS = 4096
"""Of one text; also of a path (PATH_MAX of Linux)."""

MOST_KEY_CHARACTERS = 100
MOST_DEPTH = 8
MOST_VALUES = 20_000
MOST_MISTAKES = 20
"""So many are told at once."""


def text_mistakes(written: object, *, templates: bool = True) -> list[str]:
    """What cannot be taken of a tree of mappings, lists and texts, one sentence for each, at most `MOST_MISTAKES`.

    `templates`: whether what begins a template of Ansible's is refused too.
    """
    found: list[str] = []
    waiting: list[tuple[str, int, Any]] = [("", 0, written)]
    taken = 0
    while waiting and len(found) < MOST_MISTAKES:
        place, depth, value = waiting.pop()
        taken += 1
        if depth > MOST_DEPTH:
            return [*found, f"{place} is nested too deeply"]
        if taken > MOST_VALUES:
            return [*found, f"more than {MOST_VALUES} values"]
        if isinstance(value, str) and (why := why_unfit(value, templates=templates)):
            found.append(f"{place or 'it'} {why}")
        for key, inner in reversed(_items(value)):
            name = f"{place}.{_key(key)}".lstrip(".")
            if isinstance(key, str) and (why := why_unfit(key, most=MOST_KEY_CHARACTERS)):
                found.append(f"the key {name} {why}")
            waiting.append((name, depth + 1, inner))
    return found


def why_unfit(text: str, *, templates: bool = True, most: int = MOST_CHARACTERS) -> str:
    """Why a text is not taken, to stand behind its name ("holds ..."); empty where it is."""
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


def limit_mistakes(found: Sequence[str]) -> list[str]:
    """The first mistakes, each once, and how many there are beside."""
    distinct = list(dict.fromkeys(found))
    more = len(distinct) - MOST_MISTAKES
    return [*distinct[:MOST_MISTAKES], *([f"and {more} more"] if more > 0 else [])]


def _items(value: object) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple | AbstractSet) else []


def _key(key: object) -> str:
    """A key that can be told of, as it is; any other as `shown`."""
    return key if isinstance(key, str) and not why_unfit(key, most=MOST_KEY_CHARACTERS) else shorten_value(key)


def _short() -> reprlib.Repr:
    made = reprlib.Repr()
    made.maxlevel, made.maxdict, made.maxlist, made.maxtuple, made.maxset = 3, 4, 6, 6, 6
    made.maxstring, made.maxother, made.maxlong = 100, 100, 60
    return made


_SHORT = _short()
