"""Decide which of the tagged resources in EC2 are proven to be ours: by signed name, by signed id, or by our records.

A volume has neither a name nor a signature. A volume is ours if EC2 was to delete it with an instance that is proven to
be ours, which is noted while that instance exists. A snapshot is ours if its image is, which is noted in the same way.
"""

import datetime
import shlex
import threading
from collections.abc import Mapping, Sequence

from harness.benches.ec2.account.resource_removal import BY_HAND
from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.instances.launch_records import LaunchRecords
from harness.model import Resource, ownership
from harness.model.ownership import DescribedResource, Removal, RunState, Signer


class OwnershipProofs:
    """The proofs of one state directory. Threads share it."""

    def __init__(self, signer: Signer, records: LaunchRecords) -> None:
        self.signer = signer
        self._records = records
        self._parts: dict[str, set[str]] = {}  # by token: disks of proven instances and images
        self._lock = threading.Lock()

    def resources(self, orphans: Sequence[TaggedResource], region: str) -> list[Resource]:
        """Convert to Resources. An unproven resource gets the reason, and the command by which a person removes it."""
        recorded = self._list_recorded()
        for orphan in orphans:
            if orphan.parts and self._why_not_ours(orphan, recorded) is None:
                with self._lock:
                    self._parts.setdefault(orphan.token, set()).update(orphan.parts)
        recorded = self._list_recorded()
        return [_make_resource(orphan, region, self._why_not_ours(orphan, recorded)) for orphan in orphans]

    def removable(self, orphans: Sequence[TaggedResource], region: str) -> list[TaggedResource]:
        """Return the resources that a release of their token may remove."""
        now = datetime.datetime.now(datetime.UTC)
        removals = [
            ownership.decide_removal(resource, RunState.RELEASED, now=now).removal
            for resource in self.resources(orphans, region)
        ]
        return [resource for resource, removal in zip(orphans, removals, strict=True) if removal is Removal.END]

    def _why_not_ours(self, orphan: TaggedResource, recorded: Mapping[str, set[str]]) -> str | None:
        tagged = DescribedResource(kind=orphan.kind, ident=orphan.ident, tags=orphan.tags, given_name=orphan.given_name)
        return ownership.why_not_ours(tagged, self.signer, recorded)

    def _list_recorded(self) -> dict[str, set[str]]:
        """List ids and names by token, from the launch records and of the disks noted before."""
        with self._lock:
            names_by_token = {token: set(parts) for token, parts in self._parts.items()}
        for record in self._records.all():
            names = (record.instance_id, record.resource_name, *record.volume_ids)
            names_by_token.setdefault(str(record.token), set()).update(name for name in names if name)
        return names_by_token


def _make_resource(orphan: TaggedResource, region: str, why: str | None) -> Resource:
    command = f"aws ec2 {BY_HAND[orphan.kind]} {shlex.quote(orphan.ident)} --region {region}"
    return Resource(
        token=orphan.token,
        kind=orphan.kind,
        name=orphan.ident,
        detail=orphan.detail,
        expires=orphan.expires,
        unproven=None if why is None else f"{why}; if it is yours: `{command}`",
        created_utc=orphan.created_utc,
        owner=orphan.owner,
    )
