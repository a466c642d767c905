"""Which placement group, and what that proves of a host: the whole table, and moto's groups."""

from collections.abc import Callable

import pytest
from botocore.stub import Stubber

from harness.benches.bench import QuotaError
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market import placement_groups
from harness.benches.ec2.market.placement_groups import GroupDecision, PlacementGroup
from harness.errors import RequestError
from harness.model import Placement

NEEDS, LEGACY = ("eu-west-1", "c8g.large"), ("eu-north-1", "c8g.large")
OLD_FAMILY = ("eu-west-1", "m7i.large")


def a_group(name: str, strategy: str, parent: str | None = None, state: str = "available") -> PlacementGroup:
    return PlacementGroup(id=f"pg-{name}", name=name, strategy=strategy, parent=parent, state=state)


THERE = {
    one.name: one
    for one in (
        a_group("time", "precision-time"),
        a_group("close", "cluster"),
        a_group("both", "cluster", parent="pg-time"),
        a_group("odd", "cluster", parent="pg-elsewhere"),
        a_group("wide", "spread"),
        a_group("going", "precision-time", state="deleting"),
    )
}


def test_auto_makes_no_precision_time_group_for_a_type_without_a_clock() -> None:
    decision = placement_groups.decide_placement("auto", *NEEDS, {}, phc=False)
    assert (decision.choice.makes, decision.choice.setting) == (None, "none")
    assert decision.evidence == Placement(
        precise=False,
        detail="outside of a precision-time placement group, and eu-west-1 gives c8g no clock there; "
        "auto makes no group for it, since the API says that it has no clock",
    )
    for phc in (True, None):
        assert placement_groups.decide_placement("auto", *NEEDS, {}, phc=phc).choice.makes == "precision-time"
    asked_for = placement_groups.decide_placement("precision-time", *NEEDS, {}, phc=False)
    assert asked_for.choice.makes == "precision-time"


@pytest.mark.parametrize(
    ("placement", "where", "setting", "makes", "precise"),
    [
        ("auto", NEEDS, "precision-time", "precision-time", True),
        ("auto", LEGACY, "none", None, True),
        ("auto", OLD_FAMILY, "none", None, True),
        ("none", NEEDS, "none", None, False),
        ("none", LEGACY, "none", None, True),
        ("precision-time", NEEDS, "precision-time", "precision-time", True),
        ("precision-time", LEGACY, "precision-time", "precision-time", True),
        ("cluster", LEGACY, "cluster", "cluster", True),
        ("cluster", OLD_FAMILY, "cluster", "cluster", True),
        ("time", NEEDS, "group:time", None, True),
        ("group:time", NEEDS, "group:time", None, True),
        ("both", NEEDS, "group:both", None, True),
        ("close", NEEDS, "group:close", None, False),
        ("close", LEGACY, "group:close", None, True),
        ("wide", NEEDS, "group:wide", None, False),
        ("odd", NEEDS, "group:odd", None, None),
        ("odd", LEGACY, "group:odd", None, True),
    ],
)
def test_the_table(
    placement: str, where: tuple[str, str], setting: str, makes: str | None, precise: bool | None
) -> None:
    made = placement_groups.decide_placement(placement, *where, THERE)
    assert (made.choice.setting, made.choice.makes, made.evidence.precise) == (setting, makes, precise)
    assert made.evidence.detail


def test_what_is_told_of_a_host_outside() -> None:
    assert placement_groups.decide_placement("none", *NEEDS, {}).evidence == Placement(
        precise=False, detail="outside of a precision-time placement group, and eu-west-1 gives c8g no clock there"
    )
    assert placement_groups.decide_placement("none", *LEGACY, {}).evidence.detail == (
        "eu-north-1 gives the precision clock outside of placement groups too"
    )
    assert placement_groups.decide_placement("none", *OLD_FAMILY, {}).evidence.detail == (
        "the family m7i has the precision clock outside of placement groups too"
    )


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (
            "tine",
            "eu-west-1 has no placement group 'tine' "
            "(nearest: time, wide, going; or one of auto, none, precision-time, cluster)",
        ),
        ("going", "the placement group going cannot be used: it is deleting (name another one)"),
        (
            "cluster",
            "placement: in eu-west-1 a c8g.large has its clock in a cluster only below a precision-time parent "
            "(`aws ec2 create-placement-group --strategy cluster --group-name NAME --parent-group-id pg-...`, then "
            "`placement: group:NAME`)",
        ),
    ],
)
def test_groups_that_cannot_be(placement: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        placement_groups.decide_placement(placement, *NEEDS, THERE)
    assert str(caught.value) == words


def test_a_region_without_groups() -> None:
    with pytest.raises(RequestError, match="the Region has none"):
        placement_groups.decide_placement("mine", *NEEDS, {})


@pytest.mark.parametrize(("there", "made", "fits"), [(499, 1, True), (500, 0, True), (500, 1, False), (498, 3, False)])
def test_there_are_at_most_500(there: int, made: int, fits: bool) -> None:
    known = {str(number): a_group(str(number), "spread") for number in range(there)}
    decisions = [placement_groups.decide_placement("auto", *NEEDS, {})] * made + [
        placement_groups.decide_placement("none", *NEEDS, {})
    ]
    if fits:
        placement_groups.room_for(known, decisions)
    else:
        with pytest.raises(QuotaError) as caught:
            placement_groups.room_for(known, decisions)
        assert caught.value.message == (
            f"the quota of placement groups in the Region (500) does not suffice: {there} are there, "
            f"and {made} more would be made"
        )


MADE = placement_groups.decide_placement("auto", *NEEDS, {})
OUTSIDE = placement_groups.decide_placement("none", *NEEDS, {})


@pytest.mark.parametrize(
    ("decision", "seen", "evidence"),
    [
        (MADE, "pg-x", Placement(precise=True, detail="in a precision-time placement group (pg-x)")),
        (
            MADE,
            None,
            Placement(
                precise=False,
                detail="meant to be in a precision-time placement group, and EC2 shows it in no placement group",
            ),
        ),
        (OUTSIDE, None, OUTSIDE.evidence),
    ],
)
def test_ec2s_own_word_counts(decision: GroupDecision, seen: str | None, evidence: Placement) -> None:
    assert placement_groups.observed_placement(decision, seen) == evidence


def test_those_that_exist(api: Api, stub: Callable[[str], Stubber]) -> None:
    mine = {"GroupName": "mine", "GroupId": "pg-1", "Strategy": "precision-time", "State": "available"}
    below = {"GroupName": "below", "GroupId": "pg-2", "Strategy": "cluster", "State": "available"}
    answer = {"PlacementGroups": [mine, below | {"ParentGroupId": "pg-1"}]}
    stub("ec2").add_response("describe_placement_groups", answer, {})
    found = placement_groups.load(api)
    assert found["mine"] == PlacementGroup(
        id="pg-1", name="mine", strategy="precision-time", parent=None, state="available"
    )
    assert placement_groups.decide_placement("below", *NEEDS, found).evidence.precise is True
