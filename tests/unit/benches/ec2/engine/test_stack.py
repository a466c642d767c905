"""What a stack is told, and how its answer is read."""

from dataclasses import replace

import pytest

from harness.benches.bench import BenchError
from harness.benches.ec2.engine.stack import ConfigValue, StackOutputs, StackSettings
from harness.model.ec2_enums import Access, Market

SETTINGS = StackSettings(
    instance_type="m7i.large",
    region="eu-north-1",
    zone=None,
    subnet=None,
    image="ami-0123456789abcdef0",
    placement="auto",
    access=Access.SSH,
    controller_cidr="192.0.2.7/32",
    public_key="ssh-ed25519 AAAA controller",
    host_key="-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n",
    market=Market.ON_DEMAND,
    lease_s=7201,
    expires="2026-11-21T14:05:00+00:00",
    run="k3f9",
    host="m7i.large",
    token="k3f9/m7i.large/1",
    owner="ada",
    volume_gib=12,
    resource_name="ptp-harness-k3f9-m7i.large-1-0a1b2c3d-0123456789abcdef01234567",
)

OUTPUTS = {
    "instanceId": "i-0a1b",
    "address": "198.51.100.4",
    "zone": "eu-north-1b",
    "image": "ami-0123456789abcdef0",
    "architecture": "x86_64",
    "user": "ec2-user",
    "placementGroup": "ptp-1f2e",
    "securityGroup": "sg-0c3d",
    "inventory": "[ec2]\n",
}


def test_settings_become_configuration_with_full_keys() -> None:
    assert SETTINGS.config() == {
        "aws:region": ConfigValue(value="eu-north-1"),
        "ptp-harness:instanceType": ConfigValue(value="m7i.large"),
        "ptp-harness:image": ConfigValue(value="ami-0123456789abcdef0"),
        "ptp-harness:placement": ConfigValue(value="auto"),
        "ptp-harness:access": ConfigValue(value="ssh"),
        "ptp-harness:controllerCidr": ConfigValue(value="192.0.2.7/32"),
        "ptp-harness:publicKey": ConfigValue(value="ssh-ed25519 AAAA controller"),
        "ptp-harness:hostKey": ConfigValue(value=SETTINGS.host_key, secret=True),
        "ptp-harness:market": ConfigValue(value="on-demand"),
        "ptp-harness:leaseMinutes": ConfigValue(value="121"),
        "ptp-harness:expires": ConfigValue(value="2026-11-21T14:05:00+00:00"),
        "ptp-harness:run": ConfigValue(value="k3f9"),
        "ptp-harness:host": ConfigValue(value="m7i.large"),
        "ptp-harness:token": ConfigValue(value="k3f9/m7i.large/1"),
        "ptp-harness:owner": ConfigValue(value="ada"),
        "ptp-harness:volumeGib": ConfigValue(value="12"),
        "ptp-harness:resourceName": ConfigValue(value=SETTINGS.resource_name or ""),
    }


def test_a_place_that_is_known_is_told() -> None:
    told = replace(SETTINGS, zone="eu-north-1c", subnet="subnet-0e4f").config()
    assert (told["ptp-harness:zone"].value, told["ptp-harness:subnetId"].value) == ("eu-north-1c", "subnet-0e4f")


def test_the_host_s_private_key_is_the_only_secret_and_shows_in_no_text() -> None:
    assert [key for key, value in SETTINGS.config().items() if value.secret] == ["ptp-harness:hostKey"]
    assert "canary" not in f"{SETTINGS!r} {SETTINGS} {SETTINGS.config()!r}"


@pytest.mark.parametrize(("lease_s", "minutes"), [(0.5, "1"), (59.0, "1"), (60.0, "1"), (60.1, "2"), (7200.0, "120")])
def test_a_lease_is_never_cut_short(lease_s: float, minutes: str) -> None:
    assert replace(SETTINGS, lease_s=lease_s).config()["ptp-harness:leaseMinutes"].value == minutes


def test_outputs_are_read_and_others_are_ignored() -> None:
    assert StackOutputs.of("k3f9-m7i.large", OUTPUTS) == StackOutputs(
        instance_id="i-0a1b",
        address="198.51.100.4",
        zone="eu-north-1b",
        image="ami-0123456789abcdef0",
        architecture="x86_64",
        user="ec2-user",
        placement_group="ptp-1f2e",
        security_group="sg-0c3d",
    )


@pytest.mark.parametrize("absent", [None, ""])
def test_a_host_without_group_or_firewall_has_none(absent: str | None) -> None:
    told = StackOutputs.of("s", {**OUTPUTS, "placementGroup": absent, "securityGroup": absent})
    assert (told.placement_group, told.security_group) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"), [("address", None), ("address", ""), ("instanceId", 7), ("securityGroup", ["sg-1"])]
)
def test_other_outputs_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BenchError, match=f"stack s: its outputs do not describe the host: {name}="):
        StackOutputs.of("s", {**OUTPUTS, name: value})


def test_an_empty_stack_is_refused() -> None:
    with pytest.raises(BenchError, match="instanceId=None, address=None"):
        StackOutputs.of("s", {})
