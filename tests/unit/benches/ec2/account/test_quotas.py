"""Quotas: which one a family counts against, what moto's account runs, and unknown where nobody may ask.

moto has no quotas of EC2, so botocore's stub answers for Service Quotas; the instances are moto's.
"""

from typing import Any

import pytest
from botocore.stub import Stubber

from harness.benches.ec2.account import quotas
from harness.benches.ec2.api.api import Api
from harness.model.cloud import Quota, TypeInfo
from harness.model.ec2_enums import Architecture, Market

REGION = "eu-north-1"
STANDARD = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"


@pytest.mark.parametrize(
    ("family", "code", "spot"),
    [
        ("m7i", "L-1216C47A", "L-34B43A08"),
        ("m8i-flex", "L-1216C47A", "L-34B43A08"),
        ("t4g", "L-1216C47A", "L-34B43A08"),
        ("im4gn", "L-1216C47A", "L-34B43A08"),
        ("is4gen", "L-1216C47A", "L-34B43A08"),
        ("d3en", "L-1216C47A", "L-34B43A08"),
        ("z1d", "L-1216C47A", "L-34B43A08"),
        ("f2", "L-74FC7D96", "L-88CF9481"),
        ("g6e", "L-DB2E81BA", "L-3819A6DF"),
        ("gr6", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1", "L-DB2E81BA", "L-3819A6DF"),
        ("p6-b200", "L-417A185B", "L-7212CCBC"),
        ("x2iedn", "L-7295265B", "L-E3A00192"),
        ("inf2", "L-1945791B", "L-B5D1601B"),
        ("trn2u", "L-2C3B7624", "L-6B0D517C"),
        ("dl2q", "L-6E869C2A", "L-85EED4F7"),
        ("hpc7g", "L-F7808C92", None),
        ("u-6tb1", "L-43DA4232", None),
        ("u7in-16tb", "L-43DA4232", None),
        ("mac2-m2", None, None),
        ("mac-m4", None, None),
        ("q9", None, None),
        ("", None, None),
    ],
)
def test_what_a_family_counts_against(family: str, code: str | None, spot: str | None) -> None:
    found = quotas.quota_kind(family, Market.ON_DEMAND), quotas.quota_kind(family, Market.SPOT)
    assert tuple(one and one[0] for one in found) == (code, spot)


def info(name: str, vcpus: int) -> TypeInfo:
    family, _, size = name.partition(".")
    return TypeInfo(
        name=name,
        family=family,
        size=size,
        architecture=Architecture.X86_64,
        vcpus=vcpus,
        memory_mib=1024,
        phc=True,
        ena="required",
        zones=("eu-north-1a",),
        price_per_hour_usd=None,
        bare_metal=False,
        current_generation=True,
    )


TYPES = {
    one.name: one for one in (info("m7i.large", 2), info("r7i.xlarge", 4), info("g6.xlarge", 4), info("mac2.x", 8))
}


class Account:
    """What runs is moto's; the quotas are those given here."""

    def __init__(self) -> None:
        self.api = Api(REGION, pause=lambda _: None)
        self.stub = Stubber(self.api.client("service-quotas", REGION))

    def quota(self, value: float, operation: str = "get_service_quota") -> None:
        self.stub.add_response(operation, {"Quota": {"Value": value, "Unit": "None"}})

    def refuse(self, code: str, operation: str = "get_service_quota") -> None:
        self.stub.add_client_error(operation, code, "no")

    def run(self, name: str, count: int = 1, **more: Any) -> list[str]:
        client = self.api.client("ec2", REGION)
        made = client.run_instances(ImageId="ami-12c6146b", InstanceType=name, MinCount=count, MaxCount=count, **more)
        return [one["InstanceId"] for one in made["Instances"]]

    def left(self, *names: str, market: Market = Market.ON_DEMAND) -> tuple[Quota, ...]:
        with self.stub:
            found = quotas.load(self.api, [TYPES[name] for name in names], TYPES, market=market)
            self.stub.assert_no_pending_responses()
        return found


@pytest.fixture
def account(aws: str) -> Account:
    return Account()


def test_what_runs_counts_against_its_kind(account: Account) -> None:
    account.run("m7i.large", 3)
    account.run("g6.xlarge")
    account.run("m7i.large", InstanceMarketOptions={"MarketType": "spot"})
    stopped = account.run("r7i.xlarge")
    account.api.client("ec2", REGION).stop_instances(InstanceIds=stopped)
    account.quota(32.0)
    found = account.left("m7i.large", "r7i.xlarge")
    assert found == (
        Quota(
            code="L-1216C47A",
            name=STANDARD,
            families=frozenset({"m7i", "r7i"}),
            limit_vcpus=32,
            used_vcpus=6,
        ),
    )
    assert found[0].left_vcpus == 26


def test_a_quota_that_is_used_up_has_nothing_left(account: Account) -> None:
    account.run("m7i.large", 3)
    account.quota(5.0)
    assert account.left("m7i.large")[0].left_vcpus == 0


def test_each_kind_has_its_own(account: Account) -> None:
    account.quota(8.0)
    account.quota(0.0)
    assert [(one.code, one.left_vcpus) for one in account.left("m7i.large", "g6.xlarge")] == [
        ("L-1216C47A", 8),
        ("L-DB2E81BA", 0),
    ]
    assert sum(times for (operation, _), times in account.api.calls.items() if "Instances" in operation) == 1


def test_spot_has_quotas_of_its_own(account: Account) -> None:
    account.run("m7i.large", 3)
    account.run("m7i.large", InstanceMarketOptions={"MarketType": "spot"})
    account.quota(16.0)
    (found,) = account.left("m7i.large", market=Market.SPOT)
    assert (found.code, found.used_vcpus, found.left_vcpus) == ("L-34B43A08", 2, 14)
    assert found.name == "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"


def test_a_type_that_the_region_offers_no_more_counts_as_it_is(account: Account) -> None:
    account.run("m5.xlarge")
    account.quota(8.0)
    (found,) = account.left("m7i.large")
    assert found.used_vcpus is not None
    assert found.used_vcpus > 0


def test_an_account_without_a_value_of_its_own_has_the_default(account: Account) -> None:
    account.refuse("NoSuchResourceException")
    account.quota(5.0, "get_aws_default_service_quota")
    assert account.left("m7i.large")[0].limit_vcpus == 5


def test_who_may_not_ask_knows_nothing_and_why(account: Account) -> None:
    account.refuse("AccessDeniedException")
    (found,) = account.left("m7i.large")
    assert (found.limit_vcpus, found.used_vcpus, found.left_vcpus) == (None, 0, None)
    assert found.why_unknown == "asking for quotas: AccessDeniedException: no"


def test_an_aws_without_quotas_of_ec2(aws: str) -> None:
    """moto itself: it has neither the account's value nor a default."""
    (found,) = quotas.load(Api(REGION), [TYPES["m7i.large"]], TYPES, market=Market.ON_DEMAND)
    assert (found.limit_vcpus, found.used_vcpus) == (None, 0)
    assert "NoSuchResourceException" in found.why_unknown


def test_what_is_limited_otherwise_has_no_quota_of_vcpus(account: Account) -> None:
    assert account.left("mac2.x") == ()
    assert not account.api.calls
