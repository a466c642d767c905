"""Where a precision-time placement group is needed, as a table."""

import pytest
from botocore.session import get_session

from harness.model.ec2 import LEGACY_FAMILIES, LEGACY_REGIONS, family, needs_precision_group

PLACES = {
    "us-east-1": "N. Virginia",
    "us-east-2": "Ohio",
    "ap-southeast-5": "Malaysia",
    "ap-southeast-7": "Thailand",
    "ap-northeast-1": "Tokyo",
    "eu-north-1": "Stockholm",
}


@pytest.mark.parametrize(
    ("region", "instance_type", "needed"),
    [
        ("eu-north-1", "c8g.large", False),
        ("us-east-1", "c7g.large", False),
        ("eu-west-1", "m7i.large", False),
        ("eu-west-1", "i8ge.metal-48xl", False),
        ("eu-west-1", "c8g.large", True),
        ("us-west-2", "m7i-flex.large", True),
        ("us-east-10", "m8g.large", True),
        ("eu-north-2", "m7.large", True),
    ],
)
def test_the_group_is_needed_unless_region_or_family_is_legacy(region: str, instance_type: str, needed: bool) -> None:
    assert needs_precision_group(region, instance_type) is needed


def test_a_region_s_code_means_the_place_that_was_announced() -> None:
    known = get_session().get_component("data_loader").load_data("endpoints")["partitions"][0]["regions"]
    assert set(PLACES) == LEGACY_REGIONS
    for code, place in PLACES.items():
        assert f"({place})" in known[code]["description"]


def test_there_are_eight_legacy_families_none_with_a_size() -> None:
    assert len(LEGACY_FAMILIES) == 8
    assert {family(name) for name in LEGACY_FAMILIES} == LEGACY_FAMILIES


def test_a_family_is_what_stands_before_the_dot() -> None:
    assert (family("m7i-flex.large"), family("u-12tb1.metal"), family("m7i")) == ("m7i-flex", "u-12tb1", "m7i")
