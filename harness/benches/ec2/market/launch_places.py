"""Where is a host tried, in which order, and when is there no room for it? Pure decisions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.benches.bench import BenchError, CapacityError, NotOfferedError
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api.api_errors import PlaceError
from harness.model.cloud import TypeInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlace:
    """One attempt: this type in this zone's subnet."""

    instance_type: str
    zone: str
    subnet: str

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.zone}"


def order_zones(offered: Sequence[str], subnets: Mapping[str, Subnet], zones: Sequence[str] = ()) -> Sequence[str]:
    """The zones that offer a type and have a subnet of ours: as the campaign lists them, else by their names."""
    there = set(offered) & set(subnets)
    return [zone for zone in zones if zone in there] if zones else sorted(there)


def list_places(wanted: TypeInfo, subnets: Mapping[str, Subnet], zones: Sequence[str] = ()) -> Sequence[LaunchPlace]:
    """Every place of one type, in order. Raises NotOfferedError when there is none."""
    found = order_zones(wanted.zones, subnets, zones)
    if not found:
        asked = ", ".join(zones or sorted(subnets))
        offers = f"; {', '.join(sorted(wanted.zones))} do" if wanted.zones else ""
        raise NotOfferedError(
            f"{asked} does not offer {wanted.name}{offers}",
            next_step="mend `zones:` or `subnet:`" if wanted.zones else "`ptp-harness types` lists what the Region has",
        )
    return [LaunchPlace(instance_type=wanted.name, zone=zone, subnet=subnets[zone].id) for zone in found]


def sibling_types(wanted: TypeInfo, types: Mapping[str, TypeInfo]) -> Sequence[TypeInfo]:
    """Other sizes of the family, the nearest in vCPUs first, of two as near the smaller. Metal is no other size."""
    others = [
        one for one in types.values() if one.family == wanted.family and one.name != wanted.name and not one.bare_metal
    ]
    return sorted(others, key=lambda one: (_doublings(one, wanted), one.vcpus, one.name))


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
    """Zone by zone, then the same of other sizes of the family where the campaign allows that.

    Raises NotOfferedError, before the first, when the type itself is offered nowhere here.
    """
    yield from list_places(wanted, subnets, zones)
    for other in sibling_types(wanted, types) if other_sizes else ():
        for zone in order_zones(other.zones, subnets, zones):
            yield LaunchPlace(instance_type=other.name, zone=zone, subnet=subnets[zone].id)


def may_try_elsewhere(error: BenchError) -> bool:
    """Whether another place may do better. A quota, a missing permission or a wrong setting is the same everywhere."""
    return isinstance(error, CapacityError | PlaceError | NotOfferedError)


def combine_failures(wanted: str, failures: Sequence[tuple[LaunchPlace, BenchError]]) -> BenchError:
    """The one error of all that was tried: "no capacity" as soon as one place had no room, else the last refusal."""
    tried = ", ".join(str(place) for place, _ in failures)
    full = [error for _, error in failures if isinstance(error, CapacityError)]
    if full:
        return CapacityError(
            f"no capacity for {wanted}: tried {tried}; EC2's last words: {full[-1].message}",
            next_step=full[-1].next_step,
        )
    last = failures[-1][1]
    return type(last)(f"no place for {wanted}: tried {tried}; {last.message}", next_step=last.next_step)
