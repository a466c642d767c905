"""Make a form of the schema of campaign files, and a campaign file of what somebody wrote into it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import yaml

from harness.campaign.campaign_file import json_schema
from harness.campaign.choices import Keep
from harness.untrusted.input_checks import KeyPath

PREFIX = "key."
"""Begins the names of the form's fields; the path of the key follows."""

_LEFT_OUT = {("inventory",)}
"""Keys that a service refuses: it reads no files for those who submit."""

_OPEN = ((), ("measure",))
"""Groups that are shown unfolded."""

_FIRST = ("bench", "instance_types", "image", "region", "depth", "keep")
_VALUES_LEFT_OUT: Mapping[KeyPath, Sequence[str]] = {("keep",): (Keep.ASK,), ("bench",): ("hosts",)}


class FieldKind(StrEnum):
    """How a value is written into a form."""

    CHOICE = "choice"  # one of several, or the default
    TEXT = "text"
    WORDS = "words"  # several, between commas or on lines
    MARKS = "marks"  # several of a few that are listed
    PAIRS = "pairs"  # lines of `name: value`


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field for the value of a key. `default`: as a file would have it, "" without one."""

    path: KeyPath
    kind: FieldKind
    title: str
    meaning: str
    choices: Sequence[str] = ()
    default: str = ""
    is_number: bool = False

    @property
    def name(self) -> str:
        """The name of the field in the form."""
        return PREFIX + ".".join(map(str, self.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldGroup:
    """The fields of a group of keys. `is_open`: it is shown unfolded."""

    path: KeyPath
    title: str
    meaning: str
    fields: Sequence[FormField]
    is_open: bool


@cache
def make_groups() -> Sequence[FieldGroup]:
    """Make the groups of fields: the keys at the top, then each group of keys."""
    schema = json_schema()
    return tuple(group for group in _read_groups((), schema, schema, "") if group.fields)


def _read_groups(
    path: KeyPath, node: Mapping[str, Any], schema: Mapping[str, Any], meaning: str
) -> Iterator[FieldGroup]:
    fields: list[FormField] = []
    inner: list[FieldGroup] = []
    for key, value in node["properties"].items():
        below = (*path, key)
        resolved, description = _resolve(value, schema), str(value.get("description", ""))
        if below in _LEFT_OUT:
            continue
        if "properties" in resolved:
            inner += _read_groups(below, resolved, schema, description)
        else:
            fields.append(_make_field(below, resolved, value, schema, description))
    if not path:
        fields.sort(key=lambda field: _FIRST.index(str(field.path[0])) if field.path[0] in _FIRST else len(_FIRST))
    title = ".".join(map(str, path)) or "campaign"
    yield FieldGroup(path=path, title=title, meaning=meaning, fields=fields, is_open=path in _OPEN)
    yield from inner


def _make_field(
    path: KeyPath, node: Mapping[str, Any], given: Mapping[str, Any], schema: Mapping[str, Any], meaning: str
) -> FormField:
    kind, choices = _choose_kind(node, schema)
    default = given.get("default")
    return FormField(
        path=path,
        kind=kind,
        title=str(path[-1]),
        meaning=meaning,
        choices=[choice for choice in choices if choice not in _VALUES_LEFT_OUT.get(path, ())],
        default=_write_default(default),
        is_number=kind is FieldKind.TEXT and _takes_numbers(node),
    )


def _choose_kind(node: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[FieldKind, Sequence[str]]:
    if "enum" in node:
        return FieldKind.CHOICE, [str(value) for value in node["enum"]]
    match node.get("type"):
        case "boolean":
            return FieldKind.CHOICE, ["true", "false"]
        case "array":
            items = _resolve(node["items"], schema)
            return (
                (FieldKind.MARKS, [str(value) for value in items["enum"]]) if "enum" in items else (FieldKind.WORDS, [])
            )
        case "object":
            return FieldKind.PAIRS, []
        case _:
            lists = [branch for branch in node.get("anyOf", ()) if branch.get("type") == "array"]
            return (FieldKind.WORDS if lists else FieldKind.TEXT), []


def _takes_numbers(node: Mapping[str, Any]) -> bool:
    branches = [node, *node.get("anyOf", ())]
    return any(branch.get("type") in ("integer", "number") for branch in branches)


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference leads to; of a value that may be absent, the value."""
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        return _resolve({**branches[0]}, schema)
    if "$ref" in node:
        return _resolve(schema["$defs"][str(node["$ref"]).rpartition("/")[2]], schema)
    return node


def _write_default(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list):
        return ", ".join(map(str, default))
    return "" if default is None else str(default)


# -- what somebody wrote


def write_campaign(form: Mapping[str, str]) -> str:
    """Write the campaign file of a form: the keys that were filled in, in the order of the form."""
    data: dict[str, Any] = {}
    for group in make_groups():
        for field in group.fields:
            value = _read_value(field, form)
            if value is not None:
                inside = data
                for part in field.path[:-1]:
                    inside = inside.setdefault(str(part), {})
                inside[str(field.path[-1])] = value
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100) if data else ""


def _read_value(field: FormField, form: Mapping[str, str]) -> object:
    """Read the value of a field; None where nothing was written."""
    text = form.get(field.name, "").strip()
    match field.kind:
        case FieldKind.MARKS:
            return [choice for choice in field.choices if f"{field.name}.{choice}" in form] or None
        case _ if not text:
            return None
        case FieldKind.WORDS:
            return [word for word in text.replace(",", " ").split() if word]
        case FieldKind.PAIRS:
            return _read_pairs(text)
        case FieldKind.CHOICE if field.choices == ["true", "false"]:
            return text == "true"
        case FieldKind.TEXT if field.is_number:
            return _read_number(text)
        case _:
            return text


def _read_pairs(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _read_number(text: str) -> object:
    """Read a number; a text that is none stays, to be refused with the key's own words."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def find_field(path: KeyPath) -> FormField | None:
    """Find the field in which a mistake at this path is corrected; None without one."""
    fields = {field.path: field for group in make_groups() for field in group.fields}
    return next((fields[path[:length]] for length in range(len(path), 0, -1) if path[:length] in fields), None)
