"""Instances with a tag become streams that are reached by the address whose host key is known."""

from pathlib import Path

import boto3
import pytest

from harness.benches.ec2.api.api import Api
from harness.benches.ec2.instances import tagged_instances
from harness.benches.ec2.instances.tagged_instances import TaggedInstance
from harness.errors import RequestError
from harness.watch.found_hosts import find_tagged

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbyBiYXIgYmF6IHF1eCBmb28gYmFyIGJheiBx"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's list of known hosts."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ssh/known_hosts"


def an_instance(number: int, *addresses: str) -> TaggedInstance:
    return TaggedInstance(instance=f"i-{number}", instance_type="m7i.large", zone="eu-north-1a", addresses=addresses)


def test_the_first_address_with_a_known_key_is_taken(known: Path) -> None:
    known.write_text(f"10.0.0.5 {KEY}\n")
    ((name, source),) = find_tagged(
        [an_instance(1, "ec2-198-51-100-7.example.org", "10.0.0.5")], "eu-north-1", user="ec2-user", key=None
    )
    assert name == "i-1"
    assert source == {
        "kind": "ec2",
        "region": "eu-north-1",
        "instance": "i-1",
        "address": "10.0.0.5",
        "port": 22,
        "user": "ec2-user",
        "key": None,
        "known_hosts": f"10.0.0.5 {KEY}\n",
        "proxy": None,
        "traits": {"instance_type": "m7i.large", "region": "eu-north-1", "zone": "eu-north-1a"},
    }


def test_an_instance_whose_key_nobody_knows_is_not_trusted(known: Path) -> None:
    known.write_text(f"10.0.0.6 {KEY}\n")
    instances = [an_instance(1, "10.0.0.5"), an_instance(2, "10.0.0.6")]
    with pytest.raises(RequestError, match=r"the host key of 10\.0\.0\.5 is not known"):
        find_tagged(instances, "eu-north-1", user="ec2-user", key=None)
    assert [name for name, _ in find_tagged(instances, "eu-north-1", user="a", key=None, wanted=["i-2"])] == ["i-2"]


@pytest.mark.parametrize(("instances", "wanted"), [([], []), ([an_instance(1, "10.0.0.5")], ["i-9"])])
def test_no_instance_is_told(instances: list[TaggedInstance], wanted: list[str]) -> None:
    with pytest.raises(RequestError, match="no running instance"):
        find_tagged(instances, "eu-north-1", user="ec2-user", key=None, wanted=wanted)


def test_running_instances_are_found_by_their_tag_alone(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ec2 = boto3.client("ec2", region_name="eu-north-1", endpoint_url=aws)
    image = ec2.describe_images()["Images"][0]["ImageId"]

    def start(role: str) -> str:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "role", "Value": role}]}]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="m5.large", TagSpecifications=tags)  # type: ignore[arg-type]
        return str(made["Instances"][0]["InstanceId"])

    clock, stopped, _ = start("clock"), start("clock"), start("clock*")
    ec2.stop_instances(InstanceIds=[stopped])
    (found,) = tagged_instances.find_tagged(Api("eu-north-1"), "role", "clock")
    assert (found.instance, found.instance_type) == (clock, "m5.large")
    assert found.zone.startswith("eu-north-1")
    assert found.addresses
