"""Zone by zone, then size by size, then "no capacity"."""

from typing import Any

import pytest

from harness.benches.bench import BenchError, CapacityError, FatalError, NotOfferedError, QuotaError, TransientError
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api_errors import PlaceError
from harness.benches.ec2.market import launch_places
from harness.benches.ec2.market.launch_places import LaunchPlace
from harness.model import ec2_placement
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture


def a_type(name: str, vcpus: int, zones: str = "ab", **changes: Any) -> TypeInfo:
    words: dict[str, Any] = {
        "name": name,
        "family": name.partition(".")[0],
        "size": name.partition(".")[2],
        "architecture": Architecture.X86_64,
        "vcpus": vcpus,
        "memory_mib": 4096 * vcpus,
        "phc": True,
        "ena": "required",
        "zones": tuple(zones),
        "price_per_hour_usd": None,
        "bare_metal": "metal" in name,
        "current_generation": True,
    }
    return TypeInfo(**(words | changes))


SIZES = [
    a_type("m7i.large", 2),
    a_type("m7i.xlarge", 4, "b"),
    a_type("m7i.2xlarge", 8),
    a_type("m7i.4xlarge", 16, "c"),
    a_type("m7i.metal-24xl", 96),
    a_type("m7i-flex.large", 2),
]
TYPES = {one.name: one for one in SIZES}
SUBNETS = {
    zone: Subnet(
        id=f"subnet-{zone}", vpc="vpc", zone=zone, free_addresses=9, internet_gateway=True, gives_public_address=True
    )
    for zone in "ab"
}


def tried(name: str, **arguments: Any) -> list[str]:
    return [
        f"{one.instance_type}/{one.zone}"
        for one in launch_places.list_attempts(TYPES[name], TYPES, SUBNETS, **arguments)
    ]


def test_zone_by_zone() -> None:
    assert tried("m7i.large") == ["m7i.large/a", "m7i.large/b"]
    assert next(launch_places.list_attempts(TYPES["m7i.large"], TYPES, SUBNETS)) == LaunchPlace(
        instance_type="m7i.large", zone="a", subnet="subnet-a"
    )


def test_in_the_campaigns_order() -> None:
    assert tried("m7i.large", zones=["c", "b", "a"]) == ["m7i.large/b", "m7i.large/a"]


def test_then_other_sizes_the_nearest_first() -> None:
    assert tried("m7i.large", other_sizes=True) == [
        "m7i.large/a",
        "m7i.large/b",
        "m7i.xlarge/b",
        "m7i.2xlarge/a",
        "m7i.2xlarge/b",
    ]
    assert [one.name for one in ec2_placement.sibling_types(TYPES["m7i.xlarge"], TYPES)] == [
        "m7i.large",
        "m7i.2xlarge",
        "m7i.4xlarge",
    ]


@pytest.mark.parametrize(
    ("name", "zones", "words"),
    [
        ("m7i.4xlarge", [], "a, b does not offer m7i.4xlarge; c do (correct `zones:` or `subnet:`)"),
        ("m7i.xlarge", ["a"], "a does not offer m7i.xlarge; b do (correct `zones:` or `subnet:`)"),
    ],
)
def test_a_type_that_no_zone_of_ours_offers(name: str, zones: list[str], words: str) -> None:
    with pytest.raises(NotOfferedError) as caught:
        tried(name, zones=zones, other_sizes=True)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("error", "on"),
    [
        (CapacityError("x"), True),
        (PlaceError("x"), True),
        (NotOfferedError("x"), True),
        (QuotaError("x"), False),
        (FatalError("x"), False),
        (TransientError("x"), False),
        (BenchError("x"), False),
    ],
)
def test_what_another_place_may_mend(error: BenchError, on: bool) -> None:
    assert launch_places.may_try_elsewhere(error) is on


A, B = (LaunchPlace(instance_type="m7i.large", zone=zone, subnet=f"subnet-{zone}") for zone in "ab")


def test_no_room_anywhere_is_no_capacity() -> None:
    full = api_errors.make_error("InsufficientInstanceCapacity", "We do not have enough.", "launching")
    refused = api_errors.make_error("Unsupported", "Not here.", "launching")
    made = launch_places.combine_failures("m7i.large", [(A, full), (B, refused)])
    assert type(made) is CapacityError
    assert made.message == (
        "no capacity for m7i.large: tried m7i.large in a, m7i.large in b; "
        "EC2's last words: launching: InsufficientInstanceCapacity: We do not have enough."
    )


def test_refusals_alone_are_not() -> None:
    refused = api_errors.make_error("Unsupported", "Not here.", "launching")
    made = launch_places.combine_failures("m7i.large", [(A, refused), (B, refused)])
    assert type(made) is PlaceError
    assert made.message == (
        "no place for m7i.large: tried m7i.large in a, m7i.large in b; launching: Unsupported: Not here."
    )
