"""What carries our tags in EC2, whatever Pulumi's state says? It is removed in the order in which EC2 lets go.

Whoever may tag can put any of it here: what is proven to be ours (proofs.py) may be removed, and nothing else.

After a killed engine an instance may be in no state and in the stack's placement group and security group, which can
then not be destroyed: end a token's instances first, then destroy its stack, then look for the rest.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError, FatalError
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import CleanupError
from harness.model.ownership import EXPIRES, TAGS, TOKEN

RUN = f"{TAGS}run"
IMAGE = "image-"
"""What stands before the host's name in the token of the image that is made of it."""

_GONE_S = 300.0
_POLL_S = 1.0
_GONE = ("terminated",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedResource:
    """One thing that carries our tags. `kind` is EC2's word, such as instance, volume or security-group.

    `given_name`: what its maker called it, which EC2 lets nobody change; of an instance the name of its key pair.
    `parts`: the volumes that go with an instance, the snapshots of an image.
    """

    kind: str
    ident: str
    tags: Mapping[str, str]
    state: str = ""
    given_name: str | None = None
    parts: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        return self.tags.get(TOKEN, "")

    @property
    def expires(self) -> str | None:
        return self.tags.get(EXPIRES)

    @property
    def detail(self) -> str:
        """Its state and the end of its lease, where there are such."""
        return ", ".join(words for words in (self.state, self.expires and f"expires {self.expires}") if words)

    def __str__(self) -> str:
        return f"{self.kind} {self.ident}"


def find(api: Api, *, run: str | None = None, token: str | None = None, host: str = "") -> list[TaggedResource]:
    """All that carries our tags in this Region: of exactly one run or token, or of anybody. Most costly first.

    A volume that is attached goes with its instance and is not listed beside it. An empty name is no selector. Images
    have tokens of their own, so that who looks for a host's things need not ask for images, nor the other way round.
    """
    if run == "" or token == "":
        raise ValueError("an empty name would select what is not ours")
    wanted = {key: value for key, value in {RUN: run, TOKEN: token}.items() if value is not None}
    filters = [exact_filter(f"tag:{key}", value) for key, value in wanted.items()] or [exact_filter("tag-key", TOKEN)]
    is_image = token is not None and token.partition("/")[2].startswith(IMAGE)
    listings = _LISTINGS if token is None else _OF_IMAGES if is_image else _OF_HOSTS
    found = [each for listing in listings for each in listing(api, filters, host)]
    return [each for each in found if all(each.tags.get(key) == value for key, value in wanted.items())]


def remove(
    api: Api, orphans: Sequence[TaggedResource], *, host: str = "", pause: Callable[[float], None] = time.sleep
) -> None:
    """Remove them, and be sure of it: what was ended is waited for, since the rest can go only after it.

    What EC2 refuses does not keep the others. Raises CleanupError for what could not be removed, BenchError when EC2
    cannot be asked.
    """
    instances = [each.ident for each in orphans if each.kind == "instance"]
    if instances:
        api.call("ec2", "terminate_instances", what=f"ending {', '.join(instances)}", host=host, InstanceIds=instances)
        _until_gone(api, instances, host, pause)
    refused: list[str] = []
    for each in orphans:
        if each.kind in _REMOVALS:
            operation, parameter = _REMOVALS[each.kind]
            named: dict[str, Any] = {parameter: each.ident}
            try:
                api.call("ec2", operation, what=f"removing {each}", host=host, **named)
            except FatalError:
                raise
            except BenchError as error:
                refused.append(f"{each} ({error.message})")
    if refused:
        raise CleanupError(refused, next_step="`ptp-harness sweep --bench ec2 --yes` tries again")


_REMOVALS = {
    "volume": ("delete_volume", "VolumeId"),
    "placement-group": ("delete_placement_group", "GroupName"),
    "security-group": ("delete_security_group", "GroupId"),
    "key-pair": ("delete_key_pair", "KeyName"),
    "image": ("deregister_image", "ImageId"),
    "snapshot": ("delete_snapshot", "SnapshotId"),  # after its image, which holds it
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
"""By which command a person removes each kind."""


def _until_gone(api: Api, instances: list[str], host: str, pause: Callable[[float], None]) -> None:
    give_up = time.monotonic() + _GONE_S
    while True:
        pages = api.pages(
            "ec2", "describe_instances", "Reservations", what="watching instances end", host=host, InstanceIds=instances
        )
        states = {each["InstanceId"]: each["State"]["Name"] for page in pages for each in page["Instances"]}
        left = [ident for ident, state in states.items() if state not in _GONE]
        if not left:
            return
        if time.monotonic() > give_up:
            raise CleanupError(left, next_step=f"aws ec2 terminate-instances --instance-ids {' '.join(left)}")
        pause(_POLL_S)


def _instances(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    what = "listing our instances"
    for page in api.pages("ec2", "describe_instances", "Reservations", what=what, host=host, Filters=filters):
        for each in page["Instances"]:
            if each["State"]["Name"] not in _GONE:
                yield TaggedResource(
                    kind="instance",
                    ident=each["InstanceId"],
                    tags=_tags(each),
                    state=each["State"]["Name"],
                    given_name=each.get("KeyName"),
                    parts=deleted_volumes(each),
                )


def _volumes(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    loose = [*filters, exact_filter("status", "available")]
    for each in api.pages("ec2", "describe_volumes", "Volumes", what="listing our volumes", host=host, Filters=loose):
        yield TaggedResource(kind="volume", ident=each["VolumeId"], tags=_tags(each))


def _placement_groups(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    what = "listing our placement groups"
    answer = api.call("ec2", "describe_placement_groups", what=what, host=host, Filters=filters)
    for each in answer["PlacementGroups"]:
        name = each["GroupName"]
        yield TaggedResource(kind="placement-group", ident=name, tags=_tags(each), given_name=name)


def _security_groups(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    what = "listing our security groups"
    for each in api.pages("ec2", "describe_security_groups", "SecurityGroups", what=what, host=host, Filters=filters):
        name = each.get("GroupName")
        yield TaggedResource(kind="security-group", ident=each["GroupId"], tags=_tags(each), given_name=name)


def _key_pairs(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    answer = api.call("ec2", "describe_key_pairs", what="listing our key pairs", host=host, Filters=filters)
    for each in answer["KeyPairs"]:
        name = each["KeyName"]
        yield TaggedResource(kind="key-pair", ident=name, tags=_tags(each), given_name=name)


def _images(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    ours = {"Owners": ["self"], "Filters": filters}
    for each in api.pages("ec2", "describe_images", "Images", what="listing our images", host=host, **ours):
        if TOKEN in _tags(each):  # what is published has none, and is no orphan of its run
            yield parse_image(each)


def _snapshots(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    ours = {"OwnerIds": ["self"], "Filters": filters}
    for each in api.pages("ec2", "describe_snapshots", "Snapshots", what="listing our snapshots", host=host, **ours):
        if TOKEN in _tags(each):
            yield TaggedResource(
                kind="snapshot", ident=each["SnapshotId"], tags=_tags(each), state=each.get("State", "")
            )


def parse_image(said: Mapping[str, Any]) -> TaggedResource:
    """An image as DescribeImages tells it."""
    disks = [
        one["Ebs"]["SnapshotId"] for one in said.get("BlockDeviceMappings", ()) if one.get("Ebs", {}).get("SnapshotId")
    ]
    return TaggedResource(
        kind="image",
        ident=said["ImageId"],
        tags=_tags(said),
        state=said.get("State", ""),
        given_name=said.get("Name"),
        parts=tuple(disks),
    )


def deleted_volumes(said: Mapping[str, Any]) -> tuple[str, ...]:
    """The volumes that EC2 is to delete with an instance, as DescribeInstances tells it."""
    disks = [one.get("Ebs", {}) for one in said.get("BlockDeviceMappings", ())]
    return tuple(one["VolumeId"] for one in disks if one.get("DeleteOnTermination") and one.get("VolumeId"))


_OF_HOSTS = (_instances, _volumes, _placement_groups, _security_groups, _key_pairs)
_OF_IMAGES = (_images, _snapshots)
_LISTINGS = _OF_HOSTS + _OF_IMAGES


def _tags(thing: Mapping[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in thing.get("Tags", ())}
