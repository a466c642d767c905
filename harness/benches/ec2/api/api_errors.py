"""What does an error of EC2 mean for a campaign? One table from codes to kinds, and from kinds to errors."""

import re
from enum import StrEnum

from botocore.exceptions import ClientError

from harness.benches.bench import BenchError, CapacityError, FatalError, NotOfferedError, QuotaError, TransientError
from harness.errors import last_line


class ErrorKind(StrEnum):
    """What to do: try again; try another place; give up on this type; mend the settings; stop the campaign."""

    TRANSIENT = "transient"
    CAPACITY = "capacity"
    QUOTA = "quota"
    PLACE = "place"  # this zone, or this combination of settings, cannot have it; another may
    NOT_OFFERED = "not offered"
    SETTING = "setting"  # something that was named is not there, or cannot be used: no other place helps
    FATAL = "fatal"


class PlaceError(BenchError):
    """This zone or subnet cannot have the host; another may."""


_CODES = {
    # Throttling, what AWS calls its own fault, and what settles by itself; NotFound just after the instance was made.
    ErrorKind.TRANSIENT: """
        RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled
        RequestThrottledException TooManyRequestsException EC2ThrottledException SlowDown BandwidthLimitExceeded
        InternalError InternalFailure InternalServerError ServerInternal Server.InternalError Unavailable
        ServiceUnavailable ServiceUnavailableException RequestTimeout RequestTimeoutException PriorRequestNotComplete
        ConcurrentTagAccess ConcurrentCreateImageNoRebootLimitExceeded InvalidInstanceID.NotFound
        InvalidGroup.InUse InvalidPlacementGroup.InUse InvalidSnapshot.InUse DependencyViolation
        IncorrectInstanceState system-error""",
    ErrorKind.CAPACITY: """
        InsufficientInstanceCapacity Server.InsufficientInstanceCapacity InsufficientHostCapacity
        InsufficientReservedInstanceCapacity InsufficientCapacity InsufficientCapacityOnHost
        InsufficientVolumeCapacity InsufficientAddressCapacity UnfulfillableCapacity ReservationCapacityExceeded
        SpotMaxPriceTooLow Server.SpotInstanceTermination Server.SpotInstanceShutdown
        capacity-not-available capacity-oversubscribed price-too-low instance-terminated-by-price
        instance-terminated-no-capacity instance-terminated-capacity-oversubscribed""",
    ErrorKind.QUOTA: """
        InstanceLimitExceeded VcpuLimitExceeded MaxSpotInstanceCountExceeded PlacementGroupLimitExceeded
        SecurityGroupLimitExceeded RulesPerSecurityGroupLimitExceeded KeyPairLimitExceeded VolumeLimitExceeded
        Client.VolumeLimitExceeded NetworkInterfaceLimitExceeded AddressLimitExceeded limit-exceeded
        ConcurrentSnapshotLimitExceeded SnapshotLimitExceeded""",
    ErrorKind.PLACE: """
        Unsupported UnsupportedOperation UnsupportedTenancy InvalidParameterCombination InvalidParameterValue
        InvalidAvailabilityZone InsufficientFreeAddressesInSubnet VolumeTypeNotAvailableInZone ZonesMismatched
        az-group-constraint placement-group-constraint constraint-not-fulfillable""",
    ErrorKind.NOT_OFFERED: "InvalidInstanceType",
    ErrorKind.SETTING: """
        InvalidAMIID.NotFound InvalidAMIID.Malformed InvalidAMIID.Unavailable InvalidSubnetID.NotFound
        InvalidSubnetID.Malformed InvalidSubnet InvalidVpcID.NotFound InvalidGroup.NotFound InvalidKeyPair.NotFound
        InvalidPlacementGroup.Unknown InvalidPlacementGroupId.Unknown InvalidBlockDeviceMapping
        InvalidUserData.Malformed VPCIdNotSpecified
        DefaultVpcDoesNotExist MissingInput MissingParameter InvalidParameter IdempotentParameterMismatch
        IdempotentInstanceTerminated TagPolicyViolation EncryptedVolumesNotSupported CustomerKeyHasBeenRevoked
        Client.InternalError Client.InvalidSnapshot.NotFound bad-parameters""",
    ErrorKind.FATAL: """
        UnauthorizedOperation AccessDenied AccessDeniedException AuthFailure
        AuthFailure.ServiceLinkedRoleCreationNotPermitted OptInRequired SubscriptionRequiredException Blocked
        AccountDisabled PendingVerification RegionDisabledException ExpiredToken ExpiredTokenException
        RequestExpired RequestTimeTooSkewed InvalidClientTokenId InvalidAccessKeyId InvalidToken
        MissingAuthenticationToken IncompleteSignature SignatureDoesNotMatch InvalidSignatureException
        UnrecognizedClientException""",
}

KINDS = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
"""Codes of EC2's API reference (Error codes), of StateReason, of a Spot request's status, of STS, SSM and quotas.

Client.InternalError, "Client error on launch", is a volume's key that may not be used: nothing to try again.
"""

_IN_WORDS = (
    ("not supported in your requested Availability Zone", ErrorKind.PLACE),
    ("for InstanceType", ErrorKind.NOT_OFFERED),  # RunInstances: "Invalid value 'm99.huge' for InstanceType."
    ("does not match the architecture", ErrorKind.SETTING),
    ("different networks", ErrorKind.SETTING),  # a subnet and a security group of two VPCs
)
"""Where one code has several meanings, EC2's words tell which."""

_ERRORS: dict[ErrorKind, type[BenchError]] = {
    ErrorKind.TRANSIENT: TransientError,
    ErrorKind.CAPACITY: CapacityError,
    ErrorKind.QUOTA: QuotaError,
    ErrorKind.PLACE: PlaceError,
    ErrorKind.NOT_OFFERED: NotOfferedError,
    ErrorKind.SETTING: BenchError,
    ErrorKind.FATAL: FatalError,
}

QUOTAS = {
    "InstanceLimitExceeded": "running On-Demand instances of this type",
    "VcpuLimitExceeded": "vCPUs of the running instances in this type's group of families",
    "MaxSpotInstanceCountExceeded": "vCPUs of Spot instance requests",
    "limit-exceeded": "vCPUs of Spot instance requests",
    "PlacementGroupLimitExceeded": "placement groups in the Region (500)",
    "SecurityGroupLimitExceeded": "VPC security groups per Region",
    "RulesPerSecurityGroupLimitExceeded": "rules per security group",
    "KeyPairLimitExceeded": "key pairs in the Region (5000)",
    "VolumeLimitExceeded": "EBS storage in the Region",
    "Client.VolumeLimitExceeded": "EBS storage in the Region",
    "NetworkInterfaceLimitExceeded": "network interfaces per Region",
    "AddressLimitExceeded": "Elastic IP addresses",
    "ConcurrentSnapshotLimitExceeded": "snapshots made at the same time",
    "SnapshotLimitExceeded": "EBS snapshots in the Region",
}
"""What may not be had more of, of each code of that kind."""

_VCPUS = ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "limit-exceeded")

_NEXT_STEPS = {
    ErrorKind.TRANSIENT: "run it again in a few minutes",
    ErrorKind.CAPACITY: "run it again later, in another Region, or with another size",
    ErrorKind.QUOTA: "ask for more in Service Quotas, or run fewer at once (parallel)",
    ErrorKind.PLACE: "another zone or another size may do",
    ErrorKind.NOT_OFFERED: "`ptp-harness types` lists what the Region has",
    ErrorKind.SETTING: "mend the campaign's settings; `ptp-harness doctor --bench ec2` looks at them",
    ErrorKind.FATAL: "`ptp-harness doctor --bench ec2` says what is missing",
}

_LOG_IN = "the session has ended: log in again (`aws sso login`, or new temporary keys)"
_CLOCK = "is this machine's clock right?"
_POLICY = "docs/iam-policy.json lists every permission that is needed"
_KEYS = "the keys are wrong, or the Region is an opt-in one that this account has not enabled"

_BY_CODE = {
    "UnauthorizedOperation": _POLICY,
    "AccessDenied": _POLICY,
    "AccessDeniedException": _POLICY,
    "ExpiredToken": _LOG_IN,
    "ExpiredTokenException": _LOG_IN,
    "InvalidToken": _LOG_IN,
    "RequestExpired": f"{_LOG_IN}; {_CLOCK}",
    "RequestTimeTooSkewed": _CLOCK,
    "SignatureDoesNotMatch": f"the secret key is wrong; {_CLOCK}",
    "InvalidSignatureException": f"the secret key is wrong; {_CLOCK}",
    "AuthFailure": _KEYS,
    "InvalidClientTokenId": _KEYS,
    "UnrecognizedClientException": _KEYS,
    "OptInRequired": "enable the Region, or subscribe to the image, in the account's console",
    "RegionDisabledException": "enable the Region in the account's console",
    "PendingVerification": "AWS is still looking at this new account: try again in some hours",
    "Blocked": "the account is blocked: ask AWS Support",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`, once per account"
    ),
    "DefaultVpcDoesNotExist": "`aws ec2 create-default-vpc`, or name a subnet: `subnet: subnet-...`",
    "VPCIdNotSpecified": "`aws ec2 create-default-vpc`, or name a subnet: `subnet: subnet-...`",
    "InsufficientFreeAddressesInSubnet": "name a larger subnet, or run fewer at once (parallel)",
    "SpotMaxPriceTooLow": "run it again later, or on demand (`market: on-demand`)",
}

_IN_TEXT = (
    re.compile(r"\bapi error ([A-Za-z0-9.]+)\b:?\s*([^\n]*)"),
    re.compile(r"\bAn error occurred \(([A-Za-z0-9.]+)\) when calling[^:\n]*:\s*([^\n]*)"),
    re.compile(r"\b((?:Server|Client)\.[A-Za-z.]*[A-Za-z])\b:?\s*([^\n]*)"),
    re.compile(r"\b(" + "|".join(code for code in KINDS if "-" in code) + r")\b:?\s*([^\n]*)"),
    re.compile(r"\b(" + "|".join(re.escape(code) for code in KINDS if "-" not in code) + r"): ([^\n]*)"),
)
"""The AWS provider's words, botocore's, those of a StateReason, of a Spot request's status, and of older providers."""

_ENCODED = re.compile(r"\s*Encoded authorization failure message:\s*\S+")


def kind_of_code(code: str, message: str = "") -> ErrorKind | None:
    """What a code means; None for one that is not known. The message tells a zone's refusals apart."""
    found = KINDS.get(code) or KINDS.get(code.removeprefix("Server.").removeprefix("Client."))
    if found in (ErrorKind.PLACE, ErrorKind.NOT_OFFERED, ErrorKind.SETTING, None):
        return next((meant for words, meant in _IN_WORDS if words in message), found)
    return found


def find_code(text: str) -> str | None:
    """EC2's code in the words of the AWS provider ("api error InsufficientInstanceCapacity: ...") or of others."""
    found = _said_in(text)
    return found[0] if found else None


def make_error(code: str, message: str, what: str, quota: str | None = None) -> BenchError:
    """The error that says what was tried, EC2's code and its words. One with an unknown code fails this host alone.

    `quota` names the one of vCPUs that a type counts against, where that is known.
    """
    found = kind_of_code(code, message)
    made = _ERRORS[found] if found else BenchError
    words = _ENCODED.sub("", message).strip()
    said = words if words.startswith(code) else f"{code}: {words}".rstrip(": ")
    limited = (quota if code in _VCPUS else None) or QUOTAS.get(code)
    used_up = f"the quota of {limited} is used up: " if found is ErrorKind.QUOTA else ""
    next_step = _BY_CODE.get(code) or (_NEXT_STEPS[found] if found else "")
    return made(f"{what}: {used_up}{said}", next_step=next_step)


def from_botocore(caught: ClientError, what: str, quota: str | None = None) -> BenchError:
    """The same, of what botocore raised."""
    said = caught.response.get("Error", {})
    return make_error(str(said.get("Code", "")), str(said.get("Message", "")), what, quota)


def from_text(text: str, what: str, quota: str | None = None) -> BenchError:
    """The same, of a tool's text: by the code that is in it, else with the text's last line."""
    found = _said_in(text)
    return make_error(*found, what, quota) if found else BenchError(f"{what}: {last_line(text)}")


def find_raised_code(raised: BenchError) -> str | None:
    """EC2's code behind an error that `of` made, where it was raised from botocore's."""
    cause = raised.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else None


def _said_in(text: str) -> tuple[str, str] | None:
    found = next((match for pattern in _IN_TEXT if (match := pattern.search(text))), None)
    return (found[1], found[2].strip()) if found else None
