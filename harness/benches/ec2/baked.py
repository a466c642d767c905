"""Which images of our own are there, and how do they go? Found by their tags, which tell how they came to be.

One that nothing proves yet carries a token, as a host does, by which `sweep` finds it when its maker died. What is
published carries none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.benches.ec2 import orphans
from harness.benches.ec2.api import Api
from harness.benches.ec2.orphans import EXPIRES, RUN, TOKEN, Orphan
from harness.errors import CleanupError
from harness.model.cloud import BakedImage

NAME, USER, BASE = "ptp-harness:image", "ptp-harness:user", "ptp-harness:base"
DRIVER, PROOF = "ptp-harness:driver", "ptp-harness:proof"

_OURS = [{"Name": "tag-key", "Values": [NAME]}]


def every(api: Api) -> list[BakedImage]:
    """All of this account in this Region, oldest first. Raises BenchError."""
    what = "listing our images"
    found = api.pages("ec2", "describe_images", "Images", what=what, Owners=["self"], Filters=_OURS)
    return sorted((of(said) for said in found), key=lambda one: (one.created, one.ident))


def newest(images: Iterable[BakedImage], name: str, architecture: str, *, run: str = "") -> BakedImage | None:
    """The newest that can be launched: of those that are proven, or of one run's own whether it is or not."""
    fit = [one for one in images if (one.name, one.architecture, one.state) == (name, architecture, "available")]
    return max(
        (one for one in fit if (one.run == run if run else one.proof)), key=lambda one: one.created, default=None
    )


def of(said: Mapping[str, Any]) -> BakedImage:
    """An image as DescribeImages tells it. One that carries a token is proven by nothing, whatever else it says."""
    tags = {tag["Key"]: tag["Value"] for tag in said.get("Tags", ())}
    volumes = [one["Ebs"] for one in said.get("BlockDeviceMappings", ()) if "Ebs" in one]
    return BakedImage(
        ident=said["ImageId"],
        name=tags.get(NAME, ""),
        architecture=said.get("Architecture", ""),
        user=tags.get(USER, ""),
        base=tags.get(BASE, ""),
        driver=tags.get(DRIVER, ""),
        run=tags.get(RUN, ""),
        proof=None if TOKEN in tags else tags.get(PROOF),
        created=said.get("CreationDate", ""),
        state=said.get("State", ""),
        snapshots=tuple(one["SnapshotId"] for one in volumes if one.get("SnapshotId")),
    )


def publish(api: Api, image: BakedImage, *, proof: str) -> None:
    """Say by which run it is proven, then take away the token by which it could be swept."""
    things, what = [image.ident, *image.snapshots], f"publishing the image {image.ident}"
    api.call("ec2", "create_tags", what=what, Resources=things, Tags=[{"Key": PROOF, "Value": proof}])
    api.call("ec2", "delete_tags", what=what, Resources=things, Tags=[{"Key": TOKEN}, {"Key": EXPIRES}])


def remove(api: Api, images: Sequence[BakedImage]) -> None:
    """Remove images and their snapshots, until EC2 shows them no more. Raises CleanupError, BenchError."""
    things = [Orphan(kind="image", ident=one.ident, tags={}) for one in images]
    things += [Orphan(kind="snapshot", ident=ident, tags={}) for one in images for ident in one.snapshots]
    why = ""
    try:
        orphans.remove(api, things)
    except CleanupError as error:
        why = f" ({error.message})"
    still = {one.ident for one in every(api)} | _there(api, [one.ident for one in things if one.kind == "snapshot"])
    if left := [f"{one}{why}" for one in things if one.ident in still]:
        raise CleanupError(left, next_step="`ptp-harness image delete` tries again")


def _there(api: Api, snapshots: list[str]) -> set[str]:
    """Those snapshots of ours that EC2 still has."""
    wanted = [{"Name": "snapshot-id", "Values": snapshots}]
    ours = {"OwnerIds": ["self"], "Filters": wanted}
    if not snapshots:
        return set()
    found = api.pages("ec2", "describe_snapshots", "Snapshots", what="looking for snapshots of ours", **ours)
    return {str(one["SnapshotId"]) for one in found}
