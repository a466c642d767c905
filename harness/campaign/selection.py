"""Which of a Region's types does `select:` mean? Conditions that a type must meet, and what each of them left out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from harness.errors import RequestError
from harness.model.cloud import TypeInfo

MIB_PER_GIB = 1024


class PhcClaim(StrEnum):
    """What the API must claim of a type's clock; unknown: it says nothing."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions, all of which a type must meet. Patterns are those of shells; an empty tuple or None asks nothing.

    `one_size_per_family` takes the smallest type of each family that meets the rest, and `limit` the first so many.
    """

    phc: PhcClaim = PhcClaim.ANY
    family: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    arch: str | None = None
    min_vcpus: int | None = None
    max_vcpus: int | None = None
    min_memory_gib: float | None = None
    max_memory_gib: float | None = None
    max_price_per_hour: float | None = None  # USD
    current_generation: bool = False
    exclude: tuple[str, ...] = ()  # of names or families
    one_size_per_family: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedTypes:
    """What is left, in the order given, and how many types each condition left out, in the order applied."""

    types: tuple[TypeInfo, ...]
    removed: Mapping[str, int]


Condition = Callable[[TypeInfo], bool]


def select_types(types: Iterable[TypeInfo], select: Selection) -> SelectedTypes:
    """The types that meet every condition. A price that is not known meets no ceiling."""
    left, removed = list(types), {}
    for words, meets in describe_conditions(select).items():
        kept = [one for one in left if meets(one)]
        removed[words] = len(left) - len(kept)
        left = kept
    if select.one_size_per_family:
        smallest = {one.name for one in _smallest_of_each_family(left)}
        removed["one size per family"] = len(left) - len(smallest)
        left = [one for one in left if one.name in smallest]
    if select.limit is not None:
        removed[f"limit {select.limit}"] = max(len(left) - select.limit, 0)
        left = left[: select.limit]
    return SelectedTypes(types=tuple(left), removed=removed)


def resolve_types(
    named: Sequence[str], select: Selection | None, types: Mapping[str, TypeInfo], *, where: str
) -> tuple[str, ...]:
    """What a campaign means: the types that it names, in that order, then those selected that it does not name.

    Raises RequestError, with what each condition left out, when `select` leaves nothing.
    """
    if select is None:
        return tuple(named)
    chosen = select_types(types.values(), select).types
    if not chosen:
        raise _nothing_left(types, select, where)
    return (*named, *(one.name for one in chosen if one.name not in set(named)))


def selection_mistakes(select: Selection) -> list[str]:
    """What a selection asks for that no type can meet, one sentence each."""
    found = []
    for least, most in (("min_vcpus", "max_vcpus"), ("min_memory_gib", "max_memory_gib")):
        low, high = getattr(select, least), getattr(select, most)
        if low is not None and high is not None and low > high:
            found.append(f"{least} of {low:g} is more than {most} of {high:g}")
    return found


def size_order(one: TypeInfo) -> tuple[int, int, bool, str]:
    """From small to large: vCPUs, memory, virtual before bare metal, the name. No price: it may be unknown."""
    return one.vcpus, one.memory_mib, one.bare_metal, one.name


def describe_conditions(select: Selection) -> Mapping[str, Condition]:
    """Each condition that is asked for, in words, in the order in which they are applied."""
    asked: list[tuple[object, str, Condition]] = [
        (select.current_generation, "current generation", lambda one: one.current_generation),
        (select.arch, f"arch {select.arch}", lambda one: one.architecture == select.arch),
        (select.phc is not PhcClaim.ANY, f"phc {select.phc}", lambda one: describe_claim(one) is select.phc),
        (select.family, f"family {', '.join(select.family)}", lambda one: _like(one.family, select.family)),
        (select.size, f"size {', '.join(select.size)}", lambda one: _like(one.size, select.size)),
        (select.exclude, f"exclude {', '.join(select.exclude)}", lambda one: not _excluded(one, select.exclude)),
        *_bounds(select),
    ]
    return {
        words: meets for wanted, words, meets in asked if wanted is not None and wanted is not False and wanted != ()
    }


def describe_claim(one: TypeInfo) -> PhcClaim:
    """What the API says of a type's clock."""
    return PhcClaim.UNKNOWN if one.phc is None else PhcClaim.SUPPORTED if one.phc else PhcClaim.UNSUPPORTED


def _bounds(select: Selection) -> list[tuple[object, str, Condition]]:
    few, many = select.min_vcpus or 0, select.max_vcpus or 0
    little, much = select.min_memory_gib or 0, select.max_memory_gib or 0
    price = select.max_price_per_hour or 0
    return [
        (select.min_vcpus, f"at least {few} vCPUs", lambda one: one.vcpus >= few),
        (select.max_vcpus, f"at most {many} vCPUs", lambda one: one.vcpus <= many),
        (select.min_memory_gib, f"at least {little:g} GiB", lambda one: one.memory_mib >= little * MIB_PER_GIB),
        (select.max_memory_gib, f"at most {much:g} GiB", lambda one: one.memory_mib <= much * MIB_PER_GIB),
        (select.max_price_per_hour, "a price that is known", lambda one: one.price_per_hour_usd is not None),
        (select.max_price_per_hour, f"at most ${price:g} per hour", lambda one: (one.price_per_hour_usd or 0) <= price),
    ]


def _like(word: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(word, pattern) for pattern in patterns)


def _excluded(one: TypeInfo, patterns: Sequence[str]) -> bool:
    return _like(one.name, patterns) or _like(one.family, patterns)


def _smallest_of_each_family(types: Iterable[TypeInfo]) -> Iterable[TypeInfo]:
    smallest: dict[str, TypeInfo] = {}
    for one in sorted(types, key=size_order):
        smallest.setdefault(one.family, one)
    return smallest.values()


def _nothing_left(types: Mapping[str, TypeInfo], select: Selection, where: str) -> RequestError:
    removed = select_types(types.values(), select).removed
    told = ", ".join(f"{words} removed {number}" for words, number in removed.items() if number)
    defaults: list[dict[str, Any]] = [{field.name: field.default} for field in fields(select)]
    loosened = {key: replace(select, **default) for default in defaults for key in default}
    without = {key: len(select_types(types.values(), one).types) for key, one in loosened.items() if one != select}
    helps = [f"without {key} there are {number}" for key, number in without.items() if number]
    return RequestError(
        f"select leaves none of the {len(types)} types of {where}: {told}",
        next_step="; ".join(helps) or "loosen several conditions: none alone is to blame",
    )
