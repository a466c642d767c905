"""Decide which placement group a host joins, and whether EC2 gives a precision clock there.

`placement` is auto, none, precision-time, cluster, or the name of an existing group, also as group:NAME.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from harness.benches.bench import QuotaError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api
from harness.errors import RequestError
from harness.model import Placement
from harness.model.ec2 import LEGACY_REGIONS, PRECISION_STRATEGY, family, needs_precision_group

KEYWORDS = ("auto", "none", PRECISION_STRATEGY, "cluster")
EXISTING = "group:"
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
    """The stack's `setting`, whether the stack makes a group, and the evidence for the host's placement."""

    setting: str
    makes: str | None  # the strategy of a group that is made for the host
    joins: str | None  # the name of an existing group
    evidence: Placement


def load(api: Api) -> Mapping[str, PlacementGroup]:
    """Every placement group of the Region, by name."""
    answer = api.call("ec2", "describe_placement_groups", what="listing the placement groups")
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
    placement: str, region: str, instance_type: str, groups: Mapping[str, PlacementGroup]
) -> GroupDecision:
    """Decide the placement of one host. Raises RequestError for a group that does not exist or cannot be made."""
    if placement not in KEYWORDS:
        return _join(placement.removeprefix(EXISTING), region, instance_type, groups)
    needed = needs_precision_group(region, instance_type)
    if placement == PRECISION_STRATEGY or (placement == "auto" and needed):
        evidence = Placement(precise=True, detail="in a precision-time placement group")
        return GroupDecision(setting=PRECISION_STRATEGY, makes=PRECISION_STRATEGY, joins=None, evidence=evidence)
    if placement == "cluster" and needed:
        raise RequestError(
            f"placement: in {region} a {instance_type} has its clock in a cluster only below a precision-time parent",
            next_step="`aws ec2 create-placement-group --strategy cluster --group-name NAME --parent-group-id pg-...`, "
            "then `placement: group:NAME`",
        )
    strategy = "cluster" if placement == "cluster" else None
    return GroupDecision(
        setting=strategy or "none", makes=strategy, joins=None, evidence=_outside(region, instance_type)
    )


def room_for(groups: Mapping[str, PlacementGroup], decisions: list[GroupDecision]) -> None:
    """Raises QuotaError when the groups to be made would exceed the Region's limit."""
    new_groups = sum(decision.makes is not None for decision in decisions)
    if new_groups and len(groups) + new_groups > LIMIT:
        raise QuotaError(
            f"the quota of {api_errors.QUOTAS['PlacementGroupLimitExceeded']} does not suffice: "
            f"{len(groups)} are there, and {new_groups} more would be made",
            next_step="delete some that are not used, or have all hosts in one that exists: `placement: group:NAME`",
        )


def observed_placement(decision: GroupDecision, group_name: str | None) -> Placement:
    """The evidence once the host runs: the group that EC2 shows outweighs the decision."""
    if (decision.makes or decision.joins) and not group_name:
        mismatch = f"meant to be {decision.evidence.detail}, and EC2 shows it in no placement group"
        return Placement(precise=False if decision.evidence.precise else decision.evidence.precise, detail=mismatch)
    if group_name:
        detail = f"{decision.evidence.detail} ({group_name})"
        return Placement(precise=decision.evidence.precise, detail=detail)
    return decision.evidence


def _join(name: str, region: str, instance_type: str, groups: Mapping[str, PlacementGroup]) -> GroupDecision:
    if name not in groups:
        near = difflib.get_close_matches(name, groups, n=3, cutoff=0.4) or sorted(groups)[:3]
        hint = f"nearest: {', '.join(near)}" if near else "the Region has none"
        raise RequestError(
            f"{region} has no placement group {name!r}", next_step=f"{hint}; or one of {', '.join(KEYWORDS)}"
        )
    group = groups[name]
    if group.state not in ("available", ""):
        raise RequestError(
            f"the placement group {name} cannot be used: it is {group.state}", next_step="name another one"
        )
    evidence = _inside(group, region, instance_type, {group.id: group for group in groups.values()})
    return GroupDecision(setting=f"{EXISTING}{name}", makes=None, joins=name, evidence=evidence)


def _inside(group: PlacementGroup, region: str, instance_type: str, by_id: Mapping[str, PlacementGroup]) -> Placement:
    if group.strategy == PRECISION_STRATEGY:
        return Placement(precise=True, detail="in a precision-time placement group")
    if group.parent is not None:
        parent = by_id.get(group.parent)
        if parent is not None and parent.strategy == PRECISION_STRATEGY:
            return Placement(precise=True, detail=f"in a {group.strategy} below a precision-time placement group")
        if parent is None and needs_precision_group(region, instance_type):
            return Placement(
                precise=None, detail=f"in a {group.strategy} below {group.parent}, which is not to be seen"
            )
    outside = _outside(region, instance_type)
    return Placement(precise=outside.precise, detail=f"in a {group.strategy} placement group: {outside.detail}")


def _outside(region: str, instance_type: str) -> Placement:
    """Outside of precision-time groups, EC2 gives the clock only in legacy Regions and to legacy families."""
    if needs_precision_group(region, instance_type):
        detail = (
            f"outside of a precision-time placement group, and {region} gives {family(instance_type)} no clock there"
        )
        return Placement(precise=False, detail=detail)
    giver = f"{region} gives" if region in LEGACY_REGIONS else f"the family {family(instance_type)} has"
    return Placement(precise=True, detail=f"{giver} the precision clock outside of placement groups too")
