"""moto's server, and what it does not model but our instances need: placement groups, client tokens, named images,
and filters with wildcards.

Run it as a program: it prints its port and serves until it is ended. `reset` of moto's own API forgets groups too.
By rules (`faults`) for the method RunInstances, with an instance's type and zone for type and name, an instance is
pending for `delay_s` and then terminated with `code` for its reason: how EC2 tells what it finds out late.
"""

import argparse
import hashlib
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance, Reservation, StateReason
from moto.ec2.responses import EC2Response
from moto.server import ThreadedMotoServer
from moto.ssm.models import Parameter, SimpleSystemManagerBackend

from tests.doubles import ec2_filters
from tests.doubles.faults import Faults

STRATEGIES = ("cluster", "spread", "partition", "precision-time")
IMAGES = ("/aws/service/ami-amazon-linux-latest/", "/aws/service/canonical/", "/aws/service/debian/release/")


Put = Callable[[Any, str, Any], None]
"""As setattr."""


def install(address: str | None = None, faults: Path | None = None, *, put: Put = setattr) -> None:
    """Teach moto, in this process, what it lacks. All instances have that public address, where one is given.

    Who puts the lessons where they belong can take them back: moto's classes are those of every test.
    """
    run = _fated(address, Faults(faults)) if address or faults else run_instances
    lessons = {
        EC2Response: (create_placement_group, describe_placement_groups, delete_placement_group, describe_route_tables),
        EC2Backend: (create_image,),
        SimpleSystemManagerBackend: (get_parameter, get_parameters),
    }
    for pupil, actions in lessons.items():
        for action in actions:
            put(pupil, action.__name__, action)
    put(EC2Response, "run_instances", run)
    ec2_filters.install(put)


# --- placement groups ------------------------------------------------------------------------------------------------


def groups(backend: EC2Backend) -> dict[str, dict[str, Any]]:
    """A Region's placement groups by name. They stand in the backend, so that a reset forgets them."""
    found: dict[str, dict[str, Any]] = backend.__dict__.setdefault("placement_groups_of_ours", {})
    return found


def create_placement_group(self: EC2Response) -> ActionResult:
    name, strategy = self._get_param("GroupName"), self._get_param("Strategy")
    self.error_on_dryrun()
    if name in groups(self.ec2_backend):
        raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    if strategy not in STRATEGIES:
        raise EC2ClientError("InvalidParameterValue", f"Value ({strategy}) for parameter strategy is invalid.")
    tags = self._parse_tag_specification("placement-group").get("placement-group", {})
    made = {
        "GroupName": name,
        "State": "available",
        "Strategy": strategy,
        "GroupId": "pg-" + hashlib.sha256(name.encode()).hexdigest()[:17],
        "ParentGroupId": self._get_param("ParentGroupId"),
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    groups(self.ec2_backend)[name] = made
    return ActionResult({"PlacementGroup": made})


def describe_placement_groups(self: EC2Response) -> ActionResult:
    names, ids = self._get_param("GroupNames", []), self._get_param("GroupIds", [])
    known = groups(self.ec2_backend)
    for name in names:
        if name not in known:
            raise _unknown(name)
    filters: dict[str, Any] = self._filters_from_querystring()
    found = [
        each
        for each in known.values()
        if (not names or each["GroupName"] in names)
        and (not ids or each["GroupId"] in ids)
        and all(_matches(each, name, values) for name, values in filters.items())
    ]
    return ActionResult({"PlacementGroups": found})


def delete_placement_group(self: EC2Response) -> ActionResult:
    name = self._get_param("GroupName")
    self.error_on_dryrun()
    if name not in groups(self.ec2_backend):
        raise _unknown(name)
    if any(each.placement.group_name == name and each.state != "terminated" for each in _instances(self.ec2_backend)):
        raise EC2ClientError("InvalidPlacementGroup.InUse", f"The placement group '{name}' is in use.")
    del groups(self.ec2_backend)[name]
    return ActionResult({})


def _unknown(name: str) -> EC2ClientError:
    return EC2ClientError("InvalidPlacementGroup.Unknown", f"The placement group '{name}' is unknown.")


def _matches(group: dict[str, Any], name: str, values: list[str]) -> bool:
    tags = {each["Key"]: each["Value"] for each in group["Tags"]}
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return key in tags and ec2_filters.any_matches([tags[key]], values)
    if name == "tag-key":
        return ec2_filters.any_matches(tags, values)
    own = {"group-name": "GroupName", "strategy": "Strategy", "state": "State", "group-id": "GroupId"}
    return ec2_filters.any_matches([group[own[name]]], values)


# --- instances -------------------------------------------------------------------------------------------------------

_run_instances = EC2Response.run_instances


def run_instances(self: EC2Response) -> ActionResult:
    """As moto's; a client token that was seen gives the same instance, a placement group has to exist."""
    token, group = self._get_param("ClientToken"), self._get_param("Placement.GroupName")
    again = [each for each in _reservations(self.ec2_backend) if token and each.instances[0].client_token == token]
    if again:
        return ActionResult(again[0])
    if group and group not in groups(self.ec2_backend):
        raise _unknown(group)
    answer = _run_instances(self)
    for each in answer.result.instances:  # type: ignore[attr-defined]
        each.placement.group_name = group or ""
    return answer


def _fated(address: str | None, faults: Faults) -> Any:
    """The same, of instances at an address, some of which come to nothing."""

    def fated(self: EC2Response) -> ActionResult:
        answer = run_instances(self)
        for each in answer.result.instances:  # type: ignore[attr-defined]
            each.nics[0].public_ip = address or each.nics[0].public_ip
            fault = faults.of("RunInstances", str(each.instance_type), str(each.placement.zone))
            if fault.code:
                show(each, "pending")
                reason = StateReason(f"{fault.code}: {fault.message}", fault.code)
                threading.Timer(fault.delay_s, _come_to_nothing, (each, reason)).start()
        return answer

    return fated


def _come_to_nothing(instance: Instance, reason: StateReason) -> None:
    if instance.state == "pending":
        instance.terminate()
        instance.state_reason = reason


def show(instance: Instance, state: str) -> None:
    """Let an instance be seen in that state."""
    instance._state.name, instance._state.code = state, _CODES[state]


_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}


def _reservations(backend: EC2Backend) -> list[Reservation]:
    return [each for each in backend.reservations.values() if each.instances]


def _instances(backend: EC2Backend) -> list[Instance]:
    return [instance for each in _reservations(backend) for instance in each.instances]


# --- images of instances ----------------------------------------------------------------------------------------------

_create_image = EC2Backend.create_image


def create_image(
    self: EC2Backend, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Ami:
    """As moto's; a name is given once, and the snapshot gets its tags, its root device and its volume's size too."""
    if any(each.name == name for each in self.amis.values()):
        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
    by_kind = {each["ResourceType"]: each["Tags"] for each in tag_specifications}
    ours = [{"ResourceType": "image", "Tags": by_kind.get("image", [])}]
    made = _create_image(self, instance_id, name, description, ours)
    for tag in by_kind.get("snapshot", []):
        made.ebs_snapshot.add_tag(tag["Key"], tag["Value"])
    made.root_device_name, made.root_device_type = "/dev/xvda", "ebs"
    return made


# --- the default network ---------------------------------------------------------------------------------------------

_describe_route_tables = EC2Response.describe_route_tables


def describe_route_tables(self: EC2Response) -> Any:
    """As moto's; the default network leads to the internet, as it does in every account."""
    backend = self.ec2_backend
    vpc = next((each for each in backend.vpcs.values() if each.is_default), None)
    if vpc is not None and not any(each.vpc is vpc for each in backend.internet_gateways.values()):
        gateway = backend.create_internet_gateway()
        backend.attach_internet_gateway(gateway.id, vpc.id)
        main = next(each for each in backend.route_tables.values() if each.vpc_id == vpc.id)
        backend.create_route(main.id, "0.0.0.0/0", None, gateway_id=gateway.id)
    return _describe_route_tables(self)


# --- named images ----------------------------------------------------------------------------------------------------

_get_parameter = SimpleSystemManagerBackend.get_parameter
_get_parameters = SimpleSystemManagerBackend.get_parameters


def get_parameter(self: SimpleSystemManagerBackend, name: str) -> Parameter | None:
    """As moto's; the images' public parameters are there in every Region, with an image behind each."""
    _publish(self, name)
    return _get_parameter(self, name)


def get_parameters(self: SimpleSystemManagerBackend, names: list[str]) -> dict[str, Parameter]:
    for name in names:
        _publish(self, name)
    return _get_parameters(self, names)


def _publish(self: SimpleSystemManagerBackend, name: str) -> None:
    if not name.startswith(IMAGES) or name in self._parameters:
        return
    from moto.ec2.models import ec2_backends

    ami = "ami-" + hashlib.sha256(f"{self.region_name}{name}".encode()).hexdigest()[:17]
    architecture = "arm64" if "arm64" in name else "x86_64"
    backend = ec2_backends[self.account_id][self.region_name]
    backend.amis[ami] = Ami(
        backend,
        ami,
        name=name.rpartition("/")[2],
        architecture=architecture,
        public=True,
        virtualization_type="hvm",
        root_device_name="/dev/xvda",
        root_device_type="ebs",
        region_name=self.region_name,
    )
    self._parameters[name].append(
        Parameter(  # type: ignore[abstract]  # as moto makes it
            account_id=self.account_id,
            name=name,
            value=ami,
            parameter_type="String",
            description="",
            allowed_pattern=None,
            keyid=None,
            last_modified_date=backend.amis[ami].creation_date,
            version=1,
            data_type="aws:ec2:image",
        )
    )


def main() -> None:
    """Serve on 127.0.0.1. The port is the only word on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", help="the public address of all instances; moto makes them up")
    parser.add_argument("--faults", type=Path)
    asked = parser.parse_args()
    install(asked.address, asked.faults)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", asked.port, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()  # until whoever started us closes it
    server.stop()


if __name__ == "__main__":
    main()
