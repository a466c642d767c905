"""Define the least-privilege IAM policy that an account needs, and try its permissions by DryRun, which makes nothing.

docs/iam-policy.json is `policy()` as text. It serves all partitions of AWS: China's and GovCloud's too. Each resource
gets the tag ptp-harness:run when it is made. Wherever EC2 can check tags, only resources with that tag can be changed
or deleted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.model.ownership import EXPIRES, RUN, SIGNATURE

CALLED = (
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribePlacementGroups",
    "ec2:DescribeRegions",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "pricing:GetProducts",
    "servicequotas:GetAWSDefaultServiceQuota",
    "servicequotas:GetServiceQuota",
    "ssm:GetParameters",
    "sts:GetCallerIdentity",
)
"""Actions by which the harness itself reads."""

READ_BY_PROVIDER = (
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceCreditSpecifications",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeTags",
    "ec2:DescribeVpcs",
    "ssm:GetParameter",
)
"""Actions by which the Pulumi program and the AWS provider read; the provider checks its resources and obstacles."""

MADE = {
    "aws:ec2/instance:Instance": ("ec2:RunInstances",),
    "aws:ec2/securityGroup:SecurityGroup": ("ec2:CreateSecurityGroup",),
    "aws:ec2/keyPair:KeyPair": ("ec2:ImportKeyPair",),
    "aws:ec2/placementGroup:PlacementGroup": ("ec2:CreatePlacementGroup",),
}
"""Actions that create each resource of the Pulumi program."""

CHANGED = {
    "aws:ec2/instance:Instance": ("ec2:DeleteVolume", "ec2:ModifyInstanceAttribute", "ec2:TerminateInstances"),
    "aws:ec2/securityGroup:SecurityGroup": (
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DeleteSecurityGroup",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
    ),
    "aws:ec2/keyPair:KeyPair": ("ec2:DeleteKeyPair",),
    "aws:ec2/placementGroup:PlacementGroup": ("ec2:DeletePlacementGroup",),
}
"""Actions that change and delete each resource. The provider disables termination protection before it terminates."""

COPIED = ("ec2:CreateImage", "ec2:StopInstances")
PUBLISHED = ("ec2:CreateTags", "ec2:DeleteTags", "ec2:DeregisterImage", "ec2:DeleteSnapshot")
"""Actions by which `image bake` makes images of hosts (COPIED), and publishes and removes images (PUBLISHED)."""

SPOT = ("ec2:CancelSpotInstanceRequests", "ec2:RunInstances")
"""Actions on the request of a spot instance. The provider gives no tags to it, so that any request may be cancelled."""

SESSION = ("ssm:StartSession",)
SESSION_ENDS = ("ssm:ResumeSession", "ssm:TerminateSession")
"""Actions of Session Manager's command: to a host, and to a session of the caller."""

ROLE_OF_HOSTS = "ptp-harness-*"
"""The names of the roles that may be given to hosts by an instance profile."""

OPTIONAL = {
    "market: spot": ("FirstSpotInstanceOfTheAccount", "SpotRequests"),
    "access: ssm": ("EndOwnSessions", "SessionsByDocument", "SessionsToOurs"),
    "instance_profile": ("PassRoleToHosts",),
    "keep --for": ("ExtendLeasesOfOurs",),
    "image bake": ("MakeImagesTagged", "PublishAndRemoveOurImages", "StopOursAndCopyTheirDisks"),
}
"""The statements of the policy that only one use needs, by that use."""

_IMAGE_NAMES = ("ssm:GetParameter", "ssm:GetParameters")
_OURS_TO_MAKE = {"StringLike": {f"aws:RequestTag/{RUN}": "*"}}
_OURS = {"StringLike": {f"aws:ResourceTag/{RUN}": "*"}}
_WITH_DOCUMENT = {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
"""Ask for the session's document too: without this key, a session without a document is a shell on the host."""


def policy() -> Mapping[str, Any]:
    """Return the policy as an IAM policy document."""
    making = sorted(action for actions in MADE.values() for action in actions)
    images = ["arn:*:ec2:*::image/*", "arn:*:ec2:*::snapshot/*"]
    new = ("instance", "volume", "security-group", "key-pair", "placement-group")
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow("Read", sorted({*CALLED, *READ_BY_PROVIDER} - set(_IMAGE_NAMES)), "*"),
            _allow("ReadWhatImageNamesMean", _IMAGE_NAMES, "arn:*:ssm:*::parameter/aws/service/*"),
            _allow("MakeTagged", making, _arns(*new), _OURS_TO_MAKE),
            _allow(
                "MakeFromWhatIsThere",
                ["ec2:RunInstances"],
                [*_arns("subnet", "network-interface", "security-group", "key-pair", "placement-group"), *images],
            ),
            _allow("MakeInVpc", ["ec2:CreateSecurityGroup"], _arns("vpc")),
            _allow(
                "TagWhatIsBeingMade",
                ["ec2:CreateTags"],
                [*_arns(*new), *images],
                {"StringEquals": {"ec2:CreateAction": [a.removeprefix("ec2:") for a in [*making, "ec2:CreateImage"]]}},
            ),
            _allow("ChangeAndDeleteOurs", sorted(a for actions in CHANGED.values() for a in actions), "*", _OURS),
            _allow(
                "ExtendLeasesOfOurs",
                ["ec2:CreateTags"],
                _arns("instance"),
                {**_OURS, "ForAllValues:StringEquals": {"aws:TagKeys": [EXPIRES, SIGNATURE]}},
            ),
            _allow("StopOursAndCopyTheirDisks", COPIED, _arns("instance"), _OURS),
            _allow("MakeImagesTagged", ["ec2:CreateImage"], images, _OURS_TO_MAKE),
            _allow("PublishAndRemoveOurImages", PUBLISHED, images, _OURS),
            _allow("SpotRequests", SPOT, _arns("spot-instances-request")),
            _allow(
                "FirstSpotInstanceOfTheAccount",
                ["iam:CreateServiceLinkedRole"],
                "arn:*:iam::*:role/aws-service-role/spot.amazonaws.com/*",
                {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
            ),
            _allow(
                "PassRoleToHosts",
                ["iam:PassRole"],
                f"arn:*:iam::*:role/{ROLE_OF_HOSTS}",
                {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}},
            ),
            _allow(
                "SessionsToOurs",
                SESSION,
                _arns("instance"),
                {"StringLike": {f"ssm:resourceTag/{RUN}": "*"}, **_WITH_DOCUMENT},
            ),
            _allow("SessionsByDocument", SESSION, "arn:*:ssm:*:*:document/AWS-StartSSHSession", _WITH_DOCUMENT),
            _allow(
                "EndOwnSessions",
                SESSION_ENDS,
                "arn:*:ssm:*:*:session/*",
                {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}},
            ),
        ],
    }


def actions() -> Sequence[str]:
    """Return every action that the policy allows, without duplicates."""
    return sorted({action for statement in policy()["Statement"] for action in statement["Action"]})


def actions_of_runs() -> Sequence[str]:
    """Return the actions that campaigns need: all actions but those that make, publish and remove images."""
    return sorted({*actions()} - {*COPIED, *PUBLISHED} | {"ec2:CreateTags"})


def _allow(
    name: str, allowed: Sequence[str], resource: str | Sequence[str], condition: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    statement = {"Sid": name, "Effect": "Allow", "Action": list(allowed), "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def _arns(*kinds: str) -> list[str]:
    return [f"arn:*:ec2:*:*:{kind}/*" for kind in kinds]


# --- trials ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionTrial:
    """EC2's answer to a DryRun call. `allowed` is None where the answer does not tell."""

    action: str
    allowed: bool | None
    answer: str


_NAME = "ptp-harness-doctor"
_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA doctor"
_NO_INSTANCE = "i-0123456789abcdef0"
_REFUSALS = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
_WITHOUT_INSTANCE = (
    "there is no instance of ours to ask it of, and EC2 refuses it for an instance that does not exist also where "
    "docs/iam-policy.json allows it, which looks at the instance's tags; while a host runs, doctor can tell"
)


def trial_launch(*, image: str, instance_type: str, subnet: str, run: str) -> dict[str, Any]:
    """Build the parameters of a RunInstances by DryRun, with the tags that the policy demands."""
    return {
        "ImageId": image,
        "InstanceType": instance_type,
        "SubnetId": subnet,
        "MinCount": 1,
        "MaxCount": 1,
        "TagSpecifications": _specify_tags(run, "instance", "volume"),
        "DryRun": True,
    }


def _specify_tags(run: str, *kinds: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": RUN, "Value": run}]} for kind in kinds]


def try_permissions(api: Api, *, image: str, instance_type: str, subnet: str, vpc: str) -> Sequence[PermissionTrial]:
    """Ask EC2 by DryRun whether it would allow the calls that a stack needs. Nothing is made, and nothing is ended.

    TerminateInstances is asked of an instance that carries our tag, where there is one. An invented instance has no
    tags: a policy that looks at them refuses it, so that its refusal tells nothing.
    """
    ours = _find_tagged_instance(api)

    def tags(kind: str) -> list[Any]:
        return _specify_tags("doctor", kind)

    trials: dict[str, Callable[[], Any]] = {
        "ec2:RunInstances": lambda: api.call(
            "ec2",
            "run_instances",
            task="trying RunInstances",
            **trial_launch(image=image, instance_type=instance_type, subnet=subnet, run="doctor"),
        ),
        "ec2:CreateSecurityGroup": lambda: api.call(
            "ec2",
            "create_security_group",
            task="trying CreateSecurityGroup",
            GroupName=_NAME,
            Description=_NAME,
            VpcId=vpc,
            TagSpecifications=tags("security-group"),
            DryRun=True,
        ),
        "ec2:ImportKeyPair": lambda: api.call(
            "ec2",
            "import_key_pair",
            task="trying ImportKeyPair",
            KeyName=_NAME,
            PublicKeyMaterial=_PUBLIC_KEY.encode(),
            TagSpecifications=tags("key-pair"),
            DryRun=True,
        ),
        "ec2:CreatePlacementGroup": lambda: api.call(
            "ec2",
            "create_placement_group",
            task="trying CreatePlacementGroup",
            GroupName=_NAME,
            Strategy="precision-time",
            TagSpecifications=tags("placement-group"),
            DryRun=True,
        ),
        "ec2:TerminateInstances": lambda: api.call(
            "ec2",
            "terminate_instances",
            task="trying TerminateInstances",
            tries=1,
            InstanceIds=[ours or _NO_INSTANCE],
            DryRun=True,
        ),
    }
    answers = [_try(action, call) for action, call in trials.items()]
    return [_tell_nothing(trial) if _is_of_invented(trial, ours) else trial for trial in answers]


def _find_tagged_instance(api: Api) -> str | None:
    """Find an instance with our tag that has not ended; None where there is none, or EC2 does not tell."""
    filters = [exact_filter("tag-key", RUN), exact_filter("instance-state-name", "pending", "running", "stopped")]
    try:
        answer = api.call("ec2", "describe_instances", task="looking for an instance of ours", Filters=filters)
    except BenchError:
        return None
    instances = [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]
    return str(instances[0]["InstanceId"]) if instances else None


def _is_of_invented(trial: PermissionTrial, instance: str | None) -> bool:
    return trial.action == "ec2:TerminateInstances" and trial.allowed is False and instance is None


def _tell_nothing(trial: PermissionTrial) -> PermissionTrial:
    return PermissionTrial(action=trial.action, allowed=None, answer=_WITHOUT_INSTANCE)


def _try(action: str, ask: Callable[[], Any]) -> PermissionTrial:
    try:
        ask()
    except BenchError as error:
        code = str(api_errors.find_raised_code(error))
        if code == "DryRunOperation":
            return PermissionTrial(action=action, allowed=True, answer="allowed")
        if code in _REFUSALS:
            return PermissionTrial(action=action, allowed=False, answer=error.message)
        return PermissionTrial(action=action, allowed=None, answer=error.message)
    return PermissionTrial(action=action, allowed=None, answer="EC2 did not say")
