"""What the engine's events say, in our words."""

import pytest

from harness.benches.bench import CapacityError, FatalError, QuotaError
from harness.benches.ec2.api.api_errors import ErrorKind
from harness.benches.ec2.engine import resource_failures
from harness.benches.ec2.engine.resource_failures import EngineError, failure, progress, short

URN = "urn:pulumi:k3f9-m7i.large::ptp-harness::ptp:infra:PrecisionHost$aws:ec2/instance:Instance::host-al2023"
REFUSED = (
    "<{%reset%}>1 error occurred:\n\t* creating EC2 Instance: operation error EC2: RunInstances, https response error "
    "StatusCode: 500, RequestID: 0f-1, api error InsufficientInstanceCapacity: We currently do not have sufficient "
    "capacity.\n\n<{%reset%}>\n"
)


def test_ec2_s_refusal_is_told_by_code_and_words() -> None:
    told = failure(URN, REFUSED)
    assert told is not None
    assert (told.urn, told.kind, told.code) == (URN, ErrorKind.CAPACITY, "InsufficientInstanceCapacity")
    assert told.message.startswith("creating EC2 Instance: operation error")
    assert "<{%" not in told.message


@pytest.mark.parametrize(
    "message", ["", "update failed", "error: update failed", "an unhandled error occurred: program exited with 1"]
)
def test_a_repetition_is_no_failure(message: str) -> None:
    assert failure(URN, message) is None


def test_a_failure_that_ec2_did_not_cause_has_no_kind() -> None:
    told = failure("", "placement: no such group")
    assert told is not None
    assert (told.kind, told.code, told.message) == (None, None, "placement: no such group")


@pytest.mark.parametrize(
    ("code", "error"),
    [("InsufficientInstanceCapacity", CapacityError), ("VcpuLimitExceeded", QuotaError), ("AuthFailure", FatalError)],
)
def test_the_cause_is_the_bench_s_own_error(code: str, error: type[Exception]) -> None:
    other = failure(URN, "something else")
    told = failure(URN, REFUSED.replace("InsufficientInstanceCapacity", code))
    assert other is not None
    assert told is not None
    cause = EngineError("stack", failures=[other, told]).cause("launching m7i.large")
    assert type(cause) is error
    assert str(cause).startswith("launching m7i.large: ")
    assert f"{code}: We currently do not have sufficient capacity." in str(cause)


def test_what_ec2_finds_out_late_is_a_cause_too() -> None:
    """In the words of the AWS provider: it waits, and tells why the instance ended."""
    reason = "Server.InsufficientInstanceCapacity: There was insufficient capacity available."
    told = failure(
        URN,
        "1 error occurred:\n\t* waiting for EC2 Instance (i-0a1b2c3d) create: unexpected state 'terminated', wanted "
        f"target 'running'. last error: {reason}\n\n",
    )
    assert told is not None
    cause = EngineError("stack", failures=[told]).cause("m7i.large in eu-north-1a")
    assert type(cause) is CapacityError
    assert cause.message == f"m7i.large in eu-north-1a: {reason}"


def test_without_a_refusal_there_is_no_cause() -> None:
    assert EngineError("stack").cause("launching") is None


def test_a_resource_is_named_as_people_do() -> None:
    assert short(URN) == "Instance host-al2023"


@pytest.mark.parametrize(
    ("operation", "begun", "urn", "asks"),
    [
        ("create", True, URN, True),
        ("create-replacement", True, URN, True),
        ("create", False, URN, False),
        ("delete-replaced", True, URN, False),
        ("same", True, URN, False),
        ("create", True, URN.replace("instance:Instance", "keyPair:KeyPair"), False),
    ],
)
def test_when_an_instance_is_asked_for(operation: str, begun: bool, urn: str, asks: bool) -> None:
    assert resource_failures.asks_for_instance({"operation": operation, "urn": urn, "begun": begun}) is asks


@pytest.mark.parametrize(
    ("operation", "begun", "words"),
    [
        ("create", True, "creating Instance host-al2023"),
        ("create", False, "created Instance host-al2023"),
        ("delete", True, "removing Instance host-al2023"),
        ("same", True, None),
        ("refresh", False, None),
    ],
)
def test_progress_is_one_line_about_what_somebody_waits_for(operation: str, begun: bool, words: str | None) -> None:
    assert progress({"operation": operation, "urn": URN, "begun": begun}) == words
