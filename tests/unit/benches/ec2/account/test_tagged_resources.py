"""What carries our tags is found and removed, and nothing else; against moto's server."""

import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from harness.benches.ec2.account import resource_removal, tagged_resources
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.model import Token, ownership
from harness.model.cloud import CloudOptions
from harness.system import settings
from tests.doubles import ec2_server

REGION = "eu-west-1"


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    ec2_server.install(set_attribute=partial(monkeypatch.setattr, raising=False))
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    yield boto3.client("ec2", region_name=REGION)
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    server.stop()


def made(ec2, run: str, tagged: bool = True) -> set[str]:  # type: ignore[no-untyped-def]
    """A host's worth of things, tagged as the program does it or not at all."""
    tags = {ownership.RUN: run, ownership.TOKEN: f"{run}/m7i.large/1"} if tagged else {"Name": run}

    def specification(kind: str) -> list[dict[str, object]]:
        return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]

    ec2.create_placement_group(
        GroupName=run, Strategy="precision-time", TagSpecifications=specification("placement-group")
    )
    ec2.create_key_pair(KeyName=run, TagSpecifications=specification("key-pair"))
    firewall = ec2.create_security_group(
        GroupName=run, Description="d", TagSpecifications=specification("security-group")
    )["GroupId"]
    disk = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=specification("volume"))[
        "VolumeId"
    ]
    instance = ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"],
        InstanceType="m7i.large",
        MinCount=1,
        MaxCount=1,
        Placement={"GroupName": run},
        SecurityGroupIds=[firewall],
        TagSpecifications=specification("instance"),
    )["Instances"][0]["InstanceId"]
    return {
        f"instance {instance}",
        f"volume {disk}",
        f"placement-group {run}",
        f"security-group {firewall}",
        f"key-pair {run}",
    }


@pytest.mark.slow
def test_a_run_s_orphans_are_found_and_removed_and_no_other_s(ec2) -> None:  # type: ignore[no-untyped-def]
    mine, other = made(ec2, "k3f9"), made(ec2, "z7y8")
    made(ec2, "theirs", tagged=False)
    api = Api(REGION)
    found = tagged_resources.find(api, run="k3f9")
    assert {str(each) for each in found} == mine
    assert {each.token for each in found} == {"k3f9/m7i.large/1"}
    assert {str(each) for each in tagged_resources.find(api)} == mine | other

    resource_removal.remove(api, found, host="m7i.large")
    assert tagged_resources.find(api, run="k3f9") == []
    assert {str(each) for each in tagged_resources.find(api)} == other
    assert api.count_calls("m7i.large") == 6


@pytest.mark.slow
def test_a_token_selects_one_host_s(ec2) -> None:  # type: ignore[no-untyped-def]
    mine = made(ec2, "k3f9")
    assert {str(each) for each in tagged_resources.find(Api(REGION), token="k3f9/m7i.large/1")} == mine
    assert tagged_resources.find(Api(REGION), token="k3f9/m7i.large/2") == []


@pytest.mark.parametrize("names", [{"run": ""}, {"token": ""}, {"run": "k3f9", "token": ""}])
def test_an_empty_name_selects_nothing(names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="would select what is not ours"):
        tagged_resources.find(Api(REGION), **names)


def test_to_see_that_nothing_is_left_of_a_host_takes_five_calls(ec2, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bench = Ec2Bench(replace(settings.load(), state_dir=tmp_path), CloudOptions(region=REGION))
    assert bench.api_calls() == 0
    gone = Token(run="k3f9", host="a")
    bench.release(gone)
    assert bench.resources() == []
    assert (bench.api_calls(gone), bench.api_calls(Token(run="k3f9", host="b")), bench.api_calls()) == (5, 0, 12)


@pytest.mark.slow
def test_a_token_is_no_pattern(ec2) -> None:  # type: ignore[no-untyped-def]
    mine = made(ec2, "k3f9")
    theirs = [{"Name": "tag:ptp-harness:token", "Values": ["*/*/1"]}]
    assert ec2.describe_security_groups(Filters=theirs)["SecurityGroups"] != [], "a double whose filters have wildcards"
    assert ec2.describe_key_pairs(Filters=theirs)["KeyPairs"] != []
    assert ec2.describe_placement_groups(Filters=theirs)["PlacementGroups"] != []
    assert ec2.describe_volumes(Filters=theirs)["Volumes"] != []
    assert ec2.describe_instances(Filters=theirs)["Reservations"] != []
    for pattern in ("*", "*/*/1", "k3f9/*", "????/m7i.large/1", "k3f9/m7i.large/?", "\\k3f9/m7i.large/1"):
        assert (
            tagged_resources.find(Api(REGION), token=pattern) == tagged_resources.find(Api(REGION), run=pattern) == []
        )
    assert {str(each) for each in tagged_resources.find(Api(REGION), run="k3f9")} == mine
