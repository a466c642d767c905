"""State which API calls the real AWS provider makes for each operation on a resource of our program.

Sources: internal/service/ec2/*.go of hashicorp/terraform-provider-aws, which Pulumi's AWS provider contains. `Diff` of
the provider calls nothing but DescribeInstanceTypes. Calls in `ON_SPOT` are made for spot instances alone.
"""

from collections.abc import Mapping, Set

INSTANCE = "aws:ec2/instance:Instance"
SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup"
KEY_PAIR = "aws:ec2/keyPair:KeyPair"
PLACEMENT_GROUP = "aws:ec2/placementGroup:PlacementGroup"

_READ_INSTANCE = {
    "DescribeInstances",
    "DescribeInstanceTypes",
    "DescribeTags",  # flattenInstanceLaunchTemplate, readVolumeTags
    "DescribeVolumes",  # readVolumeTags, readBlockDevices
    "DescribeVpcs",  # readSecurityGroups
    "DescribeInstanceAttribute",  # disableApiStop, disableApiTermination, userData, the behaviour at a shutdown
}
_READ_BURSTABLE = {"DescribeInstanceCreditSpecifications"}
_READ_SECURITY_GROUP = {"DescribeSecurityGroups"}

CALLS: Mapping[tuple[str, str], Set[str]] = {
    # ec2_instance.go: resourceInstanceCreate, resourceInstanceRead, resourceInstanceDelete
    (INSTANCE, "create"): {"DescribeImages", "RunInstances", *_READ_INSTANCE},
    (INSTANCE, "read"): _READ_INSTANCE,
    (INSTANCE, "delete"): {"ModifyInstanceAttribute", "TerminateInstances", "DescribeInstances"},
    # vpc_security_group.go; a new group's rule for all outgoing traffic is revoked, deleteLingeringENIs goes first
    (SECURITY_GROUP, "create"): {
        "CreateSecurityGroup",
        "RevokeSecurityGroupEgress",
        "AuthorizeSecurityGroupIngress",
        "AuthorizeSecurityGroupEgress",
        *_READ_SECURITY_GROUP,
    },
    (SECURITY_GROUP, "read"): _READ_SECURITY_GROUP,
    (SECURITY_GROUP, "delete"): {"DescribeNetworkInterfaces", "DeleteSecurityGroup", *_READ_SECURITY_GROUP},
    # ec2_key_pair.go
    (KEY_PAIR, "create"): {"ImportKeyPair", "DescribeKeyPairs"},
    (KEY_PAIR, "read"): {"DescribeKeyPairs"},
    (KEY_PAIR, "delete"): {"DeleteKeyPair"},
    # ec2_placement_group.go
    (PLACEMENT_GROUP, "create"): {"CreatePlacementGroup", "DescribePlacementGroups"},
    (PLACEMENT_GROUP, "read"): {"DescribePlacementGroups"},
    (PLACEMENT_GROUP, "delete"): {"DeletePlacementGroup", "DescribePlacementGroups"},
}

ON_SPOT: Mapping[tuple[str, str], Set[str]] = {
    (INSTANCE, "create"): {"DescribeSpotInstanceRequests"},
    (INSTANCE, "read"): {"DescribeSpotInstanceRequests"},
    (INSTANCE, "delete"): {"CancelSpotInstanceRequests"},
}

ON_BURSTABLE: Mapping[tuple[str, str], Set[str]] = {
    (INSTANCE, "create"): _READ_BURSTABLE,
    (INSTANCE, "read"): _READ_BURSTABLE,
}
"""Calls that are made for types with CPU credits (t3) alone."""
