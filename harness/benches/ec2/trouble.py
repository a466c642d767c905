"""What does an error of EC2 mean for a campaign? One table from codes to kinds, and from kinds to errors."""

import re
from enum import StrEnum

from botocore.exceptions import ClientError

from harness.bench import BenchError, CapacityError, FatalError, NotOfferedError, QuotaError, TransientError


class Kind(StrEnum):
    """What to do: try again; try another place; give up on this type; give up on this place; stop the campaign."""

    TRANSIENT = "transient"
    CAPACITY = "capacity"
    QUOTA = "quota"
    PLACE = "place"  # this zone, or this combination of settings, cannot have it; another may
    NOT_OFFERED = "not offered"
    FATAL = "fatal"


KINDS = {
    "RequestLimitExceeded": Kind.TRANSIENT,
    "Throttling": Kind.TRANSIENT,
    "ThrottlingException": Kind.TRANSIENT,
    "TooManyRequestsException": Kind.TRANSIENT,
    "EC2ThrottledException": Kind.TRANSIENT,
    "InternalError": Kind.TRANSIENT,
    "InternalFailure": Kind.TRANSIENT,
    "Server.InternalError": Kind.TRANSIENT,
    "Unavailable": Kind.TRANSIENT,
    "ServiceUnavailable": Kind.TRANSIENT,
    "RequestTimeout": Kind.TRANSIENT,
    "InvalidInstanceID.NotFound": Kind.TRANSIENT,  # just after it was made
    "InvalidPlacementGroup.InUse": Kind.TRANSIENT,
    "DependencyViolation": Kind.TRANSIENT,
    "InsufficientInstanceCapacity": Kind.CAPACITY,
    "Server.InsufficientInstanceCapacity": Kind.CAPACITY,
    "InsufficientHostCapacity": Kind.CAPACITY,
    "InsufficientReservedInstanceCapacity": Kind.CAPACITY,
    "SpotMaxPriceTooLow": Kind.CAPACITY,
    "InstanceLimitExceeded": Kind.QUOTA,
    "VcpuLimitExceeded": Kind.QUOTA,
    "MaxSpotInstanceCountExceeded": Kind.QUOTA,
    "PlacementGroupLimitExceeded": Kind.QUOTA,
    "SecurityGroupLimitExceeded": Kind.QUOTA,
    "Unsupported": Kind.PLACE,
    "UnsupportedOperation": Kind.PLACE,
    "InvalidParameterCombination": Kind.PLACE,
    "InvalidParameterValue": Kind.PLACE,
    "InvalidInstanceType": Kind.NOT_OFFERED,
    "UnauthorizedOperation": Kind.FATAL,
    "AccessDenied": Kind.FATAL,
    "AccessDeniedException": Kind.FATAL,
    "AuthFailure": Kind.FATAL,
    "OptInRequired": Kind.FATAL,
    "Blocked": Kind.FATAL,
    "PendingVerification": Kind.FATAL,
    "ExpiredToken": Kind.FATAL,
    "ExpiredTokenException": Kind.FATAL,
    "RequestExpired": Kind.FATAL,
    "InvalidClientTokenId": Kind.FATAL,
    "SignatureDoesNotMatch": Kind.FATAL,
    "UnrecognizedClientException": Kind.FATAL,
}
"""Codes of EC2's API reference (Error codes), of STS and of Service Quotas."""

_ERRORS: dict[Kind, type[BenchError]] = {
    Kind.TRANSIENT: TransientError,
    Kind.CAPACITY: CapacityError,
    Kind.QUOTA: QuotaError,
    Kind.PLACE: BenchError,
    Kind.NOT_OFFERED: NotOfferedError,
    Kind.FATAL: FatalError,
}

_NEXT_STEPS = {
    Kind.TRANSIENT: "run it again in a few minutes",
    Kind.CAPACITY: "run it again later, in another Region, or with another size",
    Kind.QUOTA: "ask for more in Service Quotas, or run fewer at once (parallel)",
    Kind.PLACE: "",
    Kind.NOT_OFFERED: "`ptp-harness types` lists what the Region has",
    Kind.FATAL: "`ptp-harness doctor --bench ec2` says what is missing",
}

_IN_TEXT = re.compile(r"\b(?:api error |An error occurred \()([A-Za-z0-9.]+)\b")


def kind(code: str, message: str = "") -> Kind | None:
    """What a code means; None for one that is not known. The message tells a zone's refusals apart."""
    if "not supported in your requested Availability Zone" in message:
        return Kind.PLACE
    return KINDS.get(code)


def code_in(text: str) -> str | None:
    """EC2's code in the words of the AWS provider ("api error InsufficientInstanceCapacity: ...") or of botocore."""
    match = _IN_TEXT.search(text)
    return match[1] if match else None


def error(code: str, message: str, what: str) -> BenchError:
    """The error that says what was tried, EC2's code and its words. One with an unknown code fails this host alone."""
    found = kind(code, message)
    made = _ERRORS.get(found, BenchError) if found else BenchError
    return made(f"{what}: {code}: {message}", next_step=_NEXT_STEPS.get(found, "") if found else "")


def of(caught: ClientError, what: str) -> BenchError:
    """The same, of what botocore raised."""
    said = caught.response.get("Error", {})
    return error(str(said.get("Code", "")), str(said.get("Message", "")), what)
