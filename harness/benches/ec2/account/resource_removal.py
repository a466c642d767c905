"""Remove resources of ours from EC2: first the instances, then what depends on their end.

If the engine was killed, an instance may exist that no stack state contains. The stack's placement group and security
group cannot be destroyed while that instance uses them: first end the instances of a token, then destroy its stack,
then look for the remaining resources.

EC2 answers late: a group that was deleted may be listed once more, and its second removal fails. So a refusal alone
never counts as a leftover: list the resources again after `remove`, by `list_remaining`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.benches.bench import BenchError, FatalError
from harness.benches.ec2.account.tagged_resources import ENDING, GONE, TaggedResource
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import CleanupError
from harness.model.ec2_deadlines import deadlines_of

_POLL_S, _SLOWEST_POLL_S, _POLL_PART = 1.0, 15.0, 16
"""The first and the longest pause between polls; a pause is at most this part of the time already waited."""

LIST_AGAIN_S = (2.0, 4.0, 8.0)
"""The pauses after which EC2 is asked again what is left: it tells late what is gone."""

_UNAUTHORIZED = "UnauthorizedOperation"

REMOVALS = {
    "volume": ("delete_volume", "VolumeId"),
    "placement-group": ("delete_placement_group", "GroupName"),
    "security-group": ("delete_security_group", "GroupId"),
    "key-pair": ("delete_key_pair", "KeyName"),
    "image": ("deregister_image", "ImageId"),
    "snapshot": ("delete_snapshot", "SnapshotId"),  # only after its image is removed, which uses it
}

BY_HAND = {
    "instance": "terminate-instances --instance-ids",
    "volume": "delete-volume --volume-id",
    "placement-group": "delete-placement-group --group-name",
    "security-group": "delete-security-group --group-id",
    "key-pair": "delete-key-pair --key-name",
    "image": "deregister-image --image-id",
    "snapshot": "delete-snapshot --snapshot-id",
}
"""The command of `aws ec2` by which a person removes each kind."""

_IN_USE_BY_INSTANCES = ("placement-group", "security-group")
"""Kinds that EC2 does not delete before the instances that use them are gone."""


def remove(
    api: Api,
    resources: Sequence[TaggedResource],
    *,
    host: str = "",
    pause: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Mapping[str, str]:
    """Remove resources: end the instances and wait until they are gone, then remove the others, which depend on them.

    Returns the reasons for which resources could not be removed, by the resource's text, such as "volume vol-1". Some
    of them may be gone all the same: UnauthorizedOperation is also the answer about what is gone, where a policy looks
    at tags. Raises CleanupError for instances that do not begin to end, BenchError when EC2 cannot be asked.
    """
    instances = [resource for resource in resources if resource.kind == "instance"]
    ending = _end_instances(api, instances, host, pause, now) if instances else []
    refusals: dict[str, str] = {}
    for resource in resources:
        if resource.kind in _IN_USE_BY_INSTANCES and ending:
            refusals[str(resource)] = f"waits for {', '.join(ending)}, which is shutting down and is no longer billed"
        elif resource.kind in REMOVALS and (refusal := _remove_one(api, resource, host)) is not None:
            refusals[str(resource)] = refusal
    return refusals


def list_remaining(
    find: Callable[[], Sequence[TaggedResource]], *, pause: Callable[[float], None] = time.sleep
) -> list[TaggedResource]:
    """List what is left after `remove`: what EC2 still lists after some seconds, without instances that are ending."""
    remaining = [resource for resource in find() if not resource.ending]
    for seconds in LIST_AGAIN_S:
        if not remaining:
            break
        pause(seconds)
        remaining = [resource for resource in find() if not resource.ending]
    return remaining


def _remove_one(api: Api, resource: TaggedResource, host: str) -> str | None:
    """Remove a resource that is no instance. Returns EC2's refusal; None where the resource is gone."""
    operation, parameter = REMOVALS[resource.kind]
    arguments: dict[str, Any] = {parameter: resource.ident}
    try:
        api.call("ec2", operation, task=f"removing {resource}", host=host, **arguments)
    except BenchError as error:
        code = api_errors.find_raised_code(error) or ""
        if api_errors.is_absent(code):
            return None
        if isinstance(error, FatalError) and code != _UNAUTHORIZED:
            raise
        return error.message
    return None


def _end_instances(
    api: Api,
    instances: Sequence[TaggedResource],
    host: str,
    pause: Callable[[float], None],
    now: Callable[[], float],
) -> list[str]:
    """End instances and wait until they are gone. Returns those that are still shutting down at the deadline."""
    idents = [instance.ident for instance in instances]
    _terminate(api, [instance.ident for instance in instances if not instance.ending], host)
    deadline_s = deadlines_of(*(instance.instance_type for instance in instances)).ends_s
    start_s = now()
    while remaining := {ident: state for ident, state in _read_states(api, idents, host).items() if state != GONE}:
        waited_s = now() - start_s
        if waited_s > deadline_s:
            break
        pause(min(max(_POLL_S, waited_s / _POLL_PART), _SLOWEST_POLL_S))
    if running := [ident for ident, state in remaining.items() if state != ENDING]:
        raise CleanupError(running, next_step=f"aws ec2 terminate-instances --instance-ids {' '.join(running)}")
    return sorted(remaining)


def _terminate(api: Api, idents: Sequence[str], host: str) -> None:
    """Terminate instances. An instance that EC2 no longer has, or no longer shows as running, needs no more.

    One such instance makes EC2 refuse the whole request, which is then repeated for the others.
    """
    if not idents:
        return
    try:
        api.call("ec2", "terminate_instances", task=f"ending {', '.join(idents)}", host=host, InstanceIds=list(idents))
    except BenchError as error:
        code = api_errors.find_raised_code(error) or ""
        if not api_errors.is_absent(code) and code != _UNAUTHORIZED:
            raise
        states = _read_states(api, idents, host)
        running = [ident for ident, state in states.items() if state not in (GONE, ENDING)]
        if len(running) == len(idents):
            raise
        _terminate(api, running, host)


def _read_states(api: Api, idents: Sequence[str], host: str) -> dict[str, str]:
    """Read the states of instances. By a filter: by ids, EC2 refuses the question about one that it no longer has."""
    filters = [exact_filter("instance-id", *idents)]
    message = "watching instances end"
    pages = api.pages("ec2", "describe_instances", "Reservations", task=message, host=host, Filters=filters)
    return {instance["InstanceId"]: instance["State"]["Name"] for page in pages for instance in page["Instances"]}
