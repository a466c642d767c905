"""Which network will hosts stand in? The default VPC's subnets, or a given one, and whether there is a way in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.benches.bench import BenchError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import RequestError

Access = Literal["ssh", "ssm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One subnet, and the two things that make a host in it reachable from outside."""

    id: str
    vpc: str
    zone: str
    free_addresses: int
    internet_gateway: bool  # its route table leads 0.0.0.0/0 to one
    gives_public_address: bool

    @property
    def public(self) -> bool:
        return self.internet_gateway and self.gives_public_address

    def why_not_public(self) -> str:
        """What is missing, and the command that mends it."""
        if not self.internet_gateway:
            return f"{self.id}: its route table leads to no internet gateway"
        return f"{self.id} gives no public addresses (`aws ec2 modify-subnet-attribute --map-public-ip-on-launch`)"


def load(api: Api, subnet: str | None = None) -> Sequence[Subnet]:
    """The default VPC's default subnets, or the one that was given. Raises RequestError when it is not there."""
    said = _given(api, subnet) if subnet else _default(api)
    vpc = said[0]["VpcId"]
    where = [exact_filter("vpc-id", vpc)]
    tables = list(api.pages("ec2", "describe_route_tables", "RouteTables", Filters=where, what="looking at its routes"))
    return tuple(sorted((_subnet(one, tables) for one in said), key=lambda one: (one.zone, one.id)))


def usable_subnets(
    subnets: Sequence[Subnet], *, access: Access, zones: Sequence[str] = (), vpc: str | None = None
) -> Mapping[str, Subnet]:
    """A subnet per zone in which hosts can be reached, of these zones where any are named.

    Raises RequestError for a subnet of another VPC or zone, and where no subnet has a way in.
    """
    wrong = next((one for one in subnets if vpc is not None and one.vpc != vpc), None)
    if wrong is not None:
        raise RequestError(
            f"the subnet {wrong.id} belongs to {wrong.vpc}, not to {vpc}", next_step="name a subnet of the same VPC"
        )
    here = [one for one in subnets if not zones or one.zone in zones]
    if not here:
        there = ", ".join(f"{one.id} in {one.zone}" for one in subnets)
        raise RequestError(
            f"no subnet stands in {', '.join(zones)}; there is {there}", next_step="mend `zones:` or `subnet:`"
        )
    open_ones = [one for one in here if access == "ssm" or one.public]
    if not open_ones:
        raise RequestError(
            f"no way leads from here to a host by SSH: {here[0].why_not_public()}",
            next_step="name a public subnet (`subnet: subnet-...`), or use Session Manager (`access: ssm`)",
        )
    best = sorted(open_ones, key=lambda one: -one.free_addresses)
    return {zone: next(one for one in best if one.zone == zone) for zone in sorted({one.zone for one in best})}


def _given(api: Api, subnet: str) -> list[Any]:
    try:
        return list(api.call("ec2", "describe_subnets", SubnetIds=[subnet], what=f"looking at {subnet}")["Subnets"])
    except BenchError as error:
        if str(api_errors.find_raised_code(error)).startswith("InvalidSubnet"):
            raise RequestError(
                f"{api.region} has no subnet {subnet} in this account",
                next_step="`aws ec2 describe-subnets` lists them; a subnet is of one Region",
            ) from error
        raise


def _default(api: Api) -> list[Any]:
    ours = [exact_filter("default-for-az", "true")]
    found = list(api.pages("ec2", "describe_subnets", "Subnets", Filters=ours, what="looking at the default subnets"))
    if not found:
        raise RequestError(
            f"{api.region} has no default VPC with default subnets",
            next_step="`aws ec2 create-default-vpc` makes it, or name a subnet (`subnet: subnet-...`)",
        )
    return found


def _subnet(said: Mapping[str, Any], tables: Iterable[Mapping[str, Any]]) -> Subnet:
    return Subnet(
        id=said["SubnetId"],
        vpc=said["VpcId"],
        zone=said["AvailabilityZone"],
        free_addresses=int(said.get("AvailableIpAddressCount", 0)),
        internet_gateway=_leads_out(said["SubnetId"], tables),
        gives_public_address=bool(said.get("MapPublicIpOnLaunch")),
    )


def _leads_out(subnet: str, tables: Iterable[Mapping[str, Any]]) -> bool:
    """By the subnet's own route table, else by its VPC's main one."""
    main: Mapping[str, Any] = {}
    own: Mapping[str, Any] | None = None
    for table in tables:
        for tie in table.get("Associations", ()):
            own = table if tie.get("SubnetId") == subnet else own
            main = table if tie.get("Main") else main
    return any(
        route.get("DestinationCidrBlock") == "0.0.0.0/0"
        and str(route.get("GatewayId", "")).startswith("igw-")
        and route.get("State", "active") == "active"
        for route in (own if own is not None else main).get("Routes", ())
    )
