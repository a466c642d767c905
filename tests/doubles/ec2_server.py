"""Serve moto with additions that our instances need: placement groups, client tokens, named images, and filters with
wildcards.

Run it as a program: it prints its port and serves until standard input closes. `reset` of moto's own API removes groups
and spot requests too. With `--policy`, calls that an IAM policy does not allow are refused (`iam`). By rules (`faults`)
for the method RunInstances, with an instance's type and zone for type and name, an instance is pending for `delay_s`,
then terminated with `code` for its reason, like EC2 reports problems that it finds late.
"""

import argparse
import hashlib
import json
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
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, Reservation, StateReason
from moto.ec2.responses import EC2Response
from moto.iam.models import iam_backends
from moto.server import ThreadedMotoServer
from moto.ssm.models import Parameter, SimpleSystemManagerBackend
from moto.ssm.responses import SimpleSystemManagerResponse

from tests.doubles import ec2_filters, iam, sessions, spot_requests
from tests.doubles.faults import Faults

STRATEGIES = ("cluster", "spread", "partition", "precision-time")
IMAGES = ("/aws/service/ami-amazon-linux-latest/", "/aws/service/canonical/", "/aws/service/debian/release/")


SetAttribute = Callable[[Any, str, Any], None]
"""The signature of setattr."""


def install(address: str | None = None, faults: Path | None = None, *, set_attribute: SetAttribute = setattr) -> None:
    """Extend moto's classes in this process. With an address, all instances have that public address.

    A caller's `set_attribute` can undo the changes later: all tests of a process share moto's classes.
    """
    run = _with_faults(address, Faults(faults)) if address or faults else run_instances
    replacements = {
        EC2Response: (
            create_placement_group,
            describe_placement_groups,
            delete_placement_group,
            describe_instance_types,
            describe_route_tables,
            spot_requests.describe_spot_instance_requests,
            spot_requests.cancel_spot_instance_requests,
        ),
        EC2Backend: (create_image,),
        SimpleSystemManagerBackend: (get_parameter, get_parameters),
        SimpleSystemManagerResponse: (sessions.start_session, sessions.resume_session, sessions.terminate_session),
    }
    for moto_class, actions in replacements.items():
        for action in actions:
            set_attribute(moto_class, action.__name__, action)
    set_attribute(EC2Response, "run_instances", run)
    ec2_filters.install(set_attribute)


# --- instance types ---------------------------------------------------------------------------------------------------


def describe_instance_types(response: EC2Response) -> ActionResult:
    """List instance types by pages, as EC2 does. moto lists all at once and needs ten seconds for it.

    A request has at most 100 results: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html
    """
    names, filters = response._get_param("InstanceTypes", []), response._filters_from_querystring()
    types = response.ec2_backend.describe_instance_types(names, filters)
    first, most = int(response._get_param("NextToken") or 0), int(response._get_param("MaxResults") or _MOST_TYPES)
    result: dict[str, Any] = {"InstanceTypes": types[first : first + most]}
    if first + most < len(types):
        result["NextToken"] = str(first + most)
    return ActionResult(result)


_MOST_TYPES = 100


# --- placement groups ------------------------------------------------------------------------------------------------


def placement_groups(backend: EC2Backend) -> dict[str, dict[str, Any]]:
    """Return a Region's placement groups by name. They are stored in the backend, so that a reset removes them."""
    groups: dict[str, dict[str, Any]] = backend.__dict__.setdefault("placement_groups_of_ours", {})
    return groups


def create_placement_group(self: EC2Response) -> ActionResult:
    name, strategy = self._get_param("GroupName"), self._get_param("Strategy")
    self.error_on_dryrun()
    if name in placement_groups(self.ec2_backend):
        raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    if strategy not in STRATEGIES:
        raise EC2ClientError("InvalidParameterValue", f"Value ({strategy}) for parameter strategy is invalid.")
    tags = self._parse_tag_specification("placement-group").get("placement-group", {})
    group = {
        "GroupName": name,
        "State": "available",
        "Strategy": strategy,
        "GroupId": "pg-" + hashlib.sha256(name.encode()).hexdigest()[:17],
        "ParentGroupId": self._get_param("ParentGroupId"),
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    placement_groups(self.ec2_backend)[name] = group
    return ActionResult({"PlacementGroup": group})


def describe_placement_groups(self: EC2Response) -> ActionResult:
    names, ids = self._get_param("GroupNames", []), self._get_param("GroupIds", [])
    existing = placement_groups(self.ec2_backend)
    for name in names:
        if name not in existing:
            raise _unknown(name)
    filters: dict[str, Any] = self._filters_from_querystring()
    selected = [
        each
        for each in existing.values()
        if (not names or each["GroupName"] in names)
        and (not ids or each["GroupId"] in ids)
        and all(_matches(each, name, values) for name, values in filters.items())
    ]
    return ActionResult({"PlacementGroups": selected})


def delete_placement_group(self: EC2Response) -> ActionResult:
    name = self._get_param("GroupName")
    self.error_on_dryrun()
    if name not in placement_groups(self.ec2_backend):
        raise _unknown(name)
    if any(
        each.placement.group_name == name and each.state != "terminated" for each in list_instances(self.ec2_backend)
    ):
        raise EC2ClientError("InvalidPlacementGroup.InUse", f"The placement group '{name}' is in use.")
    del placement_groups(self.ec2_backend)[name]
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
    field_names = {"group-name": "GroupName", "strategy": "Strategy", "state": "State", "group-id": "GroupId"}
    return ec2_filters.any_matches([group[field_names[name]]], values)


# --- instances -------------------------------------------------------------------------------------------------------

_run_instances = EC2Response.run_instances


def run_instances(self: EC2Response) -> ActionResult:
    """Extend moto's: a repeated client token gives the same instance; group and instance profile must exist."""
    token, group = self._get_param("ClientToken"), self._get_param("Placement.GroupName")
    earlier = [each for each in _reservations(self.ec2_backend) if token and each.instances[0].client_token == token]
    if earlier:
        return ActionResult(earlier[0])
    if group and group not in placement_groups(self.ec2_backend):
        raise _unknown(group)
    if group:
        _check_strategy(placement_groups(self.ec2_backend)[group]["Strategy"], self._get_param("InstanceType"))
    _check_profile(self)
    answer = _run_instances(self)
    for each in answer.result.instances:  # type: ignore[attr-defined]
        each.placement.group_name = group or ""
        if self._get_param("InstanceMarketOptions.MarketType"):
            spot_requests.open_request(self.ec2_backend, each, self)
    return answer


def _check_strategy(strategy: str, instance_type: str) -> None:
    """Refuse a type without a clock in a precision-time group. EC2 may do so: no source says that it does not."""
    if strategy == "precision-time" and INSTANCE_TYPES.get(instance_type, {}).get("PhcSupport") == "unsupported":
        raise EC2ClientError(
            "InvalidParameterCombination", f"Instance type {instance_type} does not support precision-time placement."
        )


def _check_profile(self: EC2Response) -> None:
    """Refuse an instance profile as EC2 does, also by DryRun: one that does not exist, and one without a role."""
    name = self._get_param("IamInstanceProfile.Name")
    if not name:
        return
    profiles = iam_backends[self.current_account][self.partition].instance_profiles.values()
    profile = next((each for each in profiles if each.name == name), None)
    if profile is None:
        words = f"Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
        raise EC2ClientError("InvalidParameterValue", words)
    if not profile.roles:
        raise EC2ClientError(
            "InvalidParameterValue", f'IAM Instance Profile "{profile.arn}" has no associated IAM Roles'
        )


def _with_faults(address: str | None, faults: Faults) -> Any:
    """Return run_instances with the given public address, and with faults that end pending instances."""

    def run_instances_with_faults(self: EC2Response) -> ActionResult:
        answer = run_instances(self)
        for each in answer.result.instances:  # type: ignore[attr-defined]
            each.nics[0].public_ip = address or each.nics[0].public_ip
            fault = faults.next_fault("RunInstances", str(each.instance_type), str(each.placement.zone))
            if fault.code:
                show(each, "pending")
                reason = StateReason(f"{fault.code}: {fault.message}", fault.code)
                threading.Timer(fault.delay_s, _fail_pending, (each, reason)).start()
        return answer

    return run_instances_with_faults


def _fail_pending(instance: Instance, reason: StateReason) -> None:
    if instance.state == "pending":
        instance.terminate()
        instance.state_reason = reason


def show(instance: Instance, state: str) -> None:
    """Set the state in which an instance is reported."""
    instance._state.name, instance._state.code = state, _CODES[state]


_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}


def _reservations(backend: EC2Backend) -> list[Reservation]:
    return [each for each in backend.reservations.values() if each.instances]


def list_instances(backend: EC2Backend) -> list[Instance]:
    return [instance for each in _reservations(backend) for instance in each.instances]


# --- images of instances ----------------------------------------------------------------------------------------------

_create_image = EC2Backend.create_image


def create_image(
    self: EC2Backend, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Ami:
    """Extend moto's: names are unique, and the snapshot gets its tags, the image its root device."""
    if any(each.name == name for each in self.amis.values()):
        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
    by_kind = {each["ResourceType"]: each["Tags"] for each in tag_specifications}
    image_tags = [{"ResourceType": "image", "Tags": by_kind.get("image", [])}]
    image = _create_image(self, instance_id, name, description, image_tags)
    for tag in by_kind.get("snapshot", []):
        image.ebs_snapshot.add_tag(tag["Key"], tag["Value"])
    image.root_device_name, image.root_device_type = "/dev/xvda", "ebs"
    return image


# --- the default network ---------------------------------------------------------------------------------------------

_describe_route_tables = EC2Response.describe_route_tables


def describe_route_tables(self: EC2Response) -> Any:
    """Extend moto's: the default network has a route to the internet, as in every account."""
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
    """Extend moto's: the images' public parameters exist in every Region, each with an image."""
    _publish(self, name)
    return _get_parameter(self, name)


def get_parameters(self: SimpleSystemManagerBackend, names: list[str]) -> dict[str, Parameter]:
    for name in names:
        _publish(self, name)
    return _get_parameters(self, names)


def _image_name(parameter: str) -> str:
    """Name a public parameter's image as its publisher does, without the date: ubuntu-24.04-amd64-server."""
    *_, last = words = parameter.split("/")
    if "canonical" in words:
        return f"ubuntu/images/hvm-ssd/ubuntu-{words[6]}-{words[9]}-server"
    return f"debian-{words[5]}-{last}" if "debian" in words else last


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
        name=_image_name(name),
        architecture=architecture,
        public=True,
        virtualization_type="hvm",
        root_device_name="/dev/xvda",
        root_device_type="ebs",
        region_name=self.region_name,
    )
    self._parameters[name].append(
        Parameter(  # type: ignore[abstract]  # as moto creates it
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


def install_policy(policy: Path | None, log: Path | None = None) -> None:
    """Refuse what the policy does not allow, if there is one."""
    if policy is not None:
        iam.install(iam.PolicyEvaluator(json.loads(policy.read_text())), iam.write_to(log) if log else None)


def main() -> None:
    """Serve on 127.0.0.1. Standard output holds only the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", help="the public address of all instances; by default moto invents them")
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--policy", type=Path, help="an IAM policy that all calls need")
    parser.add_argument("--iam-log", type=Path, help="where each call and its requests to IAM are written")
    options = parser.parse_args()
    install(options.address, options.faults)
    install_policy(options.policy, options.iam_log)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", options.port, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()  # until the parent process closes it
    server.stop()


if __name__ == "__main__":
    main()
