"""The program asserted from the record of what it registered."""

import json
import re
import tomllib
from typing import Any

import pulumi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.benches.ec2.engine.stack import OUTPUTS, StackOutputs, StackSettings
from harness.model.ec2 import needs_precision_group
from harness.model.ec2_enums import Access, Market

from .conftest import ROOT, Program, Record, Registered, is_secret

INSTANCE = "aws:ec2/instance:Instance"
FIREWALL = "aws:ec2/securityGroup:SecurityGroup"
KEY = "aws:ec2/keyPair:KeyPair"
PLACEMENT = "aws:ec2/placementGroup:PlacementGroup"
COMPONENT = "ptp:infra:PrecisionHost"

TAGS = {
    "Name": "ptp-harness k3f9-m7i.large",
    "ptp-harness:run": "by-hand",
    "ptp-harness:host": "k3f9-m7i.large",
    "ptp-harness:token": "by-hand/k3f9-m7i.large/1",
    "ptp-harness:owner": "ada",
    "ptp-harness:expires": "2026-11-21T14:05:00+00:00",
}


def test_a_host_in_a_legacy_region_is_a_firewall_a_key_and_an_instance(run_program: Program) -> None:
    record = run_program()
    made = [(each.type, each.name) for each in record.resources]
    assert (made[0], made[-1]) == ((COMPONENT, "host"), (INSTANCE, "host-al2023"))
    assert sorted(made[1:-1]) == [(KEY, "host-key"), (FIREWALL, "host-firewall")]  # registered in either order
    assert record.one(FIREWALL).inputs == {
        "description": "ptp-harness: SSH from its controller, nothing else",
        "ingress": [
            {
                "protocol": "tcp",
                "fromPort": 22,
                "toPort": 22,
                "cidrBlocks": ["192.0.2.7/32"],
                "description": "SSH from the controller",
            }
        ],
        "egress": [
            {"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"], "ipv6CidrBlocks": ["::/0"]}
        ],
        "tags": TAGS,
    }
    assert record.one(KEY).inputs == {"publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 controller", "tags": TAGS}
    instance = {name: value for name, value in record.one(INSTANCE).inputs.items() if name != "userData"}
    assert instance == {
        "instanceType": "m7i.large",
        "ami": "ami-0abc",
        "keyName": "host-key-1f2e",
        "vpcSecurityGroupIds": ["host-firewall-id"],
        "metadataOptions": {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1},
        "rootBlockDevice": {
            "encrypted": True,
            "volumeType": "gp3",
            "volumeSize": 12,
            "deleteOnTermination": True,
        },
        "volumeTags": TAGS,
        "instanceInitiatedShutdownBehavior": "terminate",
        "tags": TAGS,
    }


@pytest.mark.parametrize(
    ("instance_type", "runs", "ends"), [("m7i.large", "10m", "15m"), ("m7i.metal-24xl", "30m", "40m")]
)
def test_the_provider_waits_for_bare_metal(run_program: Program, instance_type: str, runs: str, ends: str) -> None:
    instance = run_program(instanceType=instance_type).one(INSTANCE)
    assert instance.timeouts == {"create": runs, "update": runs, "delete": ends}


@pytest.mark.parametrize(("instance_type", "groups"), [("c8g.large", 1), ("t3.micro", 0)])
def test_a_type_without_a_clock_gets_no_precision_time_group(
    run_program: Program, instance_type: str, groups: int
) -> None:
    record = run_program(region="eu-west-1", instanceType=instance_type)
    assert [each.type for each in record.resources].count(PLACEMENT) == groups


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.1.0.0/16", ["10.1.0.0/16"]),
        ("192.0.2.7/32, 198.51.100.0/24,192.0.2.7/32", ["192.0.2.7/32", "198.51.100.0/24"]),
    ],
)
def test_ssh_is_admitted_from_each_network_once(run_program: Program, text: str, networks: list[str]) -> None:
    (rule,) = run_program(controllerCidr=text).one(FIREWALL).inputs["ingress"]
    assert rule["cidrBlocks"] == networks


def test_outputs_are_what_the_harness_and_ansible_read(run_program: Program) -> None:
    record = run_program(host="m7i.large")
    assert StackOutputs.of("s", record.outputs) == StackOutputs(
        instance_id="host-al2023-id",
        address="198.51.100.4",
        zone="eu-north-1a",
        image="ami-0abc",
        architecture="x86_64",
        user="ec2-user",
        placement_group=None,
        security_group="host-firewall-id",
    )
    assert record.outputs["inventory"] == (
        "all:\n  hosts:\n    m7i.large:\n      ansible_host: 198.51.100.4\n      ansible_user: ec2-user\n"
    )
    assert record.outputs["knownHosts"].startswith("198.51.100.4 ssh-ed25519 AAAA")


@pytest.mark.parametrize(
    ("region", "given", "strategy", "group"),
    [
        ("eu-north-1", {}, None, None),
        ("eu-west-1", {}, None, None),
        ("eu-west-1", {"instanceType": "c8g.large"}, "precision-time", "host-placement-1f2e"),
        ("eu-west-1", {"instanceType": "c8g.large", "placement": "none"}, None, None),
        ("eu-north-1", {"placement": "precision-time"}, "precision-time", "host-placement-1f2e"),
        ("eu-north-1", {"placement": "cluster"}, "cluster", "host-placement-1f2e"),
        ("eu-west-1", {"instanceType": "c8g.large", "placement": "group:racks"}, None, "racks"),
    ],
)
def test_the_placement_group(
    run_program: Program, region: str, given: dict[str, str], strategy: str | None, group: str | None
) -> None:
    record = run_program(region=region, **given)
    assert [each.inputs["strategy"] for each in record.of(PLACEMENT)] == ([strategy] if strategy else [])
    assert record.one(INSTANCE).inputs.get("placementGroup") == group
    assert record.outputs.get("placementGroup") == group


def test_a_name_that_is_given_is_that_of_all_that_has_a_name(run_program: Program) -> None:
    record = run_program(region="eu-west-1", instanceType="c8g.large", resourceName="ptp-harness-k3f9-signed")
    named = {FIREWALL: "name", KEY: "keyName", PLACEMENT: "name"}
    assert {record.one(kind).inputs.get(word) for kind, word in named.items()} == {"ptp-harness-k3f9-signed"}
    assert all(word not in run_program().one(kind).inputs for kind, word in named.items() if kind != PLACEMENT)


def test_a_cluster_that_would_hide_the_clock_is_refused(run_program: Program) -> None:
    with pytest.raises(pulumi.RunError, match="--parent-group-id"):
        run_program(region="eu-west-1", instanceType="c8g.large", placement="cluster")


@pytest.mark.parametrize(
    ("image", "instance_type", "parameter", "user"),
    [
        ("al2023", "m7i.large", "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64", "ec2-user"),
        ("al2023", "m7g.large", "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64", "ec2-user"),
        ("debian-12", "m7i.large", "/aws/service/debian/release/12/latest/amd64", "admin"),
        ("debian-13", "m7g.large", "/aws/service/debian/release/13/latest/arm64", "admin"),
        (
            "ubuntu-22.04",
            "m7i.large",
            "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
            "ubuntu",
        ),
        (
            "ubuntu-24.04",
            "m7g.large",
            "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id",
            "ubuntu",
        ),
    ],
)
def test_a_named_image_is_found_by_its_parameter_and_kept(
    run_program: Program, image: str, instance_type: str, parameter: str, user: str
) -> None:
    record = run_program(image=image, instanceType=instance_type)
    assert ("aws:ssm/getParameter:getParameter", {"name": parameter}) in record.calls
    assert record.outputs["user"] == user
    assert record.one(INSTANCE).name == f"host-{image}"
    assert record.one(INSTANCE).ignored == ["userData", "ami"]


def test_another_type_makes_another_instance_and_never_restarts_the_old_one(run_program: Program) -> None:
    assert run_program().one(INSTANCE).replacing == ["instanceType"]


def test_an_image_by_id_is_taken_as_it_is(run_program: Program) -> None:
    record = run_program(image="ami-0123456789abcdef0", user="rocky")
    assert [token for token, _ in record.calls] == ["aws:ec2/getInstanceType:getInstanceType"]
    assert record.one(INSTANCE).inputs["ami"] == "ami-0123456789abcdef0"
    assert (record.one(INSTANCE).name, record.one(INSTANCE).ignored) == ("host", ["userData"])
    assert record.outputs["user"] == "rocky"


def test_an_expiry_by_default_is_of_the_first_up(run_program: Program) -> None:
    record = run_program(expires="")
    expiry = '["ptp-harness:expires"]'
    assert record.one(FIREWALL).ignored == record.one(KEY).ignored == [f"tags{expiry}"]
    assert record.one(INSTANCE).ignored == [f"tags{expiry}", f"volumeTags{expiry}", "userData", "ami"]


def test_a_subnet_brings_its_vpc(run_program: Program) -> None:
    record = run_program(subnetId="subnet-0e4f", zone="eu-north-1c")
    assert record.one(FIREWALL).inputs["vpcId"] == "vpc-of-subnet-0e4f"
    assert record.one(INSTANCE).inputs["subnetId"] == "subnet-0e4f"
    assert record.outputs["zone"] == "eu-north-1c"


def test_nobody_may_connect_where_session_manager_is_the_way_in(run_program: Program) -> None:
    record = run_program(access="ssm", controllerCidr="", instanceProfile="ssm-core")
    assert record.one(FIREWALL).inputs["ingress"] == []
    assert record.one(INSTANCE).inputs["iamInstanceProfile"] == "ssm-core"


def test_a_spot_instance_is_asked_for_once_and_ends_when_it_is_interrupted(run_program: Program) -> None:
    assert run_program(market="spot").one(INSTANCE).inputs["instanceMarketOptions"] == {
        "marketType": "spot",
        "spotOptions": {"spotInstanceType": "one-time", "instanceInterruptionBehavior": "terminate"},
    }


def test_user_data_is_a_secret_with_the_key_and_the_lease(run_program: Program, host_key: str) -> None:
    instance = run_program(leaseMinutes="90").one(INSTANCE)
    assert is_secret(instance.inputs["userData"])
    told = json.loads(instance.open("userData").removeprefix("#cloud-config\n"))
    assert told["ssh_keys"]["ed25519_private"] == host_key
    assert "--on-active=$left" in told["bootcmd"][0][2]
    assert "5400" in told["bootcmd"][0][2]


def test_what_the_harness_tells_is_what_the_program_reads(run_program: Program, complete: dict[str, str]) -> None:
    told = StackSettings(
        instance_type="c8g.large",
        region="eu-west-1",
        zone="eu-west-1b",
        subnet="subnet-0e4f",
        image="ami-0123456789abcdef0",
        placement="auto",
        access=Access.SSH,
        controller_cidr="192.0.2.7/32",
        public_key=complete["publicKey"],
        host_key=complete["hostKey"],
        market=Market.SPOT,
        lease_s=3600,
        expires="2026-11-21T14:05:00+00:00",
        run="k3f9",
        host="c8g.large",
        token="k3f9/c8g.large/2",
        owner="ada",
        volume_gib=20,
        user="admin",
    ).config()
    ours = {key.removeprefix("ptp-harness:"): one.value for key, one in told.items() if key.startswith("ptp-harness:")}
    record = run_program(region=told["aws:region"].value, **ours)
    assert record.one(INSTANCE).inputs["tags"]["ptp-harness:token"] == "k3f9/c8g.large/2"
    assert record.one(INSTANCE).inputs["rootBlockDevice"]["volumeSize"] == 20
    assert StackOutputs.of("s", record.outputs).user == "admin"
    assert set(OUTPUTS) <= set(record.outputs)


FAMILIES = ["m7i", "m7g", "c8g", "r8i", "i8ge", "m7i-flex", "u-12tb1"]
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "instanceType": st.builds("{}.{}".format, st.sampled_from(FAMILIES), st.sampled_from(["large", "metal-24xl"])),
        "image": st.sampled_from(["al2023", "debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04", "ami-0aa"]),
        "placement": st.sampled_from(["auto", "none", "precision-time", "group:racks"]),
        "zone": st.sampled_from(["", "eu-west-1b"]),
        "subnetId": st.sampled_from(["", "subnet-0e4f"]),
        "access": st.sampled_from(["ssh", "ssm"]),
        "controllerCidr": st.ip_addresses(v=4).map("{}/32".format),
        "market": st.sampled_from(["on-demand", "spot"]),
        "volumeGib": st.integers(8, 500).map(str),
        "leaseMinutes": st.integers(1, 43200).map(str),
        "expires": st.sampled_from(["", "2026-11-21T14:05:00+00:00"]),
        "run": st.sampled_from(["k3f9", "by-hand"]),
        "host": st.sampled_from(["", "m7i.large-2"]),
        "owner": st.text(st.sampled_from("abc @._-"), max_size=20),
    },
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_settings=SETTINGS, region=st.sampled_from(["eu-north-1", "eu-west-1", "us-west-2"]))
def test_whatever_is_asked_for(
    run_program: Program, complete: dict[str, str], given_settings: dict[str, str], region: str
) -> None:
    record = run_program(region=region, **given_settings)
    asked = {"instanceType": "m7i.large", "placement": "auto", **given_settings}

    for each in record.resources:
        if each.type != COMPONENT:
            assert each.parent.endswith("ptp:infra:PrecisionHost::host")
            assert_tagged(each.inputs["tags"])
    instance = record.one(INSTANCE)
    assert_tagged(instance.inputs["volumeTags"])
    assert instance.inputs["metadataOptions"]["httpTokens"] == "required"
    assert instance.inputs["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert instance.inputs["rootBlockDevice"]["encrypted"] is True
    assert instance.inputs["instanceInitiatedShutdownBehavior"] == "terminate"

    for rule in record.one(FIREWALL).inputs["ingress"]:
        assert rule["cidrBlocks"] == [given_settings.get("controllerCidr", complete["controllerCidr"])]
        assert rule["cidrBlocks"][0].endswith("/32")
        assert not rule.keys() & {"ipv6CidrBlocks", "prefixListIds", "securityGroups", "self"}
    needed = needs_precision_group(region, asked["instanceType"]) and asked["placement"] == "auto"
    assert bool(record.of(PLACEMENT)) is (needed or asked["placement"] == "precision-time")
    assert_no_secret_in_the_open(record, complete["hostKey"])


def assert_tagged(tags: dict[str, str]) -> None:
    assert set(tags) == set(TAGS)
    assert all(tags.values())


def assert_no_secret_in_the_open(record: Record, secret: str) -> None:
    """No line of the private key stands in an input or an output that is not a Pulumi secret."""
    lines = [line for line in secret.splitlines() if "-----" not in line]
    shown = json.dumps([[without_secrets(each.inputs) for each in record.resources], without_secrets(record.outputs)])
    assert not [line for line in lines[1:] if line in shown]
    assert any(is_secret(each.inputs.get("userData")) for each in record.resources)


def without_secrets(value: Any) -> Any:
    if is_secret(value):
        return None
    if isinstance(value, dict):
        return {key: without_secrets(each) for key, each in value.items()}
    return [without_secrets(each) for each in value] if isinstance(value, list) else value


def test_a_secret_in_the_open_is_found(host_key: str) -> None:
    leaking = Registered("t", "n", "", {"userData": host_key}, [], [])
    with pytest.raises(AssertionError):
        assert_no_secret_in_the_open(Record(resources=[leaking]), host_key)


def test_no_plugin_is_older_than_the_locked_one() -> None:
    """The plugin checks a group's strategy against its own list, which has precision-time since July 2026."""
    locked = re.search(r"^pulumi-aws==(\d+\.\d+)\.", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    assert locked is not None
    wanted = f"pulumi-aws>={locked[1]},<8"
    assert wanted in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert wanted in (ROOT / "infra/requirements.txt").read_text().splitlines()
