"""What doctor says of an account: all is well in moto's, and each thing that can be wrong in one sentence."""

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from harness.benches.bench import Check, FatalError
from harness.benches.ec2 import checks
from harness.benches.ec2.account import account_steps
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.engine.engine_home import GET_IT, EngineHome
from harness.errors import ExitCode

REGION = "eu-north-1"
Stubs = Callable[[str], Stubber]
POLICY = "docs/iam-policy.json lists every permission that is needed"


def home(command: str) -> EngineHome:
    """The engine by that command; what it keeps is not looked at here."""
    return EngineHome(folder=Path("/nowhere"), project=Path("/nowhere"), command=command)


NO_PULUMI = home("no-such-pulumi")


def by_name(lines: Sequence[Check]) -> dict[str, Check]:
    return {line.name: line for line in lines}


def pulumi(tmp_path: Path, version: str) -> EngineHome:
    """A command that answers as pulumi does."""
    command = tmp_path / "pulumi"
    command.write_text(f"#!/bin/sh\necho '{version}'\n")
    command.chmod(0o755)
    return home(str(command))


def test_an_account_in_which_all_is_well(moto_api: Api, ec2: Any, tmp_path: Path) -> None:
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    found = by_name(checks.run_checks(REGION, pulumi(tmp_path, "v3.259.0")))
    assert found["pulumi"] == Check(name="pulumi", ok=True, observed="v3.259.0")
    assert found["AWS plugin"].observed == "not there yet: the first run fetches it"
    assert found["credentials"].observed.endswith(", account 123456789012")
    assert found["region"].observed == "eu-north-1, opt-in-not-required"
    assert found["clock"].ok
    assert found["network"].observed.startswith(f"{vpc}: subnet-")
    assert found["image"].observed.startswith("al2023-ami-2023")
    assert found["RunInstances"] == Check(name="RunInstances", ok=True, observed="allowed", remedy=POLICY)
    assert found["CreateSecurityGroup"].ok


def test_no_way_in(moto_api: Api, ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.1.0/24")["Subnet"]["SubnetId"]
    found = by_name(checks.run_checks(REGION, NO_PULUMI, subnet=subnet))
    assert found["network"].observed == (
        f"no way leads from here to a host by SSH: {subnet}: its route table leads to no internet gateway"
    )
    assert "access: ssm" in found["network"].remedy
    assert "RunInstances" not in found


def test_no_credentials(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    missing, _, credentials = checks.run_checks(REGION, NO_PULUMI)
    assert (missing.ok, missing.observed) == (False, "no-such-pulumi is not installed: the ec2 bench needs it")
    assert missing.remedy == GET_IT
    assert credentials == Check(
        name="credentials",
        ok=False,
        observed="asking AWS who we are: there are no AWS credentials",
        remedy="`aws configure`, AWS_PROFILE, or a role",
    )


def test_no_region(api: Api) -> None:
    assert by_name(checks.run_checks(None, NO_PULUMI))["region"] == Check(
        name="region",
        ok=False,
        observed="no Region is known",
        remedy="--region NAME, `region:` in the campaign, or AWS_REGION",
    )


def test_a_profile_that_is_not_there(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(FatalError) as caught:
        Api(REGION)
    assert caught.value.message == "reading the AWS settings: The config profile (nobody) could not be found"
    assert caught.value.next_step == "`aws configure list-profiles` lists those that are there"
    assert caught.value.exit_code is ExitCode.BAD_REQUEST


def in_home(api: Api, service: str) -> Stubber:
    """A stub of the Region that is asked about all others."""
    found = Stubber(api.client(service, "us-east-1"))
    found.activate()
    return found


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        (
            "ExpiredToken",
            "The security token included in the request is expired",
            "the session has ended: log in again (`aws sso login`, or new temporary keys)",
        ),
        (
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
            "the keys are wrong, or the Region is an opt-in one that this account has not enabled",
        ),
        ("SignatureDoesNotMatch", "Signature expired", "the secret key is wrong; is this machine's clock right?"),
    ],
)
def test_credentials_that_aws_refuses(api: Api, code: str, words: str, remedy: str) -> None:
    in_home(api, "sts").add_client_error("get_caller_identity", code, words)
    found, answer = checks.check_credentials(api, "us-east-1")
    assert answer is None
    assert found == Check(
        name="credentials", ok=False, observed=f"asking AWS who we are: {code}: {words}", remedy=remedy
    )


@pytest.mark.parametrize(
    ("region", "home"),
    [
        ("eu-norht-1", "us-east-1"),
        ("cn-northwest-1", "cn-north-1"),
        ("us-gov-east-1", "us-gov-west-1"),
        ("eusc-de-east-1", "eusc-de-east-1"),
    ],
)
def test_each_partition_is_asked_in_a_region_of_its_own(region: str, home: str) -> None:
    assert checks.find_home(region) == home
    partition = boto3.Session().get_partition_for_region(home)
    assert home in boto3.Session().get_available_regions("ec2", partition)


REGIONS = {
    "Regions": [
        {"RegionName": "eu-north-1", "OptInStatus": "opt-in-not-required"},
        {"RegionName": "ap-southeast-5", "OptInStatus": "not-opted-in"},
        {"RegionName": "ap-southeast-7", "OptInStatus": "opted-in"},
    ]
}


@pytest.mark.parametrize(
    ("region", "ok", "seen", "remedy"),
    [
        ("ap-southeast-7", True, "ap-southeast-7, opted-in", ""),
        (
            "ap-southeast-5",
            False,
            "ap-southeast-5 is an opt-in Region that this account has not enabled",
            "`aws account enable-region --region-name ap-southeast-5`, and some minutes' patience",
        ),
        ("eu-norht-1", False, "there is no Region 'eu-norht-1'", "nearest: eu-north-1"),
    ],
)
def test_regions(api: Api, region: str, ok: bool, seen: str, remedy: str) -> None:
    api.region = region
    in_home(api, "ec2").add_response("describe_regions", REGIONS, {"AllRegions": True})
    assert checks.check_region(api, "us-east-1") == Check(name="region", ok=ok, observed=seen, remedy=remedy)


@pytest.mark.parametrize(
    ("off_s", "ok", "seen"),
    [(0, True, "0 s behind AWS's"), (59, True, "59 s ahead of AWS's"), (-61, False, "61 s behind AWS's")],
)
def test_the_clock_of_this_machine(off_s: float, ok: bool, seen: str) -> None:
    now = datetime.datetime(2026, 11, 21, 12, 0, 0, tzinfo=datetime.UTC).timestamp()
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 21 Nov 2026 12:00:00 GMT"}}}
    found = checks.check_clock(answer, now + off_s)
    assert (found.ok, found.observed) == (ok, seen)
    assert checks.check_clock({}, now).observed == "AWS's answer has no date"


@pytest.mark.parametrize(("limit", "ok"), [(0, False), (32, True)])
def test_a_quota_of_zero(api: Api, stub: Stubs, limit: float, ok: bool) -> None:
    asked = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
    stub("service-quotas").add_response("get_service_quota", {"Quota": {"Value": limit}}, asked)
    found = checks.check_quota(api)
    assert (found.ok, found.observed) == (
        ok,
        f"Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances: {limit:.0f} vCPUs",
    )
    assert "ask for more in Service Quotas (L-1216C47A)" in found.remedy


def test_a_quota_that_may_not_be_asked_for_is_no_failure(api: Api, stub: Stubs) -> None:
    stub("service-quotas").add_client_error("get_service_quota", "AccessDeniedException", "No.")
    found = checks.check_quota(api)
    assert found.ok
    assert "not known: asking for quotas: AccessDeniedException: No." in found.observed


def test_the_steps_for_a_person_with_an_account() -> None:
    said = account_steps.text("eu-north-1")
    assert said.startswith(
        "Seven steps in eu-north-1, 9 minutes of waiting, a few cents:\n\n1. what it will cost (free)"
    )
    assert len(account_steps.steps("eu-north-1")) == 7
    assert "   $ ptp-harness run c8g.large --bench ec2 --region eu-west-1 --depth quick\n   expect: PASS; " in said
