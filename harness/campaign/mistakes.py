"""What is wrong with what somebody wrote? pydantic's errors in words of the file: `key: what is wrong`."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.untrusted.input_checks import shorten_value

UNSHOWN = "unshown"
"""The type of a mistake whose value is not to be told: it may be a password."""

Keys = Mapping[tuple[str, ...], tuple[str, ...]]
"""The keys that there are, by the place of their table: `()` is the file's own."""


def describe_mistakes(errors: Sequence[Any], keys: Keys, meanings: Mapping[str, str]) -> list[str]:
    """One sentence for each mistake; an unknown key with the nearest that there is.

    `meanings` says in words what a pattern asks for. A value that is large is told by its beginning.
    """
    return [_mistake(error, keys, meanings) for error in _first_causes(errors)]


def _first_causes(errors: Sequence[Any]) -> list[Any]:
    """Without those that say a list is too short because its wrong items were left out."""
    wrong_items = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in wrong_items]


def _mistake(error: Any, keys: Keys, meanings: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "campaign"
    seen = shorten_value(error.get("input"))
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}{_nearest(error['loc'], keys)}"
        case "missing":
            return f"{key} is missing"
        case "enum" | "literal_error":
            wanted = str(error["ctx"]["expected"]).replace("'", "")
            return f"{key} is {seen}, not {wanted}"
        case "value_error":
            return f"{key} is {seen}: {str(error['msg']).removeprefix('Value error, ')}"
        case "too_short":
            return f"{key} is empty"
        case "tuple_type":
            return f"{key} is {seen}, not a list such as [lab.phc, lab.no-phc]"
        case "model_type":
            return f"{key} is {seen}, not a group of `key: value` lines"
        case "string_pattern_mismatch":
            pattern = str(error["ctx"]["pattern"]).removeprefix("^(?:").removesuffix(")$")
            return f"{key} is {seen}, {_asked(pattern, meanings)}"
        case _ if error["type"] == UNSHOWN:
            return f"{key} {error['msg']}"
        case _:
            return f"{key} is {seen}: {str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}"


def _asked(pattern: str, meanings: Mapping[str, str]) -> str:
    return f"not {meanings[pattern]}" if pattern in meanings else f"which does not match {pattern}"


def _nearest(place: Sequence[str | int], keys: Keys) -> str:
    known = keys.get(tuple(str(part) for part in place[:-1]), ())
    near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else f" (keys are {', '.join(known)})"
