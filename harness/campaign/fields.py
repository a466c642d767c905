"""Define a pydantic type for each kind of value in a campaign file, with its pattern and its length."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from harness.model import Outcome, Reason
from harness.model.controller_address import MOST_NETWORKS, NETWORKS, parse_networks
from harness.untrusted import names

UNSHOWN = "unshown"
"""Error type of a mistake whose message must not contain the value, which may be a password."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)")


def parse_duration_s(value: object) -> float:
    """Parse "500ms", "60s", "5m", "2h" or "1d" into seconds. Raises ValueError, also on zero or a missing unit."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ValueError('must be a duration with its unit, such as "60s", "5m" or "2h"')
    return seconds


def parse_number(value: object) -> float:
    """Return a number as it was written. Raises ValueError, also on numbers written as text, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _NUMBER_BOUND:
        raise ValueError("must be a number")
    return float(value)


_NUMBER_BOUND = 2.0**63
"""Upper bound of all numbers. No quantity here is as large, and much larger integers do not fit a float."""


def _refuse_password(value: str) -> str:
    if _USER_IN_URL.match(value):
        raise PydanticCustomError(
            UNSHOWN,
            "holds a user or password, which would stand in the ledger and in reports; "
            "download the file and give its path",
        )
    return value


def _check_networks(value: str) -> str:
    """Refuse what no pattern can: numbers above 255, and a network that is not given by its first address."""
    try:
        parse_networks(value)
    except ValueError:
        raise PydanticCustomError("networks", "is not a list of networks") from None
    return value


_USER_IN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{2,}[^/?#]*@")


def _pattern_field(pattern: str) -> Any:
    return Field(strict=True, pattern=f"^(?:{pattern})$")


Duration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{_DURATION.pattern})$", "examples": ["60s", "5m", "2h"]}),
]
Number = Annotated[float, BeforeValidator(parse_number)]
Amount = Annotated[Number, Field(gt=0), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
Whole = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
YesNo = Annotated[bool, Field(strict=True)]

_SUBNET = "subnet-[0-9a-f]{1,32}"
_NETWORK = "[0-9.]{7,15}/(?:1[6-9]|2[0-9]|3[0-2])"
_NETWORKS = f"{_NETWORK}(?: *, *{_NETWORK}){{0,{MOST_NETWORKS - 1}}}"
_RELEASE = r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}g?"
_SHA256 = "[0-9a-f]{64}"

_EXPECTATION = "|".join([*Outcome, *Reason])

Host = Annotated[str, _pattern_field(names.HOST)]
Region = Annotated[str, _pattern_field(names.REGION)]
Zone = Annotated[str, _pattern_field(names.ZONE)]
User = Annotated[str, _pattern_field(names.USER)]
Image = Annotated[str, _pattern_field(names.IMAGE)]
Placement = Annotated[str, _pattern_field(names.PLACEMENT)]
Profile = Annotated[str, _pattern_field(names.PROFILE)]
Owner = Annotated[str, _pattern_field(names.OWNER)]
Expectation = Annotated[str, _pattern_field(_EXPECTATION)]
Clock = Annotated[str, _pattern_field(names.CLOCK)]
Subnet = Annotated[str, _pattern_field(_SUBNET)]
Networks = Annotated[str, _pattern_field(_NETWORKS), AfterValidator(_check_networks)]
Release = Annotated[str, _pattern_field(_RELEASE)]
Sha256 = Annotated[str, _pattern_field(_SHA256)]
Path = Annotated[str, _pattern_field(names.PATH)]
PathOrUrl = Annotated[Path, AfterValidator(_refuse_password)]

_TYPE_PATTERN = r"[a-z0-9.*?\[\]!-]{1,64}"
_PATTERN = {"type": "string", "pattern": f"^(?:{_TYPE_PATTERN})$"}
Patterns = Annotated[
    tuple[Annotated[str, _pattern_field(_TYPE_PATTERN)], ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1, max_length=200),
    WithJsonSchema({"anyOf": [_PATTERN, {"type": "array", "items": _PATTERN, "minItems": 1, "maxItems": 200}]}),
]
"""One pattern or a list of them, such as `m7i` or `[c8*, r?i]`."""

MEANINGS = {
    _DURATION.pattern: 'a duration with its unit, such as "60s", "5m" or "2h"',
    _TYPE_PATTERN: "a pattern such as m7i, c8* or [cr]7i",
    names.HOST: "the name of a type, host or group",
    names.REGION: "a Region such as eu-north-1",
    names.ZONE: "a zone such as eu-north-1a",
    names.USER: "the name of a user such as ec2-user",
    names.IMAGE: "an image such as al2023, ami-... or baked:NAME",
    names.PLACEMENT: "auto, none, precision-time, cluster or group:NAME",
    names.PROFILE: "the name of an instance profile",
    names.OWNER: "the name of a person or team",
    _EXPECTATION: "an outcome such as UNSUPPORTED, or a reason such as no_phc",
    names.CLOCK: "a clock's name or a pattern of one, such as ena-ptp-*",
    _SUBNET: "the id of a subnet, subnet-...",
    _NETWORKS: NETWORKS,
    _RELEASE: "the number of a release such as 2.17.0g",
    _SHA256: "64 hexadecimal digits in lower case",
    names.PATH: "a path or URL that does not begin with -, without {, } and white space at its ends",
}
"""Description of each pattern, for messages."""

LIST_EXAMPLES = {
    names.HOST: "[lab.phc, lab.no-phc]",
    names.ZONE: "[eu-north-1a, eu-north-1b]",
    names.CLOCK: "[ena-ptp-*, igb-*]",
    _TYPE_PATTERN: "[c8*, r7i]",
}
"""A list of values of each pattern, for messages."""


def format_duration(seconds: float) -> str:
    """Write a duration as a campaign file has it, in the largest unit of which it is a whole number."""
    unit, factor = next(
        ((unit, factor) for unit, factor in reversed(_UNITS.items()) if seconds % factor == 0), ("ms", 0.001)
    )
    return f"{seconds / factor:g}{unit}"
