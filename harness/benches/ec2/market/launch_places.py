"""Decide where to try a host, in which order, and when there is no capacity for it. Pure decisions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.benches.bench import BenchError, CapacityError, NotOfferedError
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api.api_errors import PlaceError
from harness.model.cloud import TypeInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlace:
    """A place to try: a type in the subnet of a zone."""

    instance_type: str
    zone: str
    subnet: str

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.zone}"


def order_zones(offered: Sequence[str], subnets: Mapping[str, Subnet], zones: Sequence[str] = ()) -> Sequence[str]:
    """The zones that offer a type and have a subnet of ours, in the campaign's order, else sorted by name."""
    usable = set(offered) & set(subnets)
    return [zone for zone in zones if zone in usable] if zones else sorted(usable)


def list_places(wanted: TypeInfo, subnets: Mapping[str, Subnet], zones: Sequence[str] = ()) -> Sequence[LaunchPlace]:
    """Every place of a type, in order. Raises NotOfferedError when there is none."""
    usable_zones = order_zones(wanted.zones, subnets, zones)
    if not usable_zones:
        searched = ", ".join(zones or sorted(subnets))
        hint = f"; {', '.join(sorted(wanted.zones))} do" if wanted.zones else ""
        raise NotOfferedError(
            f"{searched} does not offer {wanted.name}{hint}",
            next_step="mend `zones:` or `subnet:`" if wanted.zones else "`ptp-harness types` lists what the Region has",
        )
    return [LaunchPlace(instance_type=wanted.name, zone=zone, subnet=subnets[zone].id) for zone in usable_zones]


def sibling_types(wanted: TypeInfo, types: Mapping[str, TypeInfo]) -> Sequence[TypeInfo]:
    """Other sizes of the family: nearest number of vCPUs first, the smaller of two equally near first, not metal."""
    siblings = [
        info
        for info in types.values()
        if info.family == wanted.family and info.name != wanted.name and not info.bare_metal
    ]
    return sorted(siblings, key=lambda info: (_doublings(info, wanted), info.vcpus, info.name))


def _doublings(one: TypeInfo, other: TypeInfo) -> float:
    larger, smaller = max(one.vcpus, other.vcpus), max(1, min(one.vcpus, other.vcpus))
    return larger / smaller


def list_attempts(
    wanted: TypeInfo,
    types: Mapping[str, TypeInfo],
    subnets: Mapping[str, Subnet],
    *,
    zones: Sequence[str] = (),
    other_sizes: bool = False,
) -> Iterator[LaunchPlace]:
    """The places to try: every zone of the type, then of other sizes of the family where the campaign allows that.

    Raises NotOfferedError, before the first place, when no zone here offers the type itself.
    """
    yield from list_places(wanted, subnets, zones)
    for sibling in sibling_types(wanted, types) if other_sizes else ():
        for zone in order_zones(sibling.zones, subnets, zones):
            yield LaunchPlace(instance_type=sibling.name, zone=zone, subnet=subnets[zone].id)


def may_try_elsewhere(error: BenchError) -> bool:
    """Whether another place may succeed. A quota, a missing permission or a wrong setting is the same everywhere."""
    return isinstance(error, CapacityError | PlaceError | NotOfferedError)


def combine_failures(wanted: str, failures: Sequence[tuple[LaunchPlace, BenchError]]) -> BenchError:
    """Combine the failures of all places: "no capacity" if any place had no capacity, else the last refusal."""
    places = ", ".join(str(place) for place, _ in failures)
    capacity_errors = [error for _, error in failures if isinstance(error, CapacityError)]
    if capacity_errors:
        return CapacityError(
            f"no capacity for {wanted}: tried {places}; EC2's last words: {capacity_errors[-1].message}",
            next_step=capacity_errors[-1].next_step,
        )
    last = failures[-1][1]
    return type(last)(f"no place for {wanted}: tried {places}; {last.message}", next_step=last.next_step)
