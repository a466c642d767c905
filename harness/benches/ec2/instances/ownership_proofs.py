"""Which of what carries our tags in EC2 is proven to be ours? By its signed name, its signed id, or our records.

A volume has neither a name nor a signature. It is ours when it was to be deleted with an instance that is proven to be
ours, which is noted while that instance is there. A snapshot is ours as its image is, while that is there.
"""

import datetime
import shlex
import threading
from collections.abc import Mapping, Sequence

from harness.benches.ec2.account.tagged_resources import BY_HAND, TaggedResource
from harness.benches.ec2.instances.launch_records import LaunchRecords
from harness.model import Resource, ownership
from harness.model.ownership import DescribedResource, Removal, RunState, Signer


class OwnershipProofs:
    """What one state directory can prove. Threads share it."""

    def __init__(self, signer: Signer, records: LaunchRecords) -> None:
        self.signer = signer
        self._records = records
        self._parts: dict[str, set[str]] = {}  # by token: disks of instances and images that were proven
        self._lock = threading.Lock()

    def resources(self, orphans: Sequence[TaggedResource], region: str) -> list[Resource]:
        """The same, each with what is missing for its proof, and how a person removes it in that case."""
        recorded = self._recorded()
        for one in orphans:
            if one.parts and self._why_not_ours(one, recorded) is None:
                with self._lock:
                    self._parts.setdefault(one.token, set()).update(one.parts)
        recorded = self._recorded()
        return [_resource(one, region, self._why_not_ours(one, recorded)) for one in orphans]

    def ours(self, orphans: Sequence[TaggedResource], region: str) -> list[TaggedResource]:
        """Those that a release of their token may end."""
        now = datetime.datetime.now(datetime.UTC)
        decided = [
            ownership.decide_removal(one, RunState.RELEASED, now=now).removal for one in self.resources(orphans, region)
        ]
        return [one for one, removal in zip(orphans, decided, strict=True) if removal is Removal.END]

    def _why_not_ours(self, orphan: TaggedResource, recorded: Mapping[str, set[str]]) -> str | None:
        tagged = DescribedResource(kind=orphan.kind, ident=orphan.ident, tags=orphan.tags, given_name=orphan.given_name)
        return ownership.why_not_ours(tagged, self.signer, recorded)

    def _recorded(self) -> dict[str, set[str]]:
        """Ids and names by token: of our records, and of the disks that were seen."""
        with self._lock:
            found = {token: set(parts) for token, parts in self._parts.items()}
        for record in self._records.all():
            names = (record.instance_id, record.resource_name, *record.volume_ids)
            found.setdefault(str(record.token), set()).update(name for name in names if name)
        return found


def _resource(orphan: TaggedResource, region: str, why: str | None) -> Resource:
    command = f"aws ec2 {BY_HAND[orphan.kind]} {shlex.quote(orphan.ident)} --region {region}"
    return Resource(
        token=orphan.token,
        kind=orphan.kind,
        name=orphan.ident,
        detail=orphan.detail,
        expires=orphan.expires,
        unproven=None if why is None else f"{why}; if it is yours: `{command}`",
    )
