"""Turn pydantic's errors about a campaign file into mistakes, in words of the file's schema."""

from collections.abc import Sequence
from typing import Any

from harness.campaign import fields, file_schema
from harness.campaign.file_schema import Node
from harness.campaign.mistakes import Mistake, suggest
from harness.untrusted.input_checks import KeyPath, shorten_value, show_key


def describe_errors(errors: Sequence[Any], schema: Node) -> list[Mistake]:
    """Describe each error. `schema`: the JSON schema of the file. Of a large value only the beginning is printed."""
    return [_mistake(error, schema) for error in _first_causes(errors)]


def _first_causes(errors: Sequence[Any]) -> list[Any]:
    """Drop errors about lists that are too short only because pydantic left out their wrong items."""
    wrong_items = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in wrong_items]


def _mistake(error: Any, schema: Node) -> Mistake:
    path: KeyPath = tuple(part if isinstance(part, int) else show_key(part) for part in error["loc"])
    value = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            valid = file_schema.keys(path[:-1], schema)
            remedy = suggest(
                str(path[-1]), valid, otherwise=f"the keys here are {file_schema.join_alternatives(valid, 'and')}"
            )
            return Mistake(path=path, problem="unknown key", remedy=remedy)
        case fields.UNSHOWN:
            return Mistake(path=path, problem=str(error["msg"]))
        case "too_short":
            return Mistake(
                path=path, problem="is empty", remedy=f"write {_describe_accepted(path, schema)}, or leave the key out"
            )
        case "too_long":
            most = error["ctx"]["max_length"]
            return Mistake(path=path, problem=f"has more than {most} items", remedy="write fewer")
        case _:
            return Mistake(path=path, problem=_describe_value(value), remedy=_remedy(value, path, schema))


def _describe_value(value: object) -> str:
    if value is None:
        return "has no value"
    return f"is {str(value).lower() if isinstance(value, bool) else shorten_value(value)}"


def _remedy(value: object, path: KeyPath, schema: Node) -> str:
    near = suggest(value, file_schema.enum_values(path, schema), otherwise="") if isinstance(value, str) else ""
    return f"write {_describe_accepted(path, schema)}{f' ({near})' if near else ''}"


def _describe_accepted(path: KeyPath, schema: Node) -> str:
    node = file_schema.find(path, schema)
    return file_schema.describe(node, schema) if node is not None else "another value"
