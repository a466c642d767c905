"""Removal against an EC2 that is as late as the real one: what is gone counts as gone, and slow ends are waited for."""

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.ec2.models.instances import Instance
from moto.server import ThreadedMotoServer

from harness.benches.ec2.account import resource_removal
from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.errors import CleanupError
from harness.model import Token
from harness.model.cloud import CloudOptions
from harness.model.ownership import EXPIRES, RUN, TOKEN
from harness.system import settings
from tests.doubles import ec2_delays
from tests.doubles.ec2_delays import Clock

REGION = "eu-west-1"
HOST = Token(run="k3f9", host="a")
MINUTE_S = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Callable[..., Any]]:
    """Starts moto with these delays; returns a client."""
    servers: list[ThreadedMotoServer] = []

    def start(**delays: Any) -> Any:
        ec2_delays.install(clock, set_attribute=partial(monkeypatch.setattr, raising=False), **delays)
        servers.append(ThreadedMotoServer("127.0.0.1", 0, verbose=False))
        servers[-1].start()
        host, port = servers[-1].get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        return boto3.client("ec2", region_name=REGION)

    yield start
    for server in servers:
        host, port = server.get_host_and_port()
        reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        server.stop()


@pytest.fixture
def bench(tmp_path: Path, clock: Clock) -> Ec2Bench:
    options = CloudOptions(region=REGION)
    return Ec2Bench(replace(settings.load(), state_dir=tmp_path), options, pause=clock.advance, now=clock.now)


def make_host(ec2: Any, bench: Ec2Bench, instance_type: str = "m7i.large") -> dict[str, str]:
    """Make a host's resources as the stack makes them, with names that we signed. Returns the ids by kind."""
    expires = "2026-11-29T10:00:00+00:00"
    tags = [{"Key": key, "Value": value} for key, value in {RUN: HOST.run, TOKEN: str(HOST), EXPIRES: expires}.items()]
    name = bench.proofs.signer.sign_name("ptp-harness-k3f9-a", token=str(HOST), expires=expires)

    def specification(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": tags}]

    ec2.create_placement_group(
        GroupName=name, Strategy="precision-time", TagSpecifications=specification("placement-group")
    )
    ec2.create_key_pair(KeyName=name, TagSpecifications=specification("key-pair"))
    group = ec2.create_security_group(
        GroupName=name, Description="d", TagSpecifications=specification("security-group")
    )["GroupId"]
    instance = ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"],
        InstanceType=instance_type,
        MinCount=1,
        MaxCount=1,
        KeyName=name,
        Placement={"GroupName": name},
        SecurityGroupIds=[group],
        TagSpecifications=specification("instance"),
    )["Instances"][0]["InstanceId"]
    return {"instance": instance, "security-group": group, "placement-group": name, "key-pair": name}


def names(bench: Ec2Bench) -> set[str]:
    return {f"{resource.kind} {resource.name}" for resource in bench.resources()}


@pytest.mark.slow
@pytest.mark.parametrize("tag_policy", [False, True])
def test_a_group_that_is_listed_after_its_end_is_not_left(
    serve: Callable[..., Any], bench: Ec2Bench, clock: Clock, tag_policy: bool
) -> None:
    """Its second removal is NotFound, or UnauthorizedOperation under a policy that looks at the group's tags."""
    ec2 = serve(tag_policy=tag_policy)
    made = make_host(ec2, bench)
    ec2.terminate_instances(InstanceIds=[made["instance"]])
    ec2.delete_security_group(GroupId=made["security-group"])
    ec2.delete_placement_group(GroupName=made["placement-group"])
    bench.release(HOST)
    assert names(bench) == set()
    assert clock.added_s < MINUTE_S


@pytest.mark.slow
@pytest.mark.parametrize("tag_policy", [False, True])
def test_instances_that_are_gone_do_not_keep_the_others(
    serve: Callable[..., Any], bench: Ec2Bench, clock: Clock, tag_policy: bool
) -> None:
    ec2 = serve(tag_policy=tag_policy)
    made = make_host(ec2, bench)
    api = Api(REGION, pause=clock.advance, now=clock.now)
    present = TaggedResource(kind="instance", ident=made["instance"], tags={}, state="running")
    gone = replace(present, ident="i-0123456789abcdef0")
    assert resource_removal.remove(api, [gone, present], pause=clock.advance, now=clock.now) == {}
    states = ec2.describe_instances(InstanceIds=[made["instance"]])["Reservations"][0]["Instances"]
    assert states[0]["State"]["Name"] == "terminated"


@pytest.mark.slow
def test_what_is_refused_and_stays_is_named_with_the_reason(
    serve: Callable[..., Any], bench: Ec2Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2 = serve()
    made = make_host(ec2, bench)
    ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"],
        InstanceType="m7i.large",
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[made["security-group"]],
    )
    with pytest.raises(
        CleanupError, match=rf"left running: security-group {made['security-group']} in {REGION} .*DependencyViolation"
    ):
        bench.release(HOST)
    assert names(bench) == {f"security-group {made['security-group']}"}


@pytest.mark.slow
def test_bare_metal_that_ends_slowly_is_waited_for(serve: Callable[..., Any], bench: Ec2Bench, clock: Clock) -> None:
    ec2 = serve(ends_s=20 * MINUTE_S)
    make_host(ec2, bench, "m7i.metal-24xl")
    begun_s = clock.now()
    bench.release(HOST)
    assert names(bench) == set()
    assert 20 * MINUTE_S <= clock.now() - begun_s < 22 * MINUTE_S


@pytest.mark.slow
def test_an_instance_that_is_shutting_down_is_not_left_and_what_waits_for_it_is_named(
    serve: Callable[..., Any], bench: Ec2Bench, clock: Clock
) -> None:
    ec2 = serve(ends_s=120 * MINUTE_S)
    made = make_host(ec2, bench)
    with pytest.raises(CleanupError) as caught:
        bench.release(HOST)
    waiting = f"(waits for {made['instance']}, which is shutting down and is no longer billed)"
    assert caught.value.leftovers == (
        f"placement-group {made['placement-group']} in {REGION} {waiting}",
        f"security-group {made['security-group']} in {REGION} {waiting}",
    )
    assert names(bench) == {
        f"placement-group {made['placement-group']}",
        f"security-group {made['security-group']}",
    }
    clock.advance(120 * MINUTE_S)
    bench.release(HOST)
    assert names(bench) == set()


@pytest.mark.slow
def test_an_instance_that_does_not_begin_to_end_is_left_running(
    serve: Callable[..., Any], bench: Ec2Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2 = serve()
    made = make_host(ec2, bench)
    monkeypatch.setattr(Instance, "terminate", lambda self: self._state)
    with pytest.raises(CleanupError, match=rf"left running: {made['instance']} \(aws ec2 terminate-instances"):
        bench.release(HOST)
