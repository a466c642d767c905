"""Choose the subnets for hosts: the default VPC's subnets or a given subnet. Check that hosts can be reached there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import RequestError
from harness.model.ec2_enums import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet, with the two properties that make a host in it reachable from the internet."""

    id: str
    vpc: str
    zone: str
    free_addresses: int
    internet_gateway: bool  # the route table sends 0.0.0.0/0 to an internet gateway
    gives_public_address: bool

    @property
    def public(self) -> bool:
        return self.internet_gateway and self.gives_public_address

    def describe_lack(self) -> str:
        """Say what the subnet lacks to be public, and the command that changes it."""
        if not self.internet_gateway:
            return f"{self.id}: its route table leads to no internet gateway"
        return f"{self.id} gives no public addresses (`aws ec2 modify-subnet-attribute --map-public-ip-on-launch`)"


def load(api: Api, subnet: str | None = None) -> Sequence[Subnet]:
    """Read the default subnets of the default VPC, or the given subnet. Raises RequestError when there is none."""
    descriptions = _describe_named_subnet(api, subnet) if subnet else _describe_default_subnets(api)
    vpc = descriptions[0]["VpcId"]
    filters = [exact_filter("vpc-id", vpc)]
    route_tables = list(
        api.pages("ec2", "describe_route_tables", "RouteTables", Filters=filters, task="looking at its routes")
    )
    return tuple(
        sorted(
            (_parse_subnet(description, route_tables) for description in descriptions),
            key=lambda description: (description.zone, description.id),
        )
    )


def usable_subnets(
    subnets: Sequence[Subnet], *, access: Access, zones: Sequence[str] = (), vpc: str | None = None
) -> Mapping[str, Subnet]:
    """Choose per zone the reachable subnet with the most free addresses, in `zones` only when zones are named.

    Raises RequestError for a subnet of another VPC, when no subnet is in `zones`, and when no subnet can be reached.
    """
    foreign = next((subnet for subnet in subnets if vpc is not None and subnet.vpc != vpc), None)
    if foreign is not None:
        raise RequestError(
            f"the subnet {foreign.id} belongs to {foreign.vpc}, not to {vpc}", next_step="name a subnet of the same VPC"
        )
    candidates = [subnet for subnet in subnets if not zones or subnet.zone in zones]
    if not candidates:
        existing = ", ".join(f"{subnet.id} in {subnet.zone}" for subnet in subnets)
        raise RequestError(
            f"no subnet stands in {', '.join(zones)}; there is {existing}", next_step="correct `zones:` or `subnet:`"
        )
    reachable = [subnet for subnet in candidates if access is Access.SSM or subnet.public]
    if not reachable:
        raise RequestError(
            f"no way leads from here to a host by SSH: {candidates[0].describe_lack()}",
            next_step="name a public subnet (`subnet: subnet-...`), or use Session Manager (`access: ssm`)",
        )
    by_free_addresses = sorted(reachable, key=lambda subnet: -subnet.free_addresses)
    return {
        zone: next(subnet for subnet in by_free_addresses if subnet.zone == zone)
        for zone in sorted({subnet.zone for subnet in by_free_addresses})
    }


def _describe_named_subnet(api: Api, subnet: str) -> list[Any]:
    try:
        return list(api.call("ec2", "describe_subnets", SubnetIds=[subnet], task=f"looking at {subnet}")["Subnets"])
    except BenchError as error:
        if str(api_errors.find_raised_code(error)).startswith("InvalidSubnet"):
            raise RequestError(
                f"{api.region} has no subnet {subnet} in this account",
                next_step="`aws ec2 describe-subnets` lists them; a subnet is of one Region",
            ) from error
        raise


def _describe_default_subnets(api: Api) -> list[Any]:
    filters = [exact_filter("default-for-az", "true")]
    descriptions = list(
        api.pages("ec2", "describe_subnets", "Subnets", Filters=filters, task="looking at the default subnets")
    )
    if not descriptions:
        raise RequestError(
            f"{api.region} has no default VPC with default subnets",
            next_step="`aws ec2 create-default-vpc` makes it, or name a subnet (`subnet: subnet-...`)",
        )
    return descriptions


def _parse_subnet(description: Mapping[str, Any], tables: Iterable[Mapping[str, Any]]) -> Subnet:
    return Subnet(
        id=description["SubnetId"],
        vpc=description["VpcId"],
        zone=description["AvailabilityZone"],
        free_addresses=int(description.get("AvailableIpAddressCount", 0)),
        internet_gateway=_has_internet_route(description["SubnetId"], tables),
        gives_public_address=bool(description.get("MapPublicIpOnLaunch")),
    )


def _has_internet_route(subnet: str, tables: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a subnet's own route table, else its VPC's main table, leads to an internet gateway."""
    main: Mapping[str, Any] = {}
    own: Mapping[str, Any] | None = None
    for table in tables:
        for association in table.get("Associations", ()):
            own = table if association.get("SubnetId") == subnet else own
            main = table if association.get("Main") else main
    return any(
        route.get("DestinationCidrBlock") == "0.0.0.0/0"
        and str(route.get("GatewayId", "")).startswith("igw-")
        and route.get("State", "active") == "active"
        for route in (own if own is not None else main).get("Routes", ())
    )
