"""State what IAM is asked when a call reaches AWS: actions on resources, with the keys that conditions may read.

Source: "Actions, resources, and condition keys for Amazon EC2" (and Systems Manager, IAM) of the Service Authorization
Reference, and "Grant permission to tag resources during creation" of EC2's user guide: tags of a launch request are a
CreateTags of their own, whose key ec2:CreateAction names the call. A call is allowed if all its requests are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Tags = Mapping[str, str]
Context = dict[str, str | Sequence[str]]
"""The values of condition keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """A call as its service gets it. `tags_of` returns the tags of an existing resource, by type and id."""

    service: str
    action: str
    region: str
    account: str
    parameters: Mapping[str, Any]
    tags_of: Callable[[str, str], Tags]
    roles_of_profile: Callable[[str], Sequence[str]]
    partition: str = "aws"


@dataclass(frozen=True, slots=True, kw_only=True)
class IamRequest:
    """One action on one resource."""

    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]]


_NAMED: Mapping[str, Mapping[str, str]] = {
    "AuthorizeSecurityGroupEgress": {"GroupId": "security-group"},
    "AuthorizeSecurityGroupIngress": {"GroupId": "security-group"},
    "CancelSpotInstanceRequests": {"SpotInstanceRequestIds": "spot-instances-request"},
    "CreateImage": {"InstanceId": "instance"},
    "CreateSecurityGroup": {"VpcId": "vpc"},
    "DeleteKeyPair": {"KeyName": "key-pair", "KeyPairId": "key-pair"},
    "DeletePlacementGroup": {"GroupName": "placement-group"},
    "DeleteSecurityGroup": {"GroupId": "security-group"},
    "DeleteSnapshot": {"SnapshotId": "snapshot"},
    "DeleteVolume": {"VolumeId": "volume"},
    "DeregisterImage": {"ImageId": "image"},
    "ModifyInstanceAttribute": {"InstanceId": "instance"},
    "RevokeSecurityGroupEgress": {"GroupId": "security-group"},
    "RevokeSecurityGroupIngress": {"GroupId": "security-group"},
    "RunInstances": {
        "ImageId": "image",
        "SubnetId": "subnet",
        "SecurityGroupIds": "security-group",
        "KeyName": "key-pair",
        "Placement.GroupName": "placement-group",
    },
    "StartInstances": {"InstanceIds": "instance"},
    "StopInstances": {"InstanceIds": "instance"},
    "TerminateInstances": {"InstanceIds": "instance"},
}
"""Parameters that name existing resources, and the types of these resources."""

_MADE: Mapping[str, Sequence[str]] = {
    "CreateImage": ("image", "snapshot"),
    "CreatePlacementGroup": ("placement-group",),
    "CreateSecurityGroup": ("security-group",),
    "ImportKeyPair": ("key-pair",),
    "RunInstances": ("instance", "volume", "network-interface"),
}
"""Types of the resources that a call makes."""

_WITHOUT_OWNER = ("image", "snapshot")
"""Types whose ARN has no account."""

_BY_PREFIX = {
    "i": "instance",
    "vol": "volume",
    "sg": "security-group",
    "key": "key-pair",
    "pg": "placement-group",
    "ami": "image",
    "snap": "snapshot",
    "sir": "spot-instances-request",
    "eni": "network-interface",
}

_OF_DEFAULT_NETWORK = (("RunInstances", "SubnetId"), ("CreateSecurityGroup", "VpcId"))

_DOCUMENT_CHECK: Context = {"ssm:SessionDocumentAccessCheck": "true"}

SPOT_ROLE = "aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"


def iam_requests(call: ApiCall) -> Sequence[IamRequest]:
    """Return every request to IAM of a call."""
    if call.service == "ssm":
        return list(_ssm_requests(call))
    if call.service != "ec2" or call.action.startswith("Describe"):
        return [IamRequest(action=f"{_iam_service(call)}:{call.action}", resource="*", context=_where(call))]
    return list(_ec2_requests(call))


def _iam_service(call: ApiCall) -> str:
    return call.service.replace("-", "")


def _ec2_requests(call: ApiCall) -> Iterator[IamRequest]:
    action, parameters = f"ec2:{call.action}", call.parameters
    if call.action in ("CreateTags", "DeleteTags"):
        told = {each["Key"]: each.get("Value", "") for each in parameters.get("Tags", [])}
        for ident in _list(parameters["Resources"]):
            kind = _BY_PREFIX[ident.partition("-")[0]]
            context = _request_tags(told) | _resource_tags(call.tags_of(kind, ident))
            yield _ec2_request(call, action, kind, ident, context)
        return
    if call.action not in _NAMED and call.action not in _MADE:
        raise NotImplementedError(f"nobody has said what IAM is asked for {action}")
    named = [
        (kind, ident)
        for parameter, kind in _NAMED.get(call.action, {}).items()
        for ident in _list(parameters.get(parameter) or _default(call.action, parameter))
    ]
    for kind, ident in named:
        yield _ec2_request(call, action, kind, ident, _resource_tags(call.tags_of(kind, ident)))
    specified = {each["ResourceType"]: _tag_map(each["Tags"]) for each in parameters.get("TagSpecifications", [])}
    spot = bool(parameters.get("InstanceMarketOptions.MarketType"))
    for kind in [*_MADE.get(call.action, ()), *(["spot-instances-request"] if spot else [])]:
        ident = parameters.get("KeyName" if kind == "key-pair" else "GroupName", "new") if kind != "instance" else "new"
        yield _ec2_request(call, action, kind, ident, _request_tags(specified.get(kind, {})))
    for kind, tags in specified.items():
        yield _ec2_request(call, "ec2:CreateTags", kind, "new", _request_tags(tags) | {"ec2:CreateAction": call.action})
    if spot:  # the first spot instance of an account makes the role of the service
        role = f"arn:{call.partition}:iam::{call.account}:role/{SPOT_ROLE}"
        context = _where(call) | {"iam:AWSServiceName": "spot.amazonaws.com"}
        yield IamRequest(action="iam:CreateServiceLinkedRole", resource=role, context=context)
    for role in call.roles_of_profile(parameters.get("IamInstanceProfile.Name", "")):
        service = "ec2.amazonaws.com" + (".cn" if call.partition == "aws-cn" else "")
        yield IamRequest(action="iam:PassRole", resource=role, context=_where(call) | {"iam:PassedToService": service})


def _ssm_requests(call: ApiCall) -> Iterator[IamRequest]:
    parameters, action = call.parameters, f"ssm:{call.action}"
    arn = f"arn:{call.partition}:ssm:{call.region}:"
    if call.action == "StartSession":
        target = parameters["Target"]
        tags: Context = {f"ssm:resourceTag/{key}": value for key, value in call.tags_of("instance", target).items()}
        yield _ec2_request(call, action, "instance", target, tags | _DOCUMENT_CHECK)
        document = parameters.get("DocumentName", "SSM-SessionManagerRunShell")
        yield IamRequest(action=action, resource=f"{arn}:document/{document}", context=_where(call) | _DOCUMENT_CHECK)
    elif call.action in ("ResumeSession", "TerminateSession"):
        session = parameters["SessionId"]
        tags = {f"ssm:resourceTag/{key}": value for key, value in call.tags_of("session", session).items()}
        yield IamRequest(action=action, resource=f"{arn}{call.account}:session/{session}", context=_where(call) | tags)
    else:
        for name in _list(parameters.get("Names") or parameters["Name"]):
            owner = "" if name.startswith("/aws/") else call.account
            yield IamRequest(action=action, resource=f"{arn}{owner}:parameter/{name.lstrip('/')}", context=_where(call))


def _ec2_request(call: ApiCall, action: str, kind: str, ident: str, context: Context) -> IamRequest:
    owner = "" if kind in _WITHOUT_OWNER else call.account
    arn = f"arn:{call.partition}:ec2:{call.region}:{owner}:{kind}/{ident}"
    return IamRequest(action=action, resource=arn, context=_where(call) | context)


def _where(call: ApiCall) -> Context:
    return {"aws:RequestedRegion": call.region, "aws:username": "controller", "aws:userid": "AIDAEXAMPLECONTROLLER"}


def _resource_tags(tags: Tags) -> Context:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def _request_tags(tags: Tags) -> Context:
    keys: Context = {"aws:TagKeys": list(tags)} if tags else {}
    return keys | {f"aws:RequestTag/{key}": value for key, value in tags.items()}


def _tag_map(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in tags}


def _default(action: str, parameter: str) -> list[str]:
    """EC2 takes the default network where a call names none, and asks IAM about that one."""
    return (
        ["default"] if (action, parameter) in (("RunInstances", "SubnetId"), ("CreateSecurityGroup", "VpcId")) else []
    )


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
