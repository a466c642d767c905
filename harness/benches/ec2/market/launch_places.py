"""List the subnets in which a host is tried, and tell from failures whether another place may succeed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.benches.bench import BenchError, CapacityError, NotOfferedError
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api.api_errors import PlaceError
from harness.model.cloud import TypeInfo
from harness.model.ec2_placement import order_attempts, order_zones


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlace:
    """A place to try: a type in the subnet of a zone."""

    instance_type: str
    zone: str
    subnet: str

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.zone}"


def list_attempts(
    info: TypeInfo,
    types: Mapping[str, TypeInfo],
    subnets: Mapping[str, Subnet],
    *,
    zones: Sequence[str] = (),
    other_sizes: bool = False,
) -> Iterator[LaunchPlace]:
    """List the places to try: each zone of the type, then of other sizes of the family if the campaign allows it.

    Raises NotOfferedError, before the first place, when no zone here offers the type itself.
    """
    if not order_zones(info.zones, requested_zones=zones, usable=subnets):
        raise _make_not_offered_error(info, zones or sorted(subnets))
    for name, zone in order_attempts(info, types, requested_zones=zones, usable=subnets, other_sizes=other_sizes):
        yield LaunchPlace(instance_type=name, zone=zone, subnet=subnets[zone].id)


def _make_not_offered_error(info: TypeInfo, searched: Sequence[str]) -> NotOfferedError:
    hint = f"; {', '.join(sorted(info.zones))} do" if info.zones else ""
    return NotOfferedError(
        f"{', '.join(searched)} does not offer {info.name}{hint}",
        next_step="correct `zones:` or `subnet:`" if info.zones else "`ptp-harness types` lists what the Region has",
    )


def may_try_elsewhere(error: BenchError) -> bool:
    """Return whether another place may succeed. Quotas, permissions and settings are the same in every place."""
    return isinstance(error, CapacityError | PlaceError | NotOfferedError)


def combine_failures(instance_type: str, failures: Sequence[tuple[LaunchPlace, BenchError]]) -> BenchError:
    """Combine the failures of all places: "no capacity" if any place had no capacity, else the last refusal."""
    places = ", ".join(str(place) for place, _ in failures)
    capacity_errors = [error for _, error in failures if isinstance(error, CapacityError)]
    if capacity_errors:
        return CapacityError(
            f"no capacity for {instance_type}: tried {places}; EC2's last words: {capacity_errors[-1].message}",
            next_step=capacity_errors[-1].next_step,
        )
    last = failures[-1][1]
    return type(last)(f"no place for {instance_type}: tried {places}; {last.message}", next_step=last.next_step)
