"""Replace moto's filters by EC2's rules: `*` is any characters, `?` one or none, and `\\` escapes both.

Source: Amazon EC2 User Guide, "List and filter your resources". In moto `?` is exactly one character, most listings
have no escape but the brackets of fnmatch, and instances have wildcards in tags only.
"""

import datetime
import re
from collections.abc import Callable, Iterable
from typing import Any

from moto.ec2 import utils
from moto.ec2.models import security_groups


def matches(value: str, pattern: str) -> bool:
    """Tell whether EC2 would select a value by that filter value."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wildcards = {"*": ".*", "?": ".?"}
    expression = "".join(wildcards.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def any_matches(values: Iterable[str], patterns: Iterable[str]) -> bool:
    """Tell whether one of the filter's patterns selects one of a resource's values."""
    patterns = list(patterns)
    return any(matches(value, pattern) for value in values for pattern in patterns)


def tag_filter_matches(obj: Any, filter_name: str, filter_values: list[str]) -> bool:
    tags = {tag["key"]: tag["value"] for tag in obj.get_tags()}
    if filter_name == "tag-key":
        return any_matches(tags, filter_values)
    if filter_name == "tag-value":
        return any_matches(tags.values(), filter_values)
    key = filter_name.removeprefix("tag:")
    return key in tags and any_matches([tags[key]], filter_values)


def is_filter_matching(obj: Any, _filter: str, filter_value: Any) -> bool:
    patterns = filter_value if isinstance(filter_value, list) else [filter_value]
    if utils.is_tag_filter(_filter):
        return tag_filter_matches(obj, _filter, patterns)
    return _selected(obj.get_filter_value(_filter), patterns)


def instance_value_in_filter_values(instance_value: Any, filter_values: Any) -> bool:
    return _selected(instance_value, filter_values)


def _selected(value: Any, patterns: Iterable[str]) -> bool:
    if isinstance(value, bool):
        return any_matches([str(value).lower()], patterns)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return any_matches(
            [utils.format_timestamp(value) if isinstance(value, datetime.datetime) else str(value)], patterns
        )
    return any_matches(map(str, value), patterns)


def install(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Replace moto's functions in this process."""
    for function in (tag_filter_matches, is_filter_matching, instance_value_in_filter_values):
        set_attribute(utils, function.__name__, function)
    set_attribute(security_groups, tag_filter_matches.__name__, tag_filter_matches)
