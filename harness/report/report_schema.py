"""Make the JSON schema of the report from the types of its document, and from the meanings of their keys."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from harness import __version__
from harness.report.document import SCHEMA, RunDocument
from harness.report.document_meanings import MEANINGS

_SIMPLE: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


def json_schema() -> dict[str, Any]:
    """Make the JSON schema (draft 2020-12) of a report in the form JSON, as this version of the harness writes it.

    Every key is there in every report, and no other is: a key that was not observed is null.
    """
    definitions: dict[str, Any] = {}
    _refer_to(RunDocument, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Report of a run, schema {SCHEMA}, as ptp-harness {__version__} writes it",
        **definitions.pop(RunDocument.__name__),
        "$defs": dict(sorted(definitions.items())),
    }


def _describe_type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Make the schema of a type; enums and objects become definitions that it refers to."""
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    if isinstance(hint, type) and (issubclass(hint, StrEnum) or is_dataclass(hint) or is_typeddict(hint)):
        return _refer_to(hint, definitions)
    arguments = get_args(hint)
    match get_origin(hint):
        case origin if origin is Annotated:  # plain data with the fields of a dataclass
            return _describe_type(hint.__metadata__[0], definitions)
        case origin if origin is Literal:
            return {"const": arguments[0]}
        case origin if origin in (Union, UnionType):
            return {"anyOf": [_describe_type(argument, definitions) for argument in arguments]}
        case origin if origin is tuple and arguments[-1] is not Ellipsis:
            items = [_describe_type(argument, definitions) for argument in arguments]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        case origin if origin in (list, tuple):
            return {"type": "array", "items": _describe_type(arguments[0], definitions)}
        case origin if origin is dict:
            names, values = (_describe_type(argument, definitions) for argument in arguments)
            return {"type": "object", "propertyNames": names, "additionalProperties": values}
        case _:
            raise TypeError(f"a report cannot hold {hint}")


def _refer_to(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # its place, so that a type that holds itself ends
        definitions[name] |= _define(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _define(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    description = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    if issubclass(kind, StrEnum):
        return {"description": description, "enum": [member.value for member in kind]}
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else list(hints)
    meanings = MEANINGS[kind.__name__]
    return {
        "description": description.partition(". ")[0].removesuffix("."),
        "type": "object",
        "properties": {
            name: {"description": meanings[name], **_describe_type(hints[name], definitions)} for name in names
        },
        "required": names,
        "additionalProperties": False,
    }
