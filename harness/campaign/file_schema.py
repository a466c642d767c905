"""Read the JSON schema of campaign files: the schema of a key, and a description of the values that it takes."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from harness.campaign import fields, key_meanings
from harness.untrusted.input_checks import KeyPath

Node = Mapping[str, Any]


def find(path: KeyPath, schema: Node) -> Node | None:
    """Return the schema of the value at a path, or None where the schema allows no value."""
    nodes = [schema]
    for part in path:
        inner = (_find_inner(part, node) for node in nodes)
        nodes = [
            branch for node in inner if node is not None for branch in _branches(_resolve_ref(node, schema), schema)
        ]
    return nodes[0] if nodes else None


def keys(path: KeyPath, schema: Node) -> tuple[str, ...]:
    """List the keys that the group at a path takes."""
    node = find(path, schema) or {}
    groups = [branch for branch in _branches(node, schema) if "properties" in branch]
    return tuple(groups[0]["properties"]) if groups else ()


def enum_values(path: KeyPath, schema: Node) -> tuple[str, ...]:
    """List the values of the enum at a path; empty for a key that is no enum."""
    node = find(path, schema) or {}
    return tuple(str(value) for branch in _branches(node, schema) for value in branch.get("enum", ()))


def describe(node: Node, schema: Node) -> str:
    """Describe in words the values that a key takes, to follow "write"."""
    node = _resolve_ref(node, schema)
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if "enum" in node:
        return join_alternatives([str(value) for value in node["enum"]])
    if "description" in node and node.get("type") != "object":
        return str(node["description"])
    if branches:
        return " or ".join(describe(branch, schema) for branch in branches)
    match node.get("type"):
        case "boolean":
            return "true or false"
        case "integer":
            return f"a whole number from {node['minimum']} to {node['maximum']}"
        case "number":
            return "a number above 0" if node.get("exclusiveMinimum") == 0 else "a number"
        case "array":
            items = _resolve_ref(node["items"], schema)
            if "enum" in items:
                return f"a list of {describe(items, schema)}"
            return f"a list such as {fields.LIST_EXAMPLES[_pattern_of(items)]}"
        case "object":
            return "a group of `key: value` lines"
        case _:
            return fields.MEANINGS[_pattern_of(node)]


def join_alternatives(phrases: Sequence[str], conjunction: str = "or") -> str:
    """Join phrases as in a sentence: a, b or c."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} {conjunction} {phrases[-1]}"


def _pattern_of(node: Node) -> str:
    return str(node["pattern"]).removeprefix("^(?:").removesuffix(")$")


def _resolve_ref(node: Node, schema: Node) -> Node:
    if "$ref" not in node:
        return node
    siblings = {key: value for key, value in node.items() if key != "$ref"}
    return {**schema["$defs"][str(node["$ref"]).rpartition("/")[2]], **siblings}


def _branches(node: Node, schema: Node) -> list[Node]:
    """List the node itself, then its alternatives (anyOf)."""
    return [node, *(_resolve_ref(branch, schema) for branch in node.get("anyOf", ()))]


def _find_inner(part: str | int, node: Node) -> Node | None:
    if isinstance(part, int):
        items: Node | None = node.get("items")
        return items
    others: Mapping[str, Node] = node.get("patternProperties", {})  # of a group whose keys are names
    inner: Node | None = node.get("properties", {}).get(part, next(iter(others.values()), None))
    return inner


def add_meanings(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the schema with the meaning of every key, and with defaults as a file would have them."""
    described = copy.deepcopy(dict(schema))
    _describe_keys((), described, described)
    return described


def _describe_keys(path: KeyPath, group: dict[str, Any], schema: dict[str, Any]) -> None:
    for key, node in group.get("properties", {}).items():
        default = node.pop("default", None)
        if isinstance(default, bool | int | str | list) and default != []:
            node["default"] = default
        elif isinstance(default, float):
            node["default"] = fields.format_duration(default)
        node["description"] = key_meanings.MEANINGS[*path, key]
        for branch in _branches(_resolve_ref(node, schema), schema):
            _describe_keys((*path, key), dict(branch), schema)
