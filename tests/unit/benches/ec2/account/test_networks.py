"""Where hosts can be reached: subnets and routes as moto's EC2 has them, and every network that would not do."""

from typing import Any

import pytest

from harness.benches.ec2.account import networks
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api.api import Api
from harness.errors import RequestError
from harness.model.ec2_enums import Access


def a_subnet(zone: str, **changes: Any) -> Subnet:
    words: dict[str, Any] = {
        "id": f"subnet-{zone}",
        "vpc": "vpc-1",
        "zone": zone,
        "free_addresses": 100,
        "internet_gateway": True,
        "gives_public_address": True,
    }
    return Subnet(**(words | changes))


def open_up(ec2: Any, vpc: str, table: str) -> None:
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)


def main_table(ec2: Any, vpc: str) -> str:
    where = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    return str(ec2.describe_route_tables(Filters=where)["RouteTables"][0]["RouteTableId"])


def test_the_default_subnets_by_the_main_route_table(moto_api: Api, ec2: Any) -> None:
    closed = networks.load(moto_api)
    assert [one.zone for one in closed] == ["eu-north-1a", "eu-north-1b", "eu-north-1c"]
    assert [(one.gives_public_address, one.internet_gateway) for one in closed] == [(True, False)] * 3
    open_up(ec2, closed[0].vpc, main_table(ec2, closed[0].vpc))
    assert all(one.public and one.free_addresses > 4000 for one in networks.load(moto_api))


def test_a_given_subnet_by_its_own_route_table(moto_api: Api, ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    cidrs = {"10.9.1.0/24": "eu-north-1b", "10.9.2.0/24": "eu-north-1b"}
    first, second = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for cidr, zone in cidrs.items()
    )
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=first)
    open_up(ec2, vpc, table)
    [seen] = networks.load(moto_api, first)
    assert (seen.id, seen.vpc, seen.zone) == (first, vpc, "eu-north-1b")
    assert (seen.internet_gateway, seen.gives_public_address, seen.public) == (True, False, False)
    [other] = networks.load(moto_api, second)
    assert not other.internet_gateway


def test_a_subnet_that_is_not_there(moto_api: Api) -> None:
    with pytest.raises(RequestError) as caught:
        networks.load(moto_api, "subnet-0123456789abcdef0")
    assert caught.value.message == "eu-north-1 has no subnet subnet-0123456789abcdef0 in this account"


def test_no_default_vpc(api: Api, stub: Any) -> None:
    ours = [{"Name": "default-for-az", "Values": ["true"]}]
    stub("ec2").add_response("describe_subnets", {"Subnets": []}, {"Filters": ours})
    with pytest.raises(RequestError) as caught:
        networks.load(api)
    assert str(caught.value) == (
        "eu-north-1 has no default VPC with default subnets "
        "(`aws ec2 create-default-vpc` makes it, or name a subnet (`subnet: subnet-...`))"
    )


def test_one_subnet_per_zone_the_one_with_the_most_addresses() -> None:
    small, large, other = a_subnet("a", id="small", free_addresses=3), a_subnet("a", id="large"), a_subnet("b")
    assert networks.usable_subnets([small, large, other], access=Access.SSH) == {"a": large, "b": other}
    assert networks.usable_subnets([small, large, other], access=Access.SSH, zones=["b"]) == {"b": other}


def test_closed_subnets_serve_session_manager_alone() -> None:
    closed, open_one = a_subnet("a", gives_public_address=False), a_subnet("b")
    assert networks.usable_subnets([closed, open_one], access=Access.SSH) == {"b": open_one}
    assert networks.usable_subnets([closed, open_one], access=Access.SSM) == {"a": closed, "b": open_one}


@pytest.mark.parametrize(
    ("subnet", "arguments", "words"),
    [
        (
            a_subnet("a", internet_gateway=False),
            {},
            "no way leads from here to a host by SSH: subnet-a: its route table leads to no internet gateway "
            "(name a public subnet (`subnet: subnet-...`), or use Session Manager (`access: ssm`))",
        ),
        (
            a_subnet("a", gives_public_address=False),
            {},
            "no way leads from here to a host by SSH: subnet-a gives no public addresses "
            "(`aws ec2 modify-subnet-attribute --map-public-ip-on-launch`) "
            "(name a public subnet (`subnet: subnet-...`), or use Session Manager (`access: ssm`))",
        ),
        (
            a_subnet("a"),
            {"zones": ["b", "c"]},
            "no subnet stands in b, c; there is subnet-a in a (correct `zones:` or `subnet:`)",
        ),
        (
            a_subnet("a"),
            {"vpc": "vpc-2"},
            "the subnet subnet-a belongs to vpc-1, not to vpc-2 (name a subnet of the same VPC)",
        ),
    ],
)
def test_networks_that_would_not_do(subnet: Subnet, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        networks.usable_subnets([subnet], access=Access.SSH, **arguments)
    assert str(caught.value) == words
