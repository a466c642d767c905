"""Define the pydantic type of `limits`: names of profiles, and for each quantity numbers or texts like "20us"."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetPydanticSchema, WithJsonSchema, create_model

from harness.campaign import limits
from harness.campaign.fields import parse_number
from harness.untrusted import names

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"

_FACTORS: Mapping[str, Mapping[str, str]] = {
    "ns": {"ns": "1", "us": "1e3", "ms": "1e6", "s": "1e9"},
    "ppb": {"ppb": "1", "ppm": "1e3"},
    "s": {"ms": "1e-3", "s": "1", "m": "60"},
    "ratio": {},
}
"""For the unit of a limit: the units that a text may have, with the factor of each."""

_MEANINGS: Mapping[str, str] = {
    "ns": "a time such as 500ns, 20us or 1.5ms, or a number of ns",
    "ppb": "a frequency such as 800ppb or 50ppm, or a number of ppb",
    "s": "a time such as 500ms, 90s or 2m, or a number of s",
    "ratio": "a number such as 0.99",
}


def limit_parser(unit: str) -> Callable[[object], float]:
    """Make the parser of limits in a unit: it takes a number, or a text with another unit of the same kind.

    The parser raises ValueError.
    """
    pattern = re.compile(_pattern(unit))

    def parse(value: object) -> float:
        if not isinstance(value, str):
            return parse_number(value)
        match = pattern.fullmatch(value.strip()) if _FACTORS[unit] else None
        if match is None:
            raise ValueError(f"must be {_MEANINGS[unit]}")
        return float(Decimal(match[1]) * Decimal(_FACTORS[unit][match[2]]))

    return parse


def _pattern(unit: str) -> str:
    return f"({_NUMBER}) ?({'|'.join(_FACTORS[unit])})"


def _statistic(unit: str) -> Any:
    """The type of one statistic's limit."""
    text = [{"type": "string", "pattern": f"^{_pattern(unit)}$"}] if _FACTORS[unit] else []
    schema = {"anyOf": [{"type": "number"}, *text], "description": _MEANINGS[unit]}
    return Annotated[float, BeforeValidator(limit_parser(unit)), WithJsonSchema(schema)]


PROFILE = "profile"
"""The key that names profiles, beside the quantities."""

_NAME = {"type": "string", "pattern": f"^(?:{names.PATH})$"}
_NAMES = {
    "anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1, "maxItems": 20}],
    "description": "the name of a profile such as mifid-ii-hft, a file such as mine.yaml, or a list of them",
}
_Profiles = Annotated[
    tuple[Annotated[str, Field(strict=True, pattern=_NAME["pattern"])], ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1, max_length=20),
    WithJsonSchema(_NAMES),
]


def _make_model() -> Any:
    """Make a model with a group for each quantity, in which each statistic of the quantity may have a limit."""
    groups: dict[str, Any] = {PROFILE: (_Profiles, None)}
    for quantity, statistics in limits.STATISTICS.items():
        config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"minProperties": 1})
        keys: dict[str, Any] = {statistic: (_statistic(limits.UNITS[quantity]), None) for statistic in statistics}
        groups[quantity] = (create_model(f"Limits_{quantity}", __config__=config, **keys), None)
    return create_model("Limits", __config__=ConfigDict(extra="forbid", frozen=True), **groups)


_MODEL = _make_model()

Limits = Annotated[
    Mapping[str, Any],
    GetPydanticSchema(lambda _source, handler: handler.generate_schema(_MODEL)),
    AfterValidator(lambda written: written.model_dump(exclude_unset=True)),
]
"""Limits by quantity and statistic, each in the unit of its quantity; and below `profile` the names of profiles."""
