"""Find the EC2 resources that carry the harness's tags, whatever Pulumi's state contains.

Anyone who may write tags can make a resource appear here. Only a resource that is proven to be ours
(ownership_proofs.py) may be removed.
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.benches.ec2.api.api import Api, exact_filter
from harness.model.ownership import EXPIRES, OWNER, RUN, TOKEN

IMAGE = "image-"
"""Prefix of the host's name in the token of an image that is made from that host."""

GONE, ENDING = "terminated", "shutting-down"
"""States of an instance that is gone, and of one that ends: EC2 bills it no more, but its groups are still in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedResource:
    """A resource that carries the harness's tags. `kind` is EC2's word, such as instance, volume or security-group.

    `given_name`: the name given at creation, which nobody can change in EC2; for an instance, its key pair's name.
    `parts`: the volumes that are deleted with an instance, or the snapshots of an image.
    """

    kind: str
    ident: str
    tags: Mapping[str, str]
    state: str = ""
    given_name: str | None = None
    parts: tuple[str, ...] = ()
    instance_type: str = ""  # of an instance
    created_utc: str | None = None  # ISO 8601; None: EC2 does not tell it of this kind

    @property
    def ending(self) -> bool:
        """Whether the resource is an instance that is shutting down: it costs nothing more, and is not left running."""
        return self.kind == "instance" and self.state == ENDING

    @property
    def token(self) -> str:
        return self.tags.get(TOKEN, "")

    @property
    def owner(self) -> str | None:
        return self.tags.get(OWNER)

    @property
    def expires(self) -> str | None:
        return self.tags.get(EXPIRES)

    @property
    def detail(self) -> str:
        """State and end of the lease, as far as they are known."""
        return ", ".join(text for text in (self.state, self.expires and f"expires {self.expires}") if text)

    def __str__(self) -> str:
        return f"{self.kind} {self.ident}"


def find(api: Api, *, run: str | None = None, token: str | None = None, host: str = "") -> list[TaggedResource]:
    """List this Region's resources with the harness's tags: of one run, of one token, or all. Most costly kind first.

    A volume that is attached is deleted with its instance and is not listed. Images have tokens of their own: a search
    for a host's token does not ask for images, and a search for an image's token asks for nothing else. Raises
    ValueError for an empty run or token.
    """
    if run == "" or token == "":
        raise ValueError("an empty name would select what is not ours")
    tags = {key: value for key, value in {RUN: run, TOKEN: token}.items() if value is not None}
    filters = [exact_filter(f"tag:{key}", value) for key, value in tags.items()] or [exact_filter("tag-key", TOKEN)]
    is_image = token is not None and token.partition("/")[2].startswith(IMAGE)
    listings = _LISTINGS if token is None else _OF_IMAGES if is_image else _OF_HOSTS
    resources = [resource for listing in listings for resource in listing(api, filters, host)]
    return [resource for resource in resources if all(resource.tags.get(key) == value for key, value in tags.items())]


def _list_instances(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    message = "listing our instances"
    for page in api.pages("ec2", "describe_instances", "Reservations", task=message, host=host, Filters=filters):
        for instance in page["Instances"]:
            if instance["State"]["Name"] != GONE:
                yield TaggedResource(
                    kind="instance",
                    ident=instance["InstanceId"],
                    tags=_parse_tags(instance),
                    state=instance["State"]["Name"],
                    given_name=instance.get("KeyName"),
                    parts=deleted_volumes(instance),
                    instance_type=instance.get("InstanceType", ""),
                    created_utc=_read_time(instance, "LaunchTime"),
                )


def _list_volumes(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    detached_filters = [*filters, exact_filter("status", "available")]
    for volume in api.pages(
        "ec2", "describe_volumes", "Volumes", task="listing our volumes", host=host, Filters=detached_filters
    ):
        created = _read_time(volume, "CreateTime")
        yield TaggedResource(kind="volume", ident=volume["VolumeId"], tags=_parse_tags(volume), created_utc=created)


def _list_placement_groups(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    message = "listing our placement groups"
    answer = api.call("ec2", "describe_placement_groups", task=message, host=host, Filters=filters)
    for group in answer["PlacementGroups"]:
        name = group["GroupName"]
        yield TaggedResource(kind="placement-group", ident=name, tags=_parse_tags(group), given_name=name)


def _list_security_groups(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    message = "listing our security groups"
    for group in api.pages(
        "ec2", "describe_security_groups", "SecurityGroups", task=message, host=host, Filters=filters
    ):
        name = group.get("GroupName")
        yield TaggedResource(kind="security-group", ident=group["GroupId"], tags=_parse_tags(group), given_name=name)


def _list_key_pairs(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    answer = api.call("ec2", "describe_key_pairs", task="listing our key pairs", host=host, Filters=filters)
    for key_pair in answer["KeyPairs"]:
        name, created = key_pair["KeyName"], _read_time(key_pair, "CreateTime")
        yield TaggedResource(
            kind="key-pair", ident=name, tags=_parse_tags(key_pair), given_name=name, created_utc=created
        )


def _list_images(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    for image in api.pages(
        "ec2", "describe_images", "Images", task="listing our images", host=host, Owners=["self"], Filters=filters
    ):
        if TOKEN in _parse_tags(image):  # a published image has no token, and is no leftover of its run
            yield parse_image(image)


def _list_snapshots(api: Api, filters: list[dict[str, Any]], host: str) -> Iterator[TaggedResource]:
    message = "listing our snapshots"
    for snapshot in api.pages(
        "ec2", "describe_snapshots", "Snapshots", task=message, host=host, OwnerIds=["self"], Filters=filters
    ):
        if TOKEN in _parse_tags(snapshot):
            yield TaggedResource(
                kind="snapshot",
                ident=snapshot["SnapshotId"],
                tags=_parse_tags(snapshot),
                state=snapshot.get("State", ""),
                created_utc=_read_time(snapshot, "StartTime"),
            )


def parse_image(description: Mapping[str, Any]) -> TaggedResource:
    """Convert an image as DescribeImages returns it."""
    snapshots = [
        mapping["Ebs"]["SnapshotId"]
        for mapping in description.get("BlockDeviceMappings", ())
        if mapping.get("Ebs", {}).get("SnapshotId")
    ]
    return TaggedResource(
        kind="image",
        ident=description["ImageId"],
        tags=_parse_tags(description),
        state=description.get("State", ""),
        given_name=description.get("Name"),
        parts=tuple(snapshots),
        created_utc=_read_time(description, "CreationDate"),
    )


def deleted_volumes(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the volumes that EC2 will delete with an instance, from an instance as DescribeInstances returns it."""
    disks = [entry.get("Ebs", {}) for entry in description.get("BlockDeviceMappings", ())]
    return tuple(entry["VolumeId"] for entry in disks if entry.get("DeleteOnTermination") and entry.get("VolumeId"))


_OF_HOSTS = (_list_instances, _list_volumes, _list_placement_groups, _list_security_groups, _list_key_pairs)
_OF_IMAGES = (_list_images, _list_snapshots)
_LISTINGS = _OF_HOSTS + _OF_IMAGES


def _read_time(description: Mapping[str, Any], field: str) -> str | None:
    """Read a moment in ISO 8601: boto3 gives most as datetime, and that of images as text."""
    moment = description.get(field)
    return moment.isoformat() if isinstance(moment, datetime.datetime) else moment


def _parse_tags(description: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in description.get("Tags", ())}
