"""Decide in which placement group, sizes and zones a host on EC2 is tried.

The forecast, the bench and the Pulumi program all follow these functions.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.model.cloud import TypeInfo
from harness.model.ec2 import needs_precision_group
from harness.model.ec2_enums import GroupStrategy, PlacementKeyword

EXISTING = "group:"
"""`group:NAME` names an existing placement group, even one that is called like a keyword."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChoice:
    """The placement group of a host: one made for it (`makes`), an existing one (`joins`), or none.

    `needed`: whether the Region shows the type's clock only inside a precision-time placement group.
    """

    makes: GroupStrategy | None
    joins: str | None
    needed: bool

    @property
    def setting(self) -> str:
        """The choice as a stack's setting `placement`, from which the Pulumi program makes the same choice."""
        if self.joins is not None:
            return f"{EXISTING}{self.joins}"
        return (self.makes or PlacementKeyword.NONE).value

    @property
    def shows_clock(self) -> bool | None:
        """Whether EC2 gives a clock there. None: an existing group decides, by its strategy and its parent."""
        if self.makes is GroupStrategy.PRECISION_TIME or not self.needed:
            return True
        return None if self.joins is not None else False

    @property
    def cluster_hides_clock(self) -> bool:
        """Whether a cluster would be made that hides the clock, because only a precision-time parent would show it."""
        return self.makes is GroupStrategy.CLUSTER and self.needed


def choose_group(placement: str, region: str, instance_type: str, *, phc: bool | None = None) -> GroupChoice:
    """Choose the placement group. `placement`: a PlacementKeyword, or the name of an existing group, also group:NAME.

    `phc`: the API's claim about the type. A type that has no clock by the API is never placed in a precision-time group
    by `auto`: EC2 may refuse it there, in every zone.

    Whether an existing group exists is not known here. A choice with `cluster_hides_clock` must be refused.
    """
    needed = needs_precision_group(region, instance_type)
    match placement:
        case PlacementKeyword.AUTO:
            makes = GroupStrategy.PRECISION_TIME if needed and phc is not False else None
        case PlacementKeyword.NONE:
            makes = None
        case PlacementKeyword.PRECISION_TIME | PlacementKeyword.CLUSTER:
            makes = GroupStrategy(placement)
        case _:
            return GroupChoice(makes=None, joins=placement.removeprefix(EXISTING), needed=needed)
    return GroupChoice(makes=makes, joins=None, needed=needed)


def order_zones(
    offered: Collection[str], *, requested_zones: Sequence[str] = (), usable: Collection[str] | None = None
) -> tuple[str, ...]:
    """Order the zones in which a type is tried: those that offer it, in the campaign's order, else sorted by name.

    `requested_zones`: the zones that the campaign names; empty: all. `usable`: the zones with a subnet for hosts; None:
    all.
    """
    possible = set(offered) if usable is None else set(offered) & set(usable)
    return tuple(zone for zone in requested_zones if zone in possible) if requested_zones else tuple(sorted(possible))


def sibling_types(requested: TypeInfo, types: Mapping[str, TypeInfo]) -> Sequence[TypeInfo]:
    """Other sizes of the family: nearest number of vCPUs first, the smaller of two equally near first, not metal."""
    siblings = [
        info
        for info in types.values()
        if info.family == requested.family and info.name != requested.name and not info.bare_metal
    ]
    return sorted(siblings, key=lambda info: (_ratio(info.vcpus, requested.vcpus), info.vcpus, info.name))


def order_attempts(
    requested: TypeInfo,
    types: Mapping[str, TypeInfo],
    *,
    requested_zones: Sequence[str] = (),
    usable: Collection[str] | None = None,
    other_sizes: bool = False,
) -> Iterator[tuple[str, str]]:
    """Yield type and zone of each attempt: every zone of the type, then, with `other_sizes`, of its siblings."""
    for info in (requested, *(sibling_types(requested, types) if other_sizes else ())):
        for zone in order_zones(info.zones, requested_zones=requested_zones, usable=usable):
            yield info.name, zone


def _ratio(vcpus: int, other_vcpus: int) -> float:
    return max(vcpus, other_vcpus) / max(1, min(vcpus, other_vcpus))
