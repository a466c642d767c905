"""One rule for the forecast, the bench and the Pulumi program: the table, and what holds for all of its entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.benches.ec2.market import placement_groups
from harness.benches.ec2.market.placement_groups import PlacementGroup
from harness.campaign import ec2_forecast
from harness.errors import RequestError
from harness.model import ec2_placement
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Access, Architecture, Market, PlacementKeyword
from harness.model.ec2_placement import GroupChoice, choose_group, order_attempts, order_zones
from infra import layout
from infra.stack_settings import ProgramSettings, SettingsError

NEEDS, LEGACY = ("eu-west-1", "c8g.large"), ("eu-north-1", "c8g.large")
OLD_FAMILY = ("eu-west-1", "m7i.large")


@pytest.mark.parametrize(
    ("placement", "where", "setting", "shows_clock"),
    [
        ("auto", NEEDS, "precision-time", True),
        ("auto", LEGACY, "none", True),
        ("auto", OLD_FAMILY, "none", True),
        ("none", NEEDS, "none", False),
        ("none", LEGACY, "none", True),
        ("precision-time", NEEDS, "precision-time", True),
        ("precision-time", LEGACY, "precision-time", True),
        ("cluster", NEEDS, "cluster", False),
        ("cluster", LEGACY, "cluster", True),
        ("mine", NEEDS, "group:mine", None),
        ("group:mine", NEEDS, "group:mine", None),
        ("group:mine", LEGACY, "group:mine", True),
        ("group:auto", NEEDS, "group:auto", None),
    ],
)
def test_the_table(placement: str, where: tuple[str, str], setting: str, shows_clock: bool | None) -> None:
    choice = choose_group(placement, *where)
    assert (choice.setting, choice.shows_clock) == (setting, shows_clock)
    assert choice.cluster_hides_clock is (setting == "cluster" and shows_clock is False)


placements = st.one_of(
    st.sampled_from(list(PlacementKeyword)).map(str),
    st.from_regex(r"(group:)?[a-z]{1,8}", fullmatch=True),
)
places = st.tuples(
    st.sampled_from(["eu-north-1", "eu-west-1", "us-east-1", "us-west-2"]),
    st.sampled_from(["m7i.large", "c8g.large", "m7i-flex.large", "r7g.metal"]),
)


@given(placement=placements, place=places)
def test_a_choice_that_travels_as_a_setting_is_made_again(placement: str, place: tuple[str, str]) -> None:
    choice = choose_group(placement, *place)
    assert choose_group(choice.setting, *place) == choice
    assert choice.makes is None or choice.joins is None


@given(placement=placements, place=places)
def test_forecast_bench_and_program_make_the_same_choice(placement: str, place: tuple[str, str]) -> None:
    choice = choose_group(placement, *place)
    there = {choice.joins: a_group(choice.joins)} if choice.joins else {}
    in_precision_group, _ = ec2_forecast.explain_placement(place[0], a_type(place[1]), placement)
    if choice.cluster_hides_clock:
        with pytest.raises(RequestError):
            placement_groups.decide_placement(placement, *place, there)
        with pytest.raises(SettingsError):
            layout.group(the_settings(choice, place))
        return
    decision = placement_groups.decide_placement(placement, *place, there)
    assert decision.choice == layout.group(the_settings(choice, place)) == choice
    if choice.joins is None:
        assert decision.evidence.precise is choice.shows_clock
    if in_precision_group is not None:
        assert in_precision_group is (choice.makes is not None)


@pytest.mark.parametrize(
    ("offered", "asked", "usable", "order"),
    [
        ("ba", "", None, "ab"),
        ("ba", "", "bc", "b"),
        ("abc", "cb", None, "cb"),
        ("abc", "cb", "ab", "b"),
        ("a", "b", None, ""),
        ("", "", "ab", ""),
    ],
)
def test_zones_are_tried_in_the_campaigns_order_else_by_name(
    offered: str, asked: str, usable: str | None, order: str
) -> None:
    assert order_zones(offered, requested_zones=asked, usable=usable) == tuple(order)


zones = st.lists(st.sampled_from("abcd"), unique=True).map(tuple)


@given(wanted=zones, other=zones, asked=zones, usable=zones, other_sizes=st.booleans())
def test_no_attempt_is_made_where_the_type_or_a_subnet_is_missing_and_the_type_itself_comes_first(
    wanted: tuple[str, ...], other: tuple[str, ...], asked: tuple[str, ...], usable: tuple[str, ...], other_sizes: bool
) -> None:
    types = {info.name: info for info in (a_type("m7i.large", zones=wanted), a_type("m7i.xlarge", zones=other))}
    attempts = list(
        order_attempts(types["m7i.large"], types, requested_zones=asked, usable=usable, other_sizes=other_sizes)
    )
    allowed = set(usable) & (set(asked) or set(usable))
    expected = {("m7i.large", zone) for zone in set(wanted) & allowed}
    expected |= {("m7i.xlarge", zone) for zone in set(other) & allowed} if other_sizes else set()
    assert set(attempts) == expected
    assert len(attempts) == len(expected)
    assert [name for name, _ in attempts] == sorted(name for name, _ in attempts)


def test_sibling_types_are_of_the_same_family_and_not_bare_metal() -> None:
    names = ["m7i.large", "m7i.xlarge", "m7i.metal-24xl", "m7i-flex.large"]
    types = {name: a_type(name) for name in names}
    assert [info.name for info in ec2_placement.sibling_types(types["m7i.large"], types)] == ["m7i.xlarge"]


def a_group(name: str) -> PlacementGroup:
    return PlacementGroup(id=f"pg-{name}", name=name, strategy="precision-time", parent=None, state="available")


def a_type(name: str, zones: tuple[str, ...] = ("a",)) -> TypeInfo:
    return TypeInfo(
        name=name,
        family=name.partition(".")[0],
        size=name.partition(".")[2],
        architecture=Architecture.X86_64,
        vcpus=2,
        memory_mib=8192,
        phc=True,
        ena="required",
        zones=zones,
        price_per_hour_usd=None,
        bare_metal="metal" in name,
        current_generation=True,
    )


def the_settings(choice: GroupChoice, place: tuple[str, str]) -> ProgramSettings:
    """A stack's settings, of which only these matter for the placement group."""
    return ProgramSettings(
        region=place[0],
        instance_type=place[1],
        placement=choice.setting,
        image="al2023",
        user="",
        zone="",
        subnet_id="",
        access=Access.SSH,
        controller_cidr="192.0.2.7/32",
        public_key="",
        host_key="",
        instance_profile="",
        market=Market.ON_DEMAND,
        volume_gib=12,
        lease_minutes=120,
        expires="",
        run="k3f9",
        host=place[1],
        token="",
        owner="ada",
        resource_name="",
    )
