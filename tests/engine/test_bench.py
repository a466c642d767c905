"""Hosts of the ec2 bench: where they are tried, how they are found again, and that EC2 itself says they are gone."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.benches.bench import CapacityError, FatalError, NotOfferedError, QuotaError
from harness.benches.ec2.bench import Ec2Bench
from harness.model import Machine, Token
from harness.model.cloud import CloudOptions
from harness.system import settings as configuration

from .conftest import REGION, Double, left

WISHES = CloudOptions(region=REGION, controller_cidr="192.0.2.7/32", owner="ada")
NO_ROOM = {
    "method": "Create",
    "type": "Instance",
    "code": "InsufficientInstanceCapacity",
    "message": "We currently do not have sufficient capacity in the Availability Zone you requested.",
}
Make = Callable[..., Ec2Bench]


@pytest.fixture
def make(double: Double, tmp_path: Path) -> Make:
    """The bench as the command has it, its state in the test's folder."""
    found = configuration.load()

    def bench(**options: Any) -> Ec2Bench:
        ours = replace(found, state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")
        return Ec2Bench(ours, replace(WISHES, **options))

    return bench


def silent(_words: str) -> None:
    """Nobody listens."""


def token(run: str) -> Token:
    return Token(run=run, host="a")


def launched(bench: Ec2Bench, run: str, instance_type: str = "m7i.large") -> Machine:
    bench.prepare([instance_type], silent)
    return bench.provision(token(run), instance_type, silent)


def test_a_host_comes_to_run_is_found_and_goes(make: Make, double: Double) -> None:
    bench, said = make(), []
    bench.prepare(["m7i.large"], silent)
    terms = bench.terms(["m7i.large"])
    assert (terms.placement, terms.usd_per_hour, len(terms.images)) == ("no placement group", {}, 1)
    made = bench.provision(token("b1"), "m7i.large", said.append)
    assert (made.user, made.region, made.zone, made.offer.available) == ("ec2-user", REGION, "eu-north-1a", True)
    assert (made.placement.precise, made.claim and made.claim.phc_supported) == (True, True)
    assert made.known_host.startswith(f"{made.address} ssh-ed25519 ")
    assert Path(made.private_key or "").stat().st_mode & 0o777 == 0o600
    assert said[0] == "launching m7i.large in eu-north-1a"
    assert bench.provision(token("b1"), "m7i.large", silent) == made
    other = make()  # another process, which knows what is on disk
    assert other.find(token("b1")) == made
    kinds = sorted(one.kind for one in other.resources() if one.token == "b1/a/1")
    assert kinds == ["instance", "key-pair", "security-group", "stack"]
    assert {one.expires for one in other.resources() if one.token == "b1/a/1"} == {bench.records.all()[0].expires_utc}
    other.release(token("b1"))
    assert left(double.ec2(), "b1") == []
    assert other.find(token("b1")) is None
    assert list((other.records.root.parent / "keys").iterdir()) == []
    assert bench.api_calls(token("b1")) + other.api_calls(token("b1")) <= 20
    other.release(token("b1"))  # nothing there is success


def test_without_room_the_next_zone_is_tried(make: Make, double: Double) -> None:
    double.shall(NO_ROOM | {"times": 2})
    bench, said = make(), []
    bench.prepare(["m7i.large"], silent)
    made = bench.provision(token("b2"), "m7i.large", said.append)
    assert (made.zone, made.instance_type) == ("eu-north-1c", "m7i.large")
    refused = [words for words in said if "InsufficientInstanceCapacity" in words]
    assert [words.partition(":")[0] for words in refused] == ["m7i.large in eu-north-1a", "m7i.large in eu-north-1b"]
    assert len([one for one in left(double.ec2(), "b2") if one.startswith("i-")]) == 1
    bench.release(token("b2"))
    assert left(double.ec2(), "b2") == []
    assert 0 < bench.api_calls(token("b2")) <= 20


THROTTLED = NO_ROOM | {"code": "RequestLimitExceeded", "message": "Request limit exceeded."}


def test_a_throttled_request_is_made_again_in_the_same_zone(make: Make, double: Double) -> None:
    double.shall(THROTTLED | {"times": 1})
    bench, said = make(), []
    bench.prepare(["m7i.large"], silent)
    made = bench.provision(token("b14"), "m7i.large", said.append)
    assert made.zone == "eu-north-1a"
    assert any("RequestLimitExceeded" in words and words.endswith("waiting for EC2") for words in said)
    bench.release(token("b14"))
    assert left(double.ec2(), "b14") == []


def test_another_size_is_taken_where_the_campaign_allows_that(make: Make, double: Double) -> None:
    double.shall(NO_ROOM | {"times": 3})
    bench = make(other_sizes=True)
    made = launched(bench, "b3")
    assert (made.instance_type, made.zone) == ("m7i.xlarge", "eu-north-1a")
    bench.release(token("b3"))
    assert left(double.ec2(), "b3") == []


def test_no_room_anywhere_is_no_capacity_and_leaves_nothing(make: Make, double: Double) -> None:
    double.shall(NO_ROOM)
    bench = make()
    with pytest.raises(
        CapacityError, match=r"no capacity for m7i\.large: tried m7i\.large in eu-north-1a, m7i\.large in"
    ):
        launched(bench, "b4")
    bench.release(token("b4"))
    assert left(double.ec2(), "b4") == []
    assert bench.records.all() == []


NO_ROOM_LATER = {
    "method": "RunInstances",
    "type": "m7i.large",
    "delay_s": 2.0,
    "code": "Server.InsufficientInstanceCapacity",
    "message": "There was insufficient capacity available to satisfy the launch request.",
}


def test_no_room_that_is_found_out_late_is_the_next_zone_s_turn(make: Make, double: Double) -> None:
    double.shall(NO_ROOM_LATER | {"times": 1})
    bench, said = make(), []
    bench.prepare(["m7i.large"], silent)
    made = bench.provision(token("b9"), "m7i.large", said.append)
    assert made.zone == "eu-north-1b"
    refused = [words for words in said if "Server.InsufficientInstanceCapacity" in words]
    assert len(refused) == 1
    assert refused[0].startswith("m7i.large in eu-north-1a: ")
    assert len([one for one in left(double.ec2(), "b9") if one.startswith("i-")]) == 1
    bench.release(token("b9"))
    assert left(double.ec2(), "b9") == []


def test_no_room_anywhere_that_is_found_out_late_is_no_capacity(make: Make, double: Double) -> None:
    double.shall(NO_ROOM_LATER)
    bench = make(zones=("eu-north-1c", "eu-north-1a"))
    with pytest.raises(
        CapacityError, match=r"no capacity for .*: tried m7i\.large in eu-north-1c, m7i\.large in"
    ) as told:
        launched(bench, "b10")
    assert "Server.InsufficientInstanceCapacity: There was insufficient capacity" in told.value.message
    bench.release(token("b10"))
    assert left(double.ec2(), "b10") == []
    assert bench.records.all() == []


def test_a_quota_of_zero_is_not_tried_elsewhere(make: Make, double: Double) -> None:
    words = "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket."
    double.shall(NO_ROOM | {"code": "VcpuLimitExceeded", "message": words})
    bench = make()
    with pytest.raises(QuotaError, match=r"m7i\.large in eu-north-1a: the quota of vCPUs .* is used up: .*limit of 0"):
        launched(bench, "b11")
    assert len([urn for urn in double.calls("Create", "refused") if "Instance" in urn]) == 1
    bench.release(token("b11"))
    assert left(double.ec2(), "b11") == []


def test_a_host_that_somebody_else_ended_is_not_found_and_can_be_released(make: Make, double: Double) -> None:
    bench = make()
    launched(bench, "b12")
    instance = bench.records.all()[0].instance_id
    bench.stack_ups.pop(token("b12")).result()
    double.ec2().terminate_instances(InstanceIds=[instance])
    later = make()
    assert later.find(token("b12")) is None
    kinds = sorted(one.kind for one in later.resources() if one.token == "b12/a/1")
    assert kinds == ["key-pair", "security-group", "stack"]
    later.release(token("b12"))
    assert left(double.ec2(), "b12") == []
    assert later.records.all() == []


def test_a_missing_permission_is_not_tried_elsewhere(make: Make, double: Double) -> None:
    double.shall(NO_ROOM | {"code": "UnauthorizedOperation", "message": "You are not authorized."})
    bench = make()
    with pytest.raises(FatalError, match=r"m7i\.large in eu-north-1a: UnauthorizedOperation: You are not authorized"):
        launched(bench, "b5")
    assert len([urn for urn in double.calls("Create", "refused") if "Instance" in urn]) == 1
    bench.release(token("b5"))
    assert left(double.ec2(), "b5") == []


def test_a_type_that_the_region_has_not(make: Make) -> None:
    bench = make()
    with pytest.raises(NotOfferedError, match=r"eu-north-1 does not offer x9z\.large"):
        bench.provision(token("b6"), "x9z.large", silent)
    bench.release(token("b6"))


def test_a_host_whose_stack_is_lost_is_removed_by_its_tags(make: Make, double: Double) -> None:
    bench = make()
    launched(bench, "b7")
    bench.stack_ups.pop(token("b7")).result()
    shutil.rmtree(bench.records.root.parent / "backend")
    make().release(token("b7"))
    assert left(double.ec2(), "b7") == []


def test_a_host_of_which_only_tags_and_our_key_are_left_goes_and_without_the_key_it_stays(
    make: Make, double: Double
) -> None:
    bench = make()
    launched(bench, "b8")
    bench.stack_ups.pop(token("b8")).result()
    folder = bench.records.root.parent
    key = (folder / "signing-key").read_bytes()
    shutil.rmtree(folder)
    there = left(double.ec2(), "b8")
    make().release(token("b8"))
    assert left(double.ec2(), "b8") == there, "nothing but tags says whose it is"
    assert {one.unproven is None for one in make().resources()} == {False}
    (folder / "signing-key").write_bytes(key)
    make().release(token("b8"))
    assert left(double.ec2(), "b8") == []
