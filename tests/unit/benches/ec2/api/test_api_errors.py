"""Every code means one thing, whoever says it: botocore, the AWS provider, a StateReason, a Spot request."""

import pytest
from botocore.exceptions import ClientError

from harness.benches.bench import BenchError, CapacityError, FatalError, NotOfferedError, QuotaError, TransientError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api_errors import KINDS, QUOTAS, ErrorKind, PlaceError
from harness.model import Reason

MEANT: dict[type[BenchError], tuple[str, ...]] = {
    TransientError: (
        "RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled "
        "RequestThrottledException TooManyRequestsException EC2ThrottledException SlowDown BandwidthLimitExceeded",
        "InternalError InternalFailure InternalServerError ServerInternal Server.InternalError Unavailable "
        "ServiceUnavailable ServiceUnavailableException RequestTimeout RequestTimeoutException system-error",
        "InvalidInstanceID.NotFound",
        "InvalidPlacementGroup.InUse InvalidGroup.InUse InvalidSnapshot.InUse DependencyViolation",
        "IncorrectInstanceState PriorRequestNotComplete ConcurrentTagAccess ConcurrentCreateImageNoRebootLimitExceeded",
    ),
    CapacityError: (
        "InsufficientInstanceCapacity Server.InsufficientInstanceCapacity InsufficientHostCapacity "
        "InsufficientReservedInstanceCapacity InsufficientCapacity InsufficientCapacityOnHost "
        "InsufficientVolumeCapacity InsufficientAddressCapacity ReservationCapacityExceeded",
        "UnfulfillableCapacity SpotMaxPriceTooLow Server.SpotInstanceTermination Server.SpotInstanceShutdown",
        "capacity-not-available capacity-oversubscribed price-too-low instance-terminated-by-price "
        "instance-terminated-no-capacity instance-terminated-capacity-oversubscribed",
    ),
    QuotaError: (
        "InstanceLimitExceeded VcpuLimitExceeded MaxSpotInstanceCountExceeded limit-exceeded",
        "PlacementGroupLimitExceeded SecurityGroupLimitExceeded RulesPerSecurityGroupLimitExceeded "
        "KeyPairLimitExceeded VolumeLimitExceeded Client.VolumeLimitExceeded NetworkInterfaceLimitExceeded "
        "AddressLimitExceeded ConcurrentSnapshotLimitExceeded SnapshotLimitExceeded",
    ),
    PlaceError: (
        "Unsupported UnsupportedOperation UnsupportedTenancy InvalidParameterCombination InvalidParameterValue "
        "InvalidAvailabilityZone InsufficientFreeAddressesInSubnet VolumeTypeNotAvailableInZone ZonesMismatched",
        "az-group-constraint placement-group-constraint constraint-not-fulfillable",
    ),
    NotOfferedError: ("InvalidInstanceType",),
    BenchError: (
        "InvalidAMIID.NotFound InvalidAMIID.Malformed InvalidAMIID.Unavailable InvalidKeyPair.NotFound",
        "InvalidGroup.NotFound InvalidSubnetID.NotFound InvalidSubnetID.Malformed InvalidSubnet InvalidVpcID.NotFound",
        "InvalidPlacementGroup.Unknown InvalidPlacementGroupId.Unknown VPCIdNotSpecified DefaultVpcDoesNotExist",
        "InvalidBlockDeviceMapping InvalidUserData.Malformed MissingInput MissingParameter InvalidParameter",
        "IdempotentParameterMismatch IdempotentInstanceTerminated TagPolicyViolation EncryptedVolumesNotSupported",
        "CustomerKeyHasBeenRevoked Client.InternalError Client.InvalidSnapshot.NotFound bad-parameters",
    ),
    FatalError: (
        "UnauthorizedOperation AccessDenied AccessDeniedException AuthFailure OptInRequired RegionDisabledException "
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted SubscriptionRequiredException",
        "Blocked AccountDisabled PendingVerification",
        "ExpiredToken ExpiredTokenException RequestExpired RequestTimeTooSkewed InvalidClientTokenId "
        "InvalidAccessKeyId InvalidToken MissingAuthenticationToken IncompleteSignature SignatureDoesNotMatch "
        "InvalidSignatureException UnrecognizedClientException",
    ),
}
CASES = [(code, kind) for kind, lines in MEANT.items() for line in lines for code in line.split()]


@pytest.mark.parametrize(("code", "kind"), CASES)
def test_what_a_code_means(code: str, kind: type[BenchError]) -> None:
    made = api_errors.make_error(code, "EC2's words", "launching m7i.large")
    assert type(made) is kind
    assert made.message.startswith("launching m7i.large: ")
    assert made.message.endswith(f"{code}: EC2's words")
    assert made.next_step


def test_each_code_is_looked_at_above() -> None:
    assert sorted(KINDS) == sorted(code for code, _ in CASES)


def test_a_code_that_nobody_knows_fails_one_host_alone() -> None:
    made = api_errors.make_error("Surprise", "words", "launching m7i.large")
    assert type(made) is BenchError
    assert str(made) == "launching m7i.large: Surprise: words"


@pytest.mark.parametrize("code", [code for code, kind in KINDS.items() if kind is ErrorKind.QUOTA])
def test_a_quota_is_named(code: str) -> None:
    made = api_errors.make_error(code, "words", "launching c7g.large")
    assert str(made).startswith(f"launching c7g.large: the quota of {QUOTAS[code]} is used up: {code}: words")
    assert made.reason is Reason.QUOTA


def test_the_quota_of_a_type_is_named_where_it_is_known() -> None:
    name = "Running On-Demand P instances"
    made = api_errors.from_text("api error VcpuLimitExceeded: More than 0.", "launching p5.48xlarge", quota=name)
    assert made.message == (
        "launching p5.48xlarge: the quota of Running On-Demand P instances is used up: VcpuLimitExceeded: More than 0."
    )
    assert (
        QUOTAS["VolumeLimitExceeded"]
        in api_errors.make_error("VolumeLimitExceeded", "x", "launching", quota=name).message
    )


ZONE = "Your requested instance type (m7i.large) is not supported in your requested Availability Zone (us-east-1e)."
RUN = "operation error EC2: RunInstances, https response error StatusCode: 400, RequestID: 7d6a-4b, "


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            f"creating EC2 Instance: {RUN}api error Unsupported: {ZONE} Please retry your request.\n\n",
            PlaceError,
            f"up: Unsupported: {ZONE} Please retry your request.",
        ),
        (
            "operation error EC2: RunInstances, exceeded maximum number of attempts, 4, https response error "
            "StatusCode: 500, api error InsufficientInstanceCapacity: No m7i.large here",
            CapacityError,
            "up: InsufficientInstanceCapacity: No m7i.large here",
        ),
        (
            "An error occurred (VcpuLimitExceeded) when calling the RunInstances operation: You have requested more "
            "vCPU capacity than your current vCPU limit of 0 allows for the instance bucket",
            QuotaError,
            f"up: the quota of {QUOTAS['VcpuLimitExceeded']} is used up: VcpuLimitExceeded: You have requested more "
            "vCPU capacity than your current vCPU limit of 0 allows for the instance bucket",
        ),
        (
            "waiting for EC2 Instance (i-0a1b) create: unexpected state 'terminated', wanted target 'running'. last "
            "error: Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request",
            CapacityError,
            "up: Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request",
        ),
        (
            "last error: Client.InternalError: Client error on launch",
            BenchError,
            "up: Client.InternalError: Client error on launch",
        ),
        (
            "Spot request sir-1 ended: capacity-not-available: There is no Spot capacity for your request.",
            CapacityError,
            "up: capacity-not-available: There is no Spot capacity for your request.",
        ),
        (
            "error launching: AuthFailure: AWS could not validate the provided access credentials\n\tstatus code: 401",
            FatalError,
            "up: AuthFailure: AWS could not validate the provided access credentials",
        ),
        (
            f"{RUN}api error InvalidParameterValue: Invalid value 'm99.huge' for InstanceType.",
            NotOfferedError,
            "up: InvalidParameterValue: Invalid value 'm99.huge' for InstanceType.",
        ),
        (
            f"{RUN}api error InvalidParameterValue: The architecture 'x86_64' of the specified instance type does not "
            "match the architecture 'arm64' of the specified AMI.",
            BenchError,
            "up: InvalidParameterValue: The architecture 'x86_64' of the specified instance type does not match "
            "the architecture 'arm64' of the specified AMI.",
        ),
        (
            f"{RUN}api error InvalidParameterValue: Value (typo) for parameter iamInstanceProfile.name is invalid. "
            "Invalid IAM Instance Profile name",
            BenchError,
            "up: InvalidParameterValue: Value (typo) for parameter iamInstanceProfile.name is invalid. "
            "Invalid IAM Instance Profile name",
        ),
        (
            f'{RUN}api error InvalidParameterValue: IAM Instance Profile "arn:aws-cn:iam::1:instance-profile/a" has no '
            "associated IAM Roles",
            BenchError,
            'up: InvalidParameterValue: IAM Instance Profile "arn:aws-cn:iam::1:instance-profile/a" has no associated '
            "IAM Roles",
        ),
        ("first line\nthe program failed\n", BenchError, "up: the program failed"),
    ],
)
def test_codes_are_found_in_the_texts_that_tools_print(text: str, kind: type[BenchError], words: str) -> None:
    made = api_errors.from_text(text, "up")
    assert (type(made), made.message) == (kind, words)


def test_a_code_is_not_seen_where_there_is_none() -> None:
    assert api_errors.find_code("the Server is Unavailable today, Throttling everybody") is None
    assert api_errors.find_code(f"{RUN}api error Throttling: Rate exceeded") == "Throttling"


def test_a_zone_that_refuses_is_a_place_whatever_its_code() -> None:
    assert api_errors.kind_of_code("InvalidSomething", ZONE) is ErrorKind.PLACE
    assert api_errors.kind_of_code("UnauthorizedOperation", ZONE) is ErrorKind.FATAL


def test_the_encoded_part_of_a_refusal_is_left_out() -> None:
    said = "You are not authorized to perform this operation. Encoded authorization failure message: dGhpcyBpcw-x_y"
    caught = ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": said}}, "RunInstances")
    made = api_errors.from_botocore(caught, "launching")
    assert str(made) == (
        "launching: UnauthorizedOperation: You are not authorized to perform this operation. "
        "(docs/iam-policy.json lists every permission that is needed)"
    )


def test_the_code_behind_an_error_is_kept() -> None:
    caught = ClientError({"Error": {"Code": "DryRunOperation", "Message": "it would have"}}, "RunInstances")
    made = api_errors.from_botocore(caught, "trying")
    assert api_errors.find_raised_code(made) is None
    made.__cause__ = caught
    assert api_errors.find_raised_code(made) == "DryRunOperation"
