"""Hold a choice of placement group against the Region's groups, and tell whether EC2 gives a precision clock there."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.benches.bench import QuotaError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api
from harness.errors import RequestError
from harness.model import Placement
from harness.model.ec2 import LEGACY_REGIONS, family, needs_precision_group
from harness.model.ec2_enums import GroupStrategy, PlacementKeyword
from harness.model.ec2_placement import GroupChoice, choose_group
from harness.untrusted.nearest import nearest_names

LIMIT = 500
"""Placement groups per Region and account (EC2 User Guide). AWS does not raise this limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementGroup:
    """A placement group that exists."""

    id: str
    name: str
    strategy: str
    parent: str | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDecision:
    """A choice that the Region's groups allow, and the evidence for the host's placement."""

    choice: GroupChoice
    evidence: Placement


def load(api: Api) -> Mapping[str, PlacementGroup]:
    """Return every placement group of the Region, by name."""
    answer = api.call("ec2", "describe_placement_groups", task="listing the placement groups")
    groups = [
        PlacementGroup(
            id=description.get("GroupId", ""),
            name=description["GroupName"],
            strategy=description.get("Strategy", ""),
            parent=description.get("ParentGroupId"),
            state=description.get("State", ""),
        )
        for description in answer["PlacementGroups"]
    ]
    return {group.name: group for group in groups}


def decide_placement(
    placement: str,
    region: str,
    instance_type: str,
    groups: Mapping[str, PlacementGroup],
    *,
    phc: bool | None = None,
) -> GroupDecision:
    """Decide the placement of one host. `phc`: the API's claim about the type.

    Raises RequestError for a group that does not exist or cannot be made.
    """
    choice = choose_group(placement, region, instance_type, phc=phc)
    if choice.joins is not None:
        return GroupDecision(choice=choice, evidence=_join(choice.joins, region, instance_type, groups))
    if choice.cluster_hides_clock:
        raise RequestError(
            f"placement: in {region} a {instance_type} has its clock in a cluster only below a precision-time parent",
            next_step="`aws ec2 create-placement-group --strategy cluster --group-name NAME --parent-group-id pg-...`, "
            "then `placement: group:NAME`",
        )
    if choice.makes is GroupStrategy.PRECISION_TIME:
        return GroupDecision(choice=choice, evidence=_IN_PRECISION_GROUP)
    evidence = _describe_outside(region, instance_type)
    if placement == PlacementKeyword.AUTO and choice.needed:
        detail = f"{evidence.detail}; auto makes no group for it, since the API says that it has no clock"
        evidence = Placement(precise=False, detail=detail)
    return GroupDecision(choice=choice, evidence=evidence)


def room_for(groups: Mapping[str, PlacementGroup], decisions: list[GroupDecision]) -> None:
    """Raise QuotaError when the groups to be made would exceed the Region's limit."""
    new_groups = sum(decision.choice.makes is not None for decision in decisions)
    if new_groups and len(groups) + new_groups > LIMIT:
        raise QuotaError(
            f"the quota of {api_errors.QUOTAS['PlacementGroupLimitExceeded']} does not suffice: "
            f"{len(groups)} are there, and {new_groups} more would be made",
            next_step="delete some that are not used, or have all hosts in one that exists: `placement: group:NAME`",
        )


def observed_placement(decision: GroupDecision, group_name: str | None) -> Placement:
    """Return the evidence once the host runs: the group that EC2 shows outweighs the decision."""
    if (decision.choice.makes or decision.choice.joins) and not group_name:
        mismatch = f"meant to be {decision.evidence.detail}, and EC2 shows it in no placement group"
        return Placement(precise=False if decision.evidence.precise else decision.evidence.precise, detail=mismatch)
    if group_name:
        detail = f"{decision.evidence.detail} ({group_name})"
        return Placement(precise=decision.evidence.precise, detail=detail)
    return decision.evidence


_IN_PRECISION_GROUP = Placement(precise=True, detail="in a precision-time placement group")


def _join(name: str, region: str, instance_type: str, groups: Mapping[str, PlacementGroup]) -> Placement:
    if name not in groups:
        near = nearest_names(name, groups) or sorted(groups)[:3]
        hint = f"nearest: {', '.join(near)}" if near else "the Region has none"
        raise RequestError(
            f"{region} has no placement group {name!r}", next_step=f"{hint}; or one of {', '.join(PlacementKeyword)}"
        )
    group = groups[name]
    if group.state not in ("available", ""):
        raise RequestError(
            f"the placement group {name} cannot be used: it is {group.state}", next_step="name another one"
        )
    return _describe_inside(group, region, instance_type, {group.id: group for group in groups.values()})


def _describe_inside(
    group: PlacementGroup, region: str, instance_type: str, by_id: Mapping[str, PlacementGroup]
) -> Placement:
    if group.strategy == GroupStrategy.PRECISION_TIME:
        return _IN_PRECISION_GROUP
    if group.parent is not None:
        parent = by_id.get(group.parent)
        if parent is not None and parent.strategy == GroupStrategy.PRECISION_TIME:
            return Placement(precise=True, detail=f"in a {group.strategy} below a precision-time placement group")
        if parent is None and needs_precision_group(region, instance_type):
            return Placement(
                precise=None, detail=f"in a {group.strategy} below {group.parent}, which EC2 does not show"
            )
    outside = _describe_outside(region, instance_type)
    return Placement(precise=outside.precise, detail=f"in a {group.strategy} placement group: {outside.detail}")


def _describe_outside(region: str, instance_type: str) -> Placement:
    """Describe a host outside of precision-time groups: only legacy Regions and families have the clock there."""
    if needs_precision_group(region, instance_type):
        detail = (
            f"outside of a precision-time placement group, and {region} gives {family(instance_type)} no clock there"
        )
        return Placement(precise=False, detail=detail)
    giver = f"{region} gives" if region in LEGACY_REGIONS else f"the family {family(instance_type)} has"
    return Placement(precise=True, detail=f"{giver} the precision clock outside of placement groups too")
