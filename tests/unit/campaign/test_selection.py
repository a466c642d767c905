"""`select:`: every chosen type meets every condition, in the order given, and what was left out is told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign import selection
from harness.campaign.selection import PhcClaim, Selection
from harness.errors import RequestError
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture

SIZES = {"medium": 1, "large": 2, "xlarge": 4, "4xlarge": 16, "metal": 16}


def a_type(name: str = "m7i.large", **changes: Any) -> TypeInfo:
    family, _, size = name.partition(".")
    vcpus = SIZES[size]
    values: dict[str, Any] = {
        "name": name,
        "family": family,
        "size": size,
        "architecture": Architecture.ARM64 if family.endswith("g") else Architecture.X86_64,
        "vcpus": vcpus,
        "memory_mib": vcpus * 4096,
        "phc": True,
        "ena": "required",
        "zones": ("eu-north-1a",),
        "price_per_hour_usd": 0.05 * vcpus,
        "bare_metal": size == "metal",
        "current_generation": True,
    }
    return TypeInfo(**(values | changes))


TYPES = [
    a_type("c8g.medium"),
    a_type("c8g.large"),
    a_type("c8g.metal", price_per_hour_usd=None),
    a_type("m7i.large"),
    a_type("m7i.xlarge", phc=None),
    a_type("m4.large", phc=False, current_generation=False),
    a_type("r7i.4xlarge", memory_mib=131072),
]


def chosen(**select: Any) -> list[str]:
    return [one.name for one in selection.select_types(TYPES, Selection(**select)).types]


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ({}, [one.name for one in TYPES]),
        ({"phc": PhcClaim.SUPPORTED}, ["c8g.medium", "c8g.large", "c8g.metal", "m7i.large", "r7i.4xlarge"]),
        ({"phc": PhcClaim.UNSUPPORTED}, ["m4.large"]),
        ({"phc": PhcClaim.UNKNOWN}, ["m7i.xlarge"]),
        ({"family": ("m7i", "r7?")}, ["m7i.large", "m7i.xlarge", "r7i.4xlarge"]),
        ({"family": ("m",)}, []),
        ({"size": ("*xlarge",)}, ["m7i.xlarge", "r7i.4xlarge"]),
        ({"arch": Architecture.ARM64}, ["c8g.medium", "c8g.large", "c8g.metal"]),
        ({"min_vcpus": 4}, ["c8g.metal", "m7i.xlarge", "r7i.4xlarge"]),
        ({"max_vcpus": 1}, ["c8g.medium"]),
        ({"min_memory_gib": 64}, ["c8g.metal", "r7i.4xlarge"]),
        ({"min_memory_gib": 64.1}, ["r7i.4xlarge"]),
        ({"max_memory_gib": 4}, ["c8g.medium"]),
        ({"max_price_per_hour": 0.1}, ["c8g.medium", "c8g.large", "m7i.large", "m4.large"]),
        ({"current_generation": True, "arch": Architecture.X86_64}, ["m7i.large", "m7i.xlarge", "r7i.4xlarge"]),
        ({"exclude": ("c8g", "*.large")}, ["m7i.xlarge", "r7i.4xlarge"]),
        ({"one_size_per_family": True}, ["c8g.medium", "m7i.large", "m4.large", "r7i.4xlarge"]),
        ({"one_size_per_family": True, "min_vcpus": 2}, ["c8g.large", "m7i.large", "m4.large", "r7i.4xlarge"]),
        ({"limit": 2}, ["c8g.medium", "c8g.large"]),
        ({"one_size_per_family": True, "limit": 3}, ["c8g.medium", "m7i.large", "m4.large"]),
    ],
)
def test_each_condition(select: dict[str, Any], names: list[str]) -> None:
    assert chosen(**select) == names


def test_the_smallest_is_by_vcpus_memory_then_virtual_before_metal() -> None:
    same = [
        a_type("m7i.metal"),
        a_type("m7i.4xlarge"),
        a_type("m7i.xlarge", vcpus=16, memory_mib=65537),
        a_type("m7i.medium", vcpus=17, memory_mib=1),
    ]
    assert [one.name for one in sorted(same, key=selection.size_order)] == [
        "m7i.4xlarge",
        "m7i.metal",
        "m7i.xlarge",
        "m7i.medium",
    ]


def test_what_each_condition_left_out() -> None:
    select = Selection(phc=PhcClaim.SUPPORTED, max_price_per_hour=0.1, one_size_per_family=True, limit=1)
    assert selection.select_types(TYPES, select).removed == {
        "phc supported": 2,
        "a price that is known": 1,
        "at most $0.1 per hour": 1,
        "one size per family": 1,
        "limit 1": 1,
    }


KNOWN = {one.name: one for one in TYPES}


def test_named_types_come_first_and_no_type_twice() -> None:
    select = Selection(family=("m7i",))
    assert selection.resolve_types(["m7i.xlarge", "x1.large"], select, KNOWN, where="r") == (
        "m7i.xlarge",
        "x1.large",
        "m7i.large",
    )
    assert selection.resolve_types(["a", "a"], None, KNOWN, where="r") == ("a", "a")


@pytest.mark.parametrize(
    ("select", "message", "following"),
    [
        (
            Selection(phc=PhcClaim.SUPPORTED, arch=Architecture.ARM64, max_vcpus=8, min_memory_gib=32),
            "select leaves none of the 7 types of eu-north-1: arch arm64 removed 4, at most 8 vCPUs removed 1, "
            "at least 32 GiB removed 2",
            "without max_vcpus there are 1; without min_memory_gib there are 2",
        ),
        (
            Selection(family=("zz9",), size=("nano",)),
            "select leaves none of the 7 types of eu-north-1: family zz9 removed 7",
            "loosen several conditions: removing one alone is not enough",
        ),
        (
            Selection(arch=Architecture.X86_64, size=("metal",)),
            "select leaves none of the 7 types of eu-north-1: arch x86_64 removed 3, size metal removed 4",
            "without size there are 4; without arch there are 1",
        ),
    ],
)
def test_nothing_left_says_what_removed_how_many(select: Selection, message: str, following: str) -> None:
    with pytest.raises(RequestError) as refused:
        selection.resolve_types([], select, KNOWN, where="eu-north-1")
    assert refused.value.message == message
    assert refused.value.next_step == following


families = st.sampled_from(["m7i", "c8g", "r7i", "t3"])
infos = st.builds(
    lambda family, size, **more: a_type(f"{family}.{size}", **more),
    family=families,
    size=st.sampled_from(sorted(SIZES)),
    phc=st.none() | st.booleans(),
    price_per_hour_usd=st.none() | st.floats(0.01, 5),
    memory_mib=st.integers(512, 99_999),
    current_generation=st.booleans(),
)
catalogues = st.lists(infos, max_size=12, unique_by=lambda one: one.name)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "phc": st.sampled_from(PhcClaim),
        "family": st.sampled_from([("m7i",), ("c8*", "t3"), ("*",)]),
        "size": st.sampled_from([("large",), ("*xlarge",)]),
        "arch": st.sampled_from(list(Architecture)),
        "min_vcpus": st.integers(1, 8),
        "max_vcpus": st.integers(1, 16),
        "max_memory_gib": st.floats(1, 64),
        "max_price_per_hour": st.floats(0.01, 5),
        "current_generation": st.booleans(),
        "exclude": st.sampled_from([("t3",), ("*.metal",)]),
    },
)


@pytest.mark.slow
@given(types=catalogues, asked=conditions, one_size=st.booleans(), limit=st.none() | st.integers(1, 4))
def test_order_is_kept_and_every_chosen_type_meets_every_condition(
    types: Sequence[TypeInfo], asked: dict[str, Any], one_size: bool, limit: int | None
) -> None:
    select = Selection(**asked, one_size_per_family=one_size, limit=limit)
    made = selection.select_types(types, select)
    assert [one for one in types if one in made.types] == list(made.types)
    assert all(meets(one) for meets in selection.describe_conditions(select).values() for one in made.types)
    assert sum(made.removed.values()) + len(made.types) == len(types)
    if one_size:
        assert len({one.family for one in made.types}) == len(made.types)


@given(types=catalogues, asked=conditions, dropped=st.integers(0, 9))
def test_one_condition_less_never_leaves_fewer(types: Sequence[TypeInfo], asked: dict[str, Any], dropped: int) -> None:
    fewer = {key: asked[key] for number, key in enumerate(sorted(asked)) if number != dropped}
    strict = selection.select_types(types, Selection(**asked)).types
    loose = selection.select_types(types, Selection(**fewer)).types
    assert set(strict) <= set(loose)


@given(types=catalogues, asked=conditions)
def test_the_one_size_of_a_family_is_its_smallest(types: Sequence[TypeInfo], asked: dict[str, Any]) -> None:
    select = Selection(**asked)
    every = selection.select_types(types, select).types
    for one in selection.select_types(types, replace(select, one_size_per_family=True)).types:
        assert one == min((other for other in every if other.family == one.family), key=selection.size_order)
