"""A mistyped instance profile is told before anything is made, and no other refusal counts as one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from harness.benches.ec2.account import instance_profiles
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.instances.region import Region
from harness.errors import RequestError
from harness.model.cloud import CloudOptions
from tests.doubles import ec2_server

REGION = "eu-north-1"


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    ec2_server.install(set_attribute=partial(monkeypatch.setattr, raising=False))


@pytest.fixture
def profile(moto_api: Api) -> Any:
    """Makes an instance profile, with or without a role."""
    iam: Any = boto3.client("iam", REGION)

    def make(name: str, *, role: bool) -> str:
        iam.create_instance_profile(InstanceProfileName=name)
        if role:
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    return make


def check(api: Api, tmp_path: Path, profile: str | None) -> None:
    Region(api, CloudOptions(region=REGION, instance_profile=profile), tmp_path).check(["m7i.large"])


def test_a_profile_that_does_not_exist_is_a_mistake_of_the_request(moto_api: Api, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"profile typo: .*Invalid IAM Instance Profile name") as caught:
        check(moto_api, tmp_path, "typo")
    assert caught.value.next_step.startswith("correct `instance_profile:`")
    check(moto_api, tmp_path, None)


def test_a_profile_needs_a_role(moto_api: Api, tmp_path: Path, profile: Callable[..., str], ec2: Any) -> None:
    with pytest.raises(RequestError, match="has no associated IAM Roles"):
        check(moto_api, tmp_path, profile("empty", role=False))
    check(moto_api, tmp_path, profile("whole", role=True))
    assert ec2.describe_instances()["Reservations"] == []


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InvalidParameterCombination", "DryRunOperation"])
def test_another_refusal_says_nothing_about_the_profile(api: Api, stub: Callable[[str], Stubber], code: str) -> None:
    stub("ec2").add_client_error("run_instances", code, "EC2's words")
    instance_profiles.check_profile(api, "a", image="ami-12345678", instance_type="m7i.large", subnet="subnet-1")
