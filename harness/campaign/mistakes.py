"""Turn pydantic's errors into messages that name the keys of the campaign file."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.untrusted.input_checks import shorten_value

UNSHOWN = "unshown"
"""Error type of a mistake whose message must not contain the value, which may be a password."""

Keys = Mapping[tuple[str, ...], tuple[str, ...]]
"""The valid keys of each table, by the path of the table. The path of the file's top level is `()`."""


def describe_mistakes(errors: Sequence[Any], keys: Keys, meanings: Mapping[str, str]) -> list[str]:
    """Describe each mistake in one sentence; for an unknown key, name the nearest valid key.

    `meanings` describes each pattern in words. Of a large value only the beginning is printed.
    """
    return [_mistake(error, keys, meanings) for error in _first_causes(errors)]


def _first_causes(errors: Sequence[Any]) -> list[Any]:
    """Drop errors about lists that are too short only because pydantic left out their wrong items."""
    wrong_items = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in wrong_items]


def _mistake(error: Any, keys: Keys, meanings: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "campaign"
    value = shorten_value(error.get("input"))
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}{_nearest(error['loc'], keys)}"
        case "missing":
            return f"{key} is missing"
        case "enum" | "literal_error":
            expected = str(error["ctx"]["expected"]).replace("'", "")
            return f"{key} is {value}, not {expected}"
        case "value_error":
            return f"{key} is {value}: {str(error['msg']).removeprefix('Value error, ')}"
        case "too_short":
            return f"{key} is empty"
        case "tuple_type":
            return f"{key} is {value}, not a list such as [lab.phc, lab.no-phc]"
        case "model_type":
            return f"{key} is {value}, not a group of `key: value` lines"
        case "string_pattern_mismatch":
            pattern = str(error["ctx"]["pattern"]).removeprefix("^(?:").removesuffix(")$")
            return f"{key} is {value}, {_asked(pattern, meanings)}"
        case _ if error["type"] == UNSHOWN:
            return f"{key} {error['msg']}"
        case "dict_type":
            return f"{key} is {value}, not a group of `key: value` lines"
        case kind if kind in _KINDS:
            return f"{key} is {value}, not {_KINDS[kind].format(**error.get('ctx', {}))}"
        case _:
            return f"{key} is {value}: {str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}"


_KINDS: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "too_long": "at most {max_length} of them",
}
"""The words for each kind of value, by pydantic's type of the error."""


def _asked(pattern: str, meanings: Mapping[str, str]) -> str:
    return f"not {meanings[pattern]}" if pattern in meanings else f"which does not match {pattern}"


def _nearest(place: Sequence[str | int], keys: Keys) -> str:
    valid_keys = keys.get(tuple(str(part) for part in place[:-1]), ())
    near = difflib.get_close_matches(str(place[-1]), valid_keys, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else f" (keys are {', '.join(valid_keys)})"
