"""Stacks of the real engine, up and down: alone, side by side, again, and after what can go wrong on the way."""

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.benches.bench import CapacityError
from harness.benches.ec2.account import resource_removal, tagged_resources
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.api.api_errors import ErrorKind
from harness.benches.ec2.engine.engine import Deadlines, Engine
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.engine.resource_failures import EngineError
from harness.model.ec2_enums import Market

from .conftest import REGION, Double, Settings, left


def test_a_stack_goes_up_tells_its_host_and_goes_down(double: Double, engine: Engine, settings: Settings) -> None:
    said: list[str] = []
    begun = time.monotonic()
    told = engine.up("k3f9-m7i.large", settings(), said.append)
    up_s = time.monotonic() - begun
    (instance,) = double.ec2().describe_instances(InstanceIds=[told.instance_id])["Reservations"][0]["Instances"]
    assert (told.address, told.zone, told.image) == (
        instance["PublicIpAddress"],
        instance["Placement"]["AvailabilityZone"],
        instance["ImageId"],
    )
    assert (told.architecture, told.user, told.placement_group) == ("x86_64", "ec2-user", None)
    assert {each["Key"]: each["Value"] for each in instance["Tags"]} == {
        "Name": "ptp-harness m7i.large",
        "ptp-harness:run": "k3f9",
        "ptp-harness:host": "m7i.large",
        "ptp-harness:token": "k3f9/m7i.large/1",
        "ptp-harness:owner": "ada",
        "ptp-harness:expires": "2027-01-31T12:00:00+00:00",
    }
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert "creating Instance host-al2023" in said
    assert "created Instance host-al2023" in said

    assert engine.outputs("k3f9-m7i.large") == told
    assert engine.stacks() == ["k3f9-m7i.large"]

    begun = time.monotonic()
    engine.destroy("k3f9-m7i.large", said.append)
    print(f"up {up_s:.1f} s, destroy {time.monotonic() - begun:.1f} s")
    assert left(double.ec2(), "k3f9") == []
    assert engine.outputs("k3f9-m7i.large") is None
    engine.remove("k3f9-m7i.large")
    assert engine.stacks() == []


def test_a_spot_instance_s_request_is_cancelled_before_its_end(
    double: Double, engine: Engine, settings: Settings
) -> None:
    told = engine.up("spot-a", settings("spot", "a", market=Market.SPOT), lambda _: None)
    (request,) = double.ec2().describe_spot_instance_requests()["SpotInstanceRequests"]
    assert (request["InstanceId"], request["State"], request["Type"]) == (told.instance_id, "active", "one-time")
    engine.destroy("spot-a", lambda _: None)
    (request,) = double.ec2().describe_spot_instance_requests()["SpotInstanceRequests"]
    assert request["State"] == "cancelled"
    assert left(double.ec2(), "spot") == []


def test_another_type_is_another_instance(double: Double, engine: Engine, settings: Settings) -> None:
    first = engine.up("type-a", settings("type", "a", image="al2023"), lambda _: None)
    double.ec2().terminate_instances(InstanceIds=[first.instance_id])  # which could be neither stopped nor started
    second = engine.up("type-a", settings("type", "a", image="al2023", instance_type="m7i.xlarge"), lambda _: None)
    assert second.instance_id != first.instance_id
    assert [one for one in left(double.ec2(), "type") if one.startswith("i-")] == [second.instance_id]
    engine.destroy("type-a", lambda _: None)
    assert left(double.ec2(), "type") == []


def test_six_stacks_side_by_side(double: Double, home: EngineHome, settings: Settings) -> None:
    engine = Engine(home, at_once=6)
    types = ["m7i.large", "m7g.large", "c8g.large", "r7i.large", "r8g.large", "i8g.large"]

    def up_and_down(one: str) -> tuple[str, str]:
        told = engine.up(f"six-{one}", settings("six", one, instance_type=one, region="eu-west-1"), lambda _: None)
        (instance,) = double.ec2("eu-west-1").describe_instances(InstanceIds=[told.instance_id])["Reservations"]
        assert instance["Instances"][0]["InstanceType"] == one
        engine.destroy(f"six-{one}", lambda _: None)
        return told.architecture, "in a group" if told.placement_group else "in none"

    with ThreadPoolExecutor(6) as pool:
        seen = dict(zip(types, pool.map(up_and_down, types), strict=True))
    assert seen == {
        "m7i.large": ("x86_64", "in none"),
        "m7g.large": ("arm64", "in none"),
        "c8g.large": ("arm64", "in a group"),
        "r7i.large": ("x86_64", "in none"),
        "r8g.large": ("arm64", "in a group"),
        "i8g.large": ("arm64", "in none"),
    }
    assert left(double.ec2("eu-west-1"), "six") == []


def test_no_capacity_is_told_in_ec2_s_code_and_what_was_made_goes(
    double: Double, engine: Engine, settings: Settings
) -> None:
    double.shall(
        {
            "method": "Create",
            "type": "Instance",
            "code": "InsufficientInstanceCapacity",
            "message": "We currently do not have sufficient m7i.large capacity in eu-north-1a.",
        }
    )
    with pytest.raises(EngineError, match=r"stack nocap-a: up: Instance host-al2023: creating EC2 Instance") as caught:
        engine.up("nocap-a", settings("nocap", "a"), lambda _: None)
    (failure,) = caught.value.failures
    assert failure.kind is ErrorKind.CAPACITY
    cause = caught.value.cause("launching m7i.large")
    assert isinstance(cause, CapacityError)
    assert cause.message == (
        "launching m7i.large: InsufficientInstanceCapacity: We currently do not have sufficient m7i.large capacity in "
        "eu-north-1a."
    )
    assert Counter(one.split("-")[0] for one in left(double.ec2(), "nocap")) == {"sg": 1, "host": 1}
    engine.destroy("nocap-a", lambda _: None)
    assert left(double.ec2(), "nocap") == []


def test_a_program_s_refusal_is_its_own_sentence(double: Double, engine: Engine, settings: Settings) -> None:
    with pytest.raises(EngineError, match=r"--parent-group-id") as caught:
        engine.up(
            "refused-a",
            settings("refused", "a", instance_type="c8g.large", region="eu-west-1", placement="cluster"),
            lambda _: None,
        )
    assert caught.value.cause("launching") is None
    assert "Traceback" not in str(caught.value)


def test_an_instance_that_was_made_but_is_broken_is_in_the_state(
    double: Double, engine: Engine, settings: Settings
) -> None:
    double.shall({"method": "Create", "type": "Instance", "partial": True, "message": "it never came to running"})
    with pytest.raises(EngineError, match="it never came to running"):
        engine.up("partial-a", settings("partial", "a"), lambda _: None)
    assert len(left(double.ec2(), "partial")) == 4  # firewall, key, instance, disk
    engine.destroy("partial-a", lambda _: None)
    assert left(double.ec2(), "partial") == []


def test_a_refresh_sees_what_changed_behind_its_back(double: Double, engine: Engine, settings: Settings) -> None:
    told = engine.up("drift-a", settings("drift", "a"), lambda _: None)
    double.ec2().terminate_instances(InstanceIds=[told.instance_id])
    engine.recover("drift-a")
    again = engine.up("drift-a", settings("drift", "a"), lambda _: None)
    assert again.instance_id != told.instance_id
    assert again.security_group == told.security_group
    engine.destroy("drift-a", lambda _: None)
    assert left(double.ec2(), "drift") == []


def test_past_its_deadline_an_operation_is_ended_and_its_stack_can_be_removed(
    double: Double, home: EngineHome, settings: Settings
) -> None:
    double.shall({"method": "Create", "type": "Instance", "delay_s": 4})
    hasty = Engine(home, patience=Deadlines(up_s=6, grace_s=1))
    Engine(home).prepare(lambda _: None)
    with pytest.raises(EngineError, match=r"up did not end within 6 s, and was ended"):
        hasty.up("late-a", settings("late", "a"), lambda _: None)
    time.sleep(4)  # the double's call goes on, as one that is on its way to EC2 would
    double.shall()
    engine = Engine(home)
    engine.recover("late-a")
    engine.destroy("late-a", lambda _: None)
    remove_orphans("late")
    assert left(double.ec2(), "late") == []


def remove_orphans(run: str) -> None:
    api = Api(REGION)
    resource_removal.remove(api, tagged_resources.find(api, run=run))


def test_what_is_cancelled_says_so(double: Double, engine: Engine, settings: Settings) -> None:
    double.shall({"method": "Create", "type": "Instance", "name": "cancel-a", "delay_s": 1.5})

    def begun() -> bool:
        return any("cancel-a::" in urn and "Instance" in urn for urn in double.calls("Create", "begin"))

    with pytest.raises(EngineError, match="up was cancelled") as caught:
        engine.up("cancel-a", settings("cancel", "a"), lambda _: None, cancelled=begun)
    assert caught.value.cancelled
    double.shall()
    engine.recover("cancel-a")
    engine.destroy("cancel-a", lambda _: None)
    remove_orphans("cancel")
    assert left(double.ec2(), "cancel") == []


def test_no_secret_is_in_a_file_or_an_argument(
    double: Double, home: EngineHome, engine: Engine, settings: Settings, keys: tuple[str, str]
) -> None:
    canary = keys[0].splitlines()[2]
    seen: set[str] = set()

    def look(_: str) -> None:
        seen.update(arguments())

    engine.up("secret-a", settings("secret", "a"), look)
    holding = [path for path in home.folder.rglob("*") if path.is_file() and canary in path.read_text(errors="replace")]
    assert holding == []
    assert seen
    assert not [line for line in seen if canary in line]
    assert (home.passphrase.stat().st_mode & 0o777, home.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    engine.destroy("secret-a", lambda _: None)


def arguments() -> list[str]:
    """The arguments of all processes that can be seen now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found.append((entry / "cmdline").read_text(errors="replace").replace("\0", " "))
            except OSError:
                continue
    return found
