"""Which images of our own are there, and how do they go? Found by their tags, which tell how they came to be.

One that nothing proves yet carries a token, as a host does, by which `sweep` finds it when its maker died. What is
published carries none, but a signature of its id and its tags: whoever may tag images can write the rest.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.benches.ec2.account import tagged_resources
from harness.benches.ec2.account.tagged_resources import RUN, TaggedResource
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import CleanupError, RequestError
from harness.model import Resource, ownership
from harness.model.cloud import BakedImage
from harness.model.ownership import (
    EXPIRES,
    NOBODY,
    SIGNATURE,
    TAGS,
    TOKEN,
    DescribedResource,
    Removal,
    RunState,
    Signer,
)
from harness.untrusted import names

NAME, USER, BASE = f"{TAGS}image", f"{TAGS}user", f"{TAGS}base"
DRIVER, PROOF = f"{TAGS}driver", f"{TAGS}proof"


def list_images(api: Api, signer: Signer = NOBODY) -> list[BakedImage]:
    """All of this account in this Region, oldest first, each with whether that key signed it. Raises BenchError."""
    what, tagged = "listing our images", [exact_filter("tag-key", NAME)]
    found = api.pages("ec2", "describe_images", "Images", what=what, Owners=["self"], Filters=tagged)
    return sorted((parse_image(said, signer) for said in found), key=lambda one: (one.created, one.ident))


def newest_image(images: Iterable[BakedImage], name: str, architecture: str, *, run: str = "") -> BakedImage | None:
    """The newest that can be launched of those that we signed: proven ones, or one run's own whether it is or not."""
    launchable = (name, architecture, "available", True)
    fit = [one for one in images if (one.name, one.architecture, one.state, one.signed) == launchable]
    return max(
        (one for one in fit if (one.run == run if run else one.proof)), key=lambda one: one.created, default=None
    )


def parse_image(said: Mapping[str, Any], signer: Signer = NOBODY) -> BakedImage:
    """An image as DescribeImages tells it. One that carries a token is proven by nothing, whatever else it says."""
    image = tagged_resources.parse_image(said)
    tags, user = image.tags, image.tags.get(USER, "")
    tagged = DescribedResource(kind="image", ident=image.ident, tags=tags, given_name=image.given_name)
    return BakedImage(
        ident=image.ident,
        name=tags.get(NAME, ""),
        architecture=said.get("Architecture", ""),
        user=user if names.fits(names.USER, user) else "",
        base=tags.get(BASE, ""),
        driver=tags.get(DRIVER, ""),
        run=tags.get(RUN, ""),
        proof=None if TOKEN in tags else tags.get(PROOF),
        created=said.get("CreationDate", ""),
        state=image.state,
        snapshots=image.parts,
        signed=ownership.why_not_ours(tagged, signer) is None,
    )


def sign(api: Api, kind: str, ident: str, tags: Mapping[str, str], signer: Signer, *, what: str) -> None:
    """Write these tags of ours, and the signature of them and of the id, which is a proof without any name."""
    signed = {**tags, SIGNATURE: signer.tag(kind, ident, tags)}
    told = [{"Key": key, "Value": value} for key, value in signed.items()]
    api.call("ec2", "create_tags", what=what, Resources=[ident], Tags=told)


def publish(api: Api, image: BakedImage, signer: Signer, *, proof: str) -> None:
    """Say by which run it is proven, and sign that, then take away the token by which it could be swept.

    All tags are written once more: what somebody else changed in them meanwhile is not signed.
    """
    what = f"publishing the image {image.ident}"
    tags = {NAME: image.name, USER: image.user, BASE: image.base, DRIVER: image.driver, RUN: image.run, PROOF: proof}
    things = [("image", image.ident), *(("snapshot", ident) for ident in image.snapshots)]
    for kind, ident in things:
        sign(api, kind, ident, tags, signer, what=what)
    gone = [{"Key": TOKEN}, {"Key": EXPIRES}]
    api.call("ec2", "delete_tags", what=what, Resources=[ident for _, ident in things], Tags=gone)


def check_ours(image: BakedImage) -> None:
    """Raises RequestError for an image that is not proven to be ours: it is removed by nobody here."""
    unproven = None if image.signed else "nothing but tags says so"
    thing = Resource(token="", kind="image", name=image.ident, detail="", unproven=unproven)
    decided = ownership.decide_removal(thing, RunState.RELEASED, now=datetime.datetime.now(datetime.UTC))
    if decided.removal is not Removal.END:
        raise RequestError(
            f"the image {image.ident} is not proven to be ours: {decided.why}",
            next_step=f"if it is yours: `aws ec2 deregister-image --image-id {image.ident}`",
        )


def remove(api: Api, images: Sequence[BakedImage]) -> None:
    """Remove images of ours and their snapshots, until EC2 shows them no more.

    Raises CleanupError, BenchError, and RequestError for an image that is not proven to be ours.
    """
    for image in images:
        check_ours(image)
    things = [TaggedResource(kind="image", ident=one.ident, tags={}) for one in images]
    things += [TaggedResource(kind="snapshot", ident=ident, tags={}) for one in images for ident in one.snapshots]
    why = ""
    try:
        tagged_resources.remove(api, things)
    except CleanupError as error:
        why = f" ({error.message})"
    still = {one.ident for one in list_images(api)} | _there(
        api, [one.ident for one in things if one.kind == "snapshot"]
    )
    if left := [f"{one}{why}" for one in things if one.ident in still]:
        raise CleanupError(
            left, next_step="`ptp-harness image delete` tries again; `aws ec2 delete-snapshot` for a snapshot alone"
        )


def _there(api: Api, snapshots: list[str]) -> set[str]:
    """Those snapshots of ours that EC2 still has."""
    wanted = [exact_filter("snapshot-id", *snapshots)]
    ours = {"OwnerIds": ["self"], "Filters": wanted}
    if not snapshots:
        return set()
    found = api.pages("ec2", "describe_snapshots", "Snapshots", what="looking for snapshots of ours", **ours)
    return {str(one["SnapshotId"]) for one in found}
