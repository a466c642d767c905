"""Translate EC2's errors for a campaign: one table from codes to kinds, one table from kinds to exceptions."""

import re
from enum import StrEnum

from botocore.exceptions import ClientError

from harness.benches.bench import BenchError, CapacityError, FatalError, NotOfferedError, QuotaError, TransientError
from harness.errors import last_line


class ErrorKind(StrEnum):
    """The reaction to an error: retry; try another place; give up on the type; correct settings; stop the campaign."""

    TRANSIENT = "transient"
    CAPACITY = "capacity"
    QUOTA = "quota"
    PLACE = "place"  # not possible in this zone or with this combination of settings; perhaps in another
    NOT_OFFERED = "not offered"
    SETTING = "setting"  # a named resource does not exist or cannot be used: no other place helps
    FATAL = "fatal"


class PlaceError(BenchError):
    """This zone or subnet cannot have the host; another may."""


_CODES = {
    # Throttling, AWS's internal errors, states that change by themselves, NotFound just after an instance was made.
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

Client.InternalError, "Client error on launch", means a volume's key that may not be used: a retry does not help.
"""

INSTANCE_PROFILE = "IAM Instance Profile"
"""Part of EC2's messages about an instance profile, whose code is InvalidParameterValue: "Value (NAME) for parameter
iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", and "IAM Instance Profile \"ARN\" has no
associated IAM Roles"."""

_IN_WORDS = (
    (INSTANCE_PROFILE, ErrorKind.SETTING),
    ("not supported in your requested Availability Zone", ErrorKind.PLACE),
    ("for InstanceType", ErrorKind.NOT_OFFERED),  # RunInstances: "Invalid value 'm99.huge' for InstanceType."
    ("does not match the architecture", ErrorKind.SETTING),
    ("different networks", ErrorKind.SETTING),  # a subnet and a security group of two VPCs
)
"""Parts of EC2's message that tell the meaning of a code with several meanings."""

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
"""The limited resource, for each code of the kind QUOTA."""

_VCPUS = ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "limit-exceeded")

_NEXT_STEPS = {
    ErrorKind.TRANSIENT: "run it again in a few minutes",
    ErrorKind.CAPACITY: "run it again later, in another Region, or with another size",
    ErrorKind.QUOTA: "ask for more in Service Quotas, or run fewer at once (parallel)",
    ErrorKind.PLACE: "another zone or another size may do",
    ErrorKind.NOT_OFFERED: "`ptp-harness types` lists what the Region has",
    ErrorKind.SETTING: "correct the campaign's settings; `ptp-harness doctor --bench ec2` looks at them",
    ErrorKind.FATAL: "`ptp-harness doctor --bench ec2` says what is missing",
}

_LOG_IN = "the session has ended: log in again (`aws sso login`, or new temporary keys)"
_CLOCK = "is this machine's clock right?"
_POLICY = "docs/iam-policy.json lists every permission that is needed"
_KEYS = "the keys are wrong, or the Region is an opt-in one that this account has not enabled"

_PROFILE = (
    "correct `instance_profile:` (`aws iam list-instance-profiles` lists them, with their roles); EC2 accepts a new "
    "one after some seconds"
)

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
"""Error formats, in order: the AWS provider, botocore, a StateReason, a Spot request's status, older providers."""

_THROTTLED = re.compile(
    r"\b(RequestLimitExceeded|TooManyRequestsException|(?:EC2|Request)?Throttl(?:ed|ing)(?:Exception)?)\b"
)
_ENCODED = re.compile(r"\s*Encoded authorization failure message:\s*\S+")


def kind_of_code(code: str, message: str = "") -> ErrorKind | None:
    """Return the kind of a code; None for an unknown code. `message` tells the meanings of a zone's refusals apart."""
    kind = KINDS.get(code) or KINDS.get(code.removeprefix("Server.").removeprefix("Client."))
    if kind in (ErrorKind.PLACE, ErrorKind.NOT_OFFERED, ErrorKind.SETTING, None):
        return next((refined for phrase, refined in _IN_WORDS if phrase in message), kind)
    return kind


def is_about_vcpus(words: str) -> bool:
    """Return whether an error that names a code is about a quota of vCPUs, which each instance uses."""
    return any(code in words for code in _VCPUS)


def is_throttled(words: str) -> bool:
    """Return whether a code, or an error that names one, says that there were too many requests."""
    return _THROTTLED.search(words) is not None


def is_absent(code: str) -> bool:
    """Return whether a code says that a resource does not exist, such as InvalidGroup.NotFound."""
    return code.endswith((".NotFound", ".Unknown")) or code == "InvalidAMIID.Unavailable"


def find_code(text: str) -> str | None:
    """Find EC2's code in an error text, such as "api error InsufficientInstanceCapacity: ..." of the AWS provider."""
    code_and_message = _find_code_and_message(text)
    return code_and_message[0] if code_and_message else None


def make_error(code: str, message: str, task: str, quota: str | None = None) -> BenchError:
    """Make the error with what was tried, EC2's code and message. An error with an unknown code fails only this host.

    `quota` names the vCPU quota that a type counts against, where that is known.
    """
    kind = kind_of_code(code, message)
    error_class = _ERRORS[kind] if kind else BenchError
    text = _ENCODED.sub("", message).strip()
    reason = text if text.startswith(code) else f"{code}: {text}".rstrip(": ")
    resource = (quota if code in _VCPUS else None) or QUOTAS.get(code)
    used_up = f"the quota of {resource} is used up: " if kind is ErrorKind.QUOTA else ""
    next_step = _BY_CODE.get(code) or (_NEXT_STEPS[kind] if kind else "")
    if INSTANCE_PROFILE in text:
        next_step = _PROFILE
    return error_class(f"{task}: {used_up}{reason}", next_step=next_step)


def from_botocore(caught: ClientError, task: str, quota: str | None = None) -> BenchError:
    """Make the error from botocore's exception; see make_error."""
    details = caught.response.get("Error", {})
    return make_error(str(details.get("Code", "")), str(details.get("Message", "")), task, quota)


def from_text(text: str, task: str, quota: str | None = None) -> BenchError:
    """Make the error from a tool's text: by the code in the text, else with the text's last line. See make_error."""
    code_and_message = _find_code_and_message(text)
    return make_error(*code_and_message, task, quota) if code_and_message else BenchError(f"{task}: {last_line(text)}")


def find_raised_code(raised: BenchError) -> str | None:
    """Return EC2's code of an error that was raised from botocore's exception; None for other errors."""
    cause = raised.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else None


def _find_code_and_message(text: str) -> tuple[str, str] | None:
    first_match = next((match for pattern in _IN_TEXT if (match := pattern.search(text))), None)
    return (first_match[1], first_match[2].strip()) if first_match else None
