"""What must an account be allowed to do? One policy of least privilege, and trials of it that make nothing.

docs/iam-policy.json is `policy()` as text. What is made carries the tag ptp-harness:run from its first moment, and only
what carries it can be changed or deleted, wherever EC2 can tell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api

RUN_TAG = "ptp-harness:run"

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
"""Read by the harness itself."""

READ_BY_PROVIDER = (
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceCreditSpecifications",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeTags",
    "ec2:DescribeVpcs",
    "ssm:GetParameter",
)
"""Read by the Pulumi program and by the AWS provider, which looks at what it made and at what stands in the way."""

MADE = {
    "aws:ec2/instance:Instance": ("ec2:RunInstances",),
    "aws:ec2/securityGroup:SecurityGroup": ("ec2:CreateSecurityGroup",),
    "aws:ec2/keyPair:KeyPair": ("ec2:ImportKeyPair",),
    "aws:ec2/placementGroup:PlacementGroup": ("ec2:CreatePlacementGroup",),
}
"""What each resource of the Pulumi program is made by."""

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
"""What each is changed and deleted by. The provider lifts the protection from termination before it terminates."""

COPIED = ("ec2:CreateImage", "ec2:StopInstances")
PUBLISHED = ("ec2:CreateTags", "ec2:DeleteTags", "ec2:DeregisterImage", "ec2:DeleteSnapshot")
"""What `image bake` makes images of our hosts by, and then publishes and removes them by."""

_IMAGE_NAMES = ("ssm:GetParameter", "ssm:GetParameters")
_OURS_TO_MAKE = {"StringLike": {f"aws:RequestTag/{RUN_TAG}": "*"}}
_OURS = {"StringLike": {f"aws:ResourceTag/{RUN_TAG}": "*"}}


def policy() -> Mapping[str, Any]:
    """The policy as IAM reads it."""
    making = sorted(action for actions in MADE.values() for action in actions)
    images = ["arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow("Read", sorted({*CALLED, *READ_BY_PROVIDER} - set(_IMAGE_NAMES)), "*"),
            _allow("ReadWhatImageNamesMean", _IMAGE_NAMES, "arn:aws:ssm:*::parameter/aws/service/*"),
            _allow(
                "MakeTagged", making, _arns("instance", "security-group", "key-pair", "placement-group"), _OURS_TO_MAKE
            ),
            _allow(
                "MakeFromWhatIsThere",
                ["ec2:RunInstances"],
                [
                    *_arns("subnet", "network-interface", "security-group", "key-pair", "placement-group", "volume"),
                    *images,
                ],
            ),
            _allow("MakeInVpc", ["ec2:CreateSecurityGroup"], _arns("vpc")),
            _allow(
                "TagWhatIsBeingMade",
                ["ec2:CreateTags"],
                [*_arns("*"), *images],
                {"StringEquals": {"ec2:CreateAction": [a.removeprefix("ec2:") for a in [*making, "ec2:CreateImage"]]}},
            ),
            _allow("TagTheRootVolume", ["ec2:CreateTags"], _arns("volume"), _OURS_TO_MAKE),
            _allow("ChangeAndDeleteOurs", sorted(a for actions in CHANGED.values() for a in actions), "*", _OURS),
            _allow("StopOursAndCopyTheirDisks", COPIED, _arns("instance"), _OURS),
            _allow("MakeImagesTagged", ["ec2:CreateImage"], images, _OURS_TO_MAKE),
            _allow("PublishAndRemoveOurImages", PUBLISHED, images, _OURS),
            _allow(
                "FirstSpotInstanceOfTheAccount",
                ["iam:CreateServiceLinkedRole"],
                "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*",
                {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
            ),
        ],
    }


def actions() -> Sequence[str]:
    """Every action that the policy allows, once."""
    return sorted({action for statement in policy()["Statement"] for action in statement["Action"]})


def actions_of_runs() -> Sequence[str]:
    """Those that campaigns need: all but what makes, publishes and removes images."""
    return sorted({*actions()} - {*COPIED, *PUBLISHED} | {"ec2:CreateTags"})


def _allow(
    name: str, allowed: Sequence[str], resource: str | Sequence[str], condition: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    statement = {"Sid": name, "Effect": "Allow", "Action": list(allowed), "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def _arns(*kinds: str) -> list[str]:
    return [f"arn:aws:ec2:*:*:{kind}/*" for kind in kinds]


# --- trials ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionTrial:
    """What EC2 says when it is asked whether it would. `allowed` is None where that could not be told."""

    action: str
    allowed: bool | None
    words: str


_NAME = "ptp-harness-doctor"
_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA doctor"
_NO_INSTANCE = "i-0123456789abcdef0"


def try_permissions(api: Api, *, image: str, instance_type: str, subnet: str, vpc: str) -> Sequence[PermissionTrial]:
    """Ask EC2 by DryRun whether it would do what a stack needs. Nothing is made."""

    def tags(kind: str) -> list[Any]:
        return [{"ResourceType": kind, "Tags": [{"Key": RUN_TAG, "Value": "doctor"}]}]

    tried: dict[str, Callable[[], Any]] = {
        "ec2:RunInstances": lambda: api.call(
            "ec2",
            "run_instances",
            what="trying RunInstances",
            ImageId=image,
            InstanceType=instance_type,
            SubnetId=subnet,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=tags("instance"),
            DryRun=True,
        ),
        "ec2:CreateSecurityGroup": lambda: api.call(
            "ec2",
            "create_security_group",
            what="trying CreateSecurityGroup",
            GroupName=_NAME,
            Description=_NAME,
            VpcId=vpc,
            TagSpecifications=tags("security-group"),
            DryRun=True,
        ),
        "ec2:ImportKeyPair": lambda: api.call(
            "ec2",
            "import_key_pair",
            what="trying ImportKeyPair",
            KeyName=_NAME,
            PublicKeyMaterial=_PUBLIC_KEY.encode(),
            TagSpecifications=tags("key-pair"),
            DryRun=True,
        ),
        "ec2:CreatePlacementGroup": lambda: api.call(
            "ec2",
            "create_placement_group",
            what="trying CreatePlacementGroup",
            GroupName=_NAME,
            Strategy="precision-time",
            TagSpecifications=tags("placement-group"),
            DryRun=True,
        ),
        "ec2:TerminateInstances": lambda: api.call(
            "ec2",
            "terminate_instances",
            what="trying TerminateInstances",
            tries=1,
            InstanceIds=[_NO_INSTANCE],
            DryRun=True,
        ),
    }
    return [_try(action, ask) for action, ask in tried.items()]


def _try(action: str, ask: Callable[[], Any]) -> PermissionTrial:
    try:
        ask()
    except BenchError as error:
        code = str(api_errors.find_raised_code(error))
        if code == "DryRunOperation":
            return PermissionTrial(action=action, allowed=True, words="allowed")
        if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
            return PermissionTrial(action=action, allowed=False, words=error.message)
        return PermissionTrial(action=action, allowed=None, words=error.message)
    return PermissionTrial(action=action, allowed=None, words="EC2 did not say")
