"""Select the instance types of a Region that meet the conditions of `select:`, and count how many each excludes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from harness.errors import RequestError
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture

MIB_PER_GIB = 1024


class PhcClaim(StrEnum):
    """The claim that the API must make about a type's clock. UNKNOWN: the API makes none. ANY: no condition."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions, all of which a type must meet. Patterns are shell patterns; an empty tuple or None is no condition.

    `one_size_per_family` takes the smallest type of each family among the types that meet all other conditions.
    `limit` takes only the first types, as many as it says.
    """

    phc: PhcClaim = PhcClaim.ANY
    family: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    arch: Architecture | None = None
    min_vcpus: int | None = None
    max_vcpus: int | None = None
    min_memory_gib: float | None = None
    max_memory_gib: float | None = None
    max_price_per_hour: float | None = None  # USD
    current_generation: bool = False
    exclude: tuple[str, ...] = ()  # patterns of type names or families
    one_size_per_family: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedTypes:
    """The selected types, in the order given, and how many types each condition excluded, in the order applied."""

    types: tuple[TypeInfo, ...]
    removed: Mapping[str, int]


Condition = Callable[[TypeInfo], bool]


def select_types(types: Iterable[TypeInfo], select: Selection) -> SelectedTypes:
    """Select the types that meet every condition. A type with an unknown price does not meet a price limit."""
    remaining, removed = list(types), {}
    for description, meets in describe_conditions(select).items():
        matching = [info for info in remaining if meets(info)]
        removed[description] = len(remaining) - len(matching)
        remaining = matching
    if select.one_size_per_family:
        smallest = {info.name for info in _smallest_of_each_family(remaining)}
        removed["one size per family"] = len(remaining) - len(smallest)
        remaining = [info for info in remaining if info.name in smallest]
    if select.limit is not None:
        removed[f"limit {select.limit}"] = max(len(remaining) - select.limit, 0)
        remaining = remaining[: select.limit]
    return SelectedTypes(types=tuple(remaining), removed=removed)


def resolve_types(
    instance_types: Sequence[str], select: Selection | None, types: Mapping[str, TypeInfo], *, where: str
) -> tuple[str, ...]:
    """List the types of a campaign: first the named types, in that order, then the selected types not named.

    Raises RequestError, with the number of types that each condition excluded, when `select` selects no type.
    """
    if select is None:
        return tuple(instance_types)
    selected = select_types(types.values(), select).types
    if not selected:
        raise _none_selected_error(types, select, where)
    return (*instance_types, *(info.name for info in selected if info.name not in set(instance_types)))


def selection_mistakes(select: Selection) -> list[str]:
    """Describe the conditions of a selection that no type can meet, one sentence for each."""
    messages = []
    for least, most in (("min_vcpus", "max_vcpus"), ("min_memory_gib", "max_memory_gib")):
        low, high = getattr(select, least), getattr(select, most)
        if low is not None and high is not None and low > high:
            messages.append(f"{least} of {low:g} is more than {most} of {high:g}")
    return messages


def size_order(info: TypeInfo) -> tuple[int, int, bool, str]:
    """Sort key from small to large: vCPUs, memory, virtual before bare metal, name. Prices may be unknown: not used."""
    return info.vcpus, info.memory_mib, info.bare_metal, info.name


def describe_conditions(select: Selection) -> Mapping[str, Condition]:
    """Map the description of each requested condition to its function, in the order in which they are applied."""
    conditions: list[tuple[object, str, Condition]] = [
        (select.current_generation, "current generation", lambda info: info.current_generation),
        (select.arch, f"arch {select.arch}", lambda info: info.architecture == select.arch),
        (select.phc is not PhcClaim.ANY, f"phc {select.phc}", lambda info: classify_claim(info) is select.phc),
        (select.family, f"family {', '.join(select.family)}", lambda info: _matches_any(info.family, select.family)),
        (select.size, f"size {', '.join(select.size)}", lambda info: _matches_any(info.size, select.size)),
        (select.exclude, f"exclude {', '.join(select.exclude)}", lambda info: not _is_excluded(info, select.exclude)),
        *_bound_conditions(select),
    ]
    return {
        description: meets
        for value, description, meets in conditions
        if value is not None and value is not False and value != ()
    }


def classify_claim(info: TypeInfo) -> PhcClaim:
    """Classify the API's claim about a type's clock."""
    return PhcClaim.UNKNOWN if info.phc is None else PhcClaim.SUPPORTED if info.phc else PhcClaim.UNSUPPORTED


def _bound_conditions(select: Selection) -> list[tuple[object, str, Condition]]:
    min_vcpus, max_vcpus = select.min_vcpus or 0, select.max_vcpus or 0
    min_gib, max_gib = select.min_memory_gib or 0, select.max_memory_gib or 0
    price = select.max_price_per_hour or 0
    return [
        (select.min_vcpus, f"at least {min_vcpus} vCPUs", lambda info: info.vcpus >= min_vcpus),
        (select.max_vcpus, f"at most {max_vcpus} vCPUs", lambda info: info.vcpus <= max_vcpus),
        (select.min_memory_gib, f"at least {min_gib:g} GiB", lambda info: info.memory_mib >= min_gib * MIB_PER_GIB),
        (select.max_memory_gib, f"at most {max_gib:g} GiB", lambda info: info.memory_mib <= max_gib * MIB_PER_GIB),
        (select.max_price_per_hour, "a price that is known", lambda info: info.price_per_hour_usd is not None),
        (
            select.max_price_per_hour,
            f"at most ${price:g} per hour",
            lambda info: (info.price_per_hour_usd or 0) <= price,
        ),
    ]


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_excluded(info: TypeInfo, patterns: Sequence[str]) -> bool:
    return _matches_any(info.name, patterns) or _matches_any(info.family, patterns)


def _smallest_of_each_family(types: Iterable[TypeInfo]) -> Iterable[TypeInfo]:
    smallest: dict[str, TypeInfo] = {}
    for info in sorted(types, key=size_order):
        smallest.setdefault(info.family, info)
    return smallest.values()


def _none_selected_error(types: Mapping[str, TypeInfo], select: Selection, where: str) -> RequestError:
    removed = select_types(types.values(), select).removed
    summary = ", ".join(f"{condition} removed {number}" for condition, number in removed.items() if number)
    defaults: list[dict[str, Any]] = [{field.name: field.default} for field in fields(select)]
    loosened = {key: replace(select, **default) for default in defaults for key in default}
    numbers = {
        key: len(select_types(types.values(), changed).types) for key, changed in loosened.items() if changed != select
    }
    hints = [f"without {key} there are {number}" for key, number in numbers.items() if number]
    return RequestError(
        f"select leaves none of the {len(types)} types of {where}: {summary}",
        next_step="; ".join(hints) or "loosen several conditions: removing one alone is not enough",
    )
