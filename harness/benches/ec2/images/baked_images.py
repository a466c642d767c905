"""List, sign, publish and remove the images that the harness baked. Tags identify an image and record its origin.

An image that nothing proves yet carries a token, as a host does: if its maker died, `sweep` finds it by the token. A
published image carries no token, but a signature of its id and its tags: anyone who may tag images can write the other
tags.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.benches.ec2.account import resource_removal, tagged_resources
from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import CleanupError, RequestError
from harness.model import Resource, ownership
from harness.model.cloud import BakedImage
from harness.model.ec2_enums import Architecture
from harness.model.ownership import (
    EXPIRES,
    KEYLESS_SIGNER,
    RUN,
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


def list_images(api: Api, signer: Signer = KEYLESS_SIGNER) -> list[BakedImage]:
    """List this account's baked images in this Region, oldest first. `signed`: the signer's key signed the image.

    Raises BenchError.
    """
    message, filters = "listing our images", [exact_filter("tag-key", NAME)]
    descriptions = api.pages("ec2", "describe_images", "Images", task=message, Owners=["self"], Filters=filters)
    return sorted(
        (parse_image(description, signer) for description in descriptions),
        key=lambda image: (image.created, image.ident),
    )


def newest_image(
    images: Iterable[BakedImage], name: str, architecture: Architecture, *, run: str = ""
) -> BakedImage | None:
    """Find the newest launchable image that we signed: a proven one, or with `run` one of that run, proven or not."""
    launchable = (name, architecture, "available", True)
    candidates = [
        image for image in images if (image.name, image.architecture, image.state, image.signed) == launchable
    ]
    return max(
        (image for image in candidates if (image.run == run if run else image.proof)),
        key=lambda image: image.created,
        default=None,
    )


def parse_image(description: Mapping[str, Any], signer: Signer = KEYLESS_SIGNER) -> BakedImage:
    """Convert an image as DescribeImages returns it. An image with a token is unproven, whatever its other tags say."""
    image = tagged_resources.parse_image(description)
    tags, user = image.tags, image.tags.get(USER, "")
    tagged = DescribedResource(kind="image", ident=image.ident, tags=tags, given_name=image.given_name)
    return BakedImage(
        ident=image.ident,
        name=tags.get(NAME, ""),
        architecture=description.get("Architecture", ""),
        user=user if names.fits(names.USER, user) else "",
        base=tags.get(BASE, ""),
        driver=tags.get(DRIVER, ""),
        run=tags.get(RUN, ""),
        proof=None if TOKEN in tags else tags.get(PROOF),
        created=description.get("CreationDate", ""),
        state=image.state,
        snapshots=image.parts,
        signed=ownership.why_not_ours(tagged, signer) is None,
    )


def sign(api: Api, kind: str, ident: str, tags: Mapping[str, str], signer: Signer, *, task: str) -> None:
    """Write these tags, and a signature of the tags and the id: a proof that needs no name."""
    signed = {**tags, SIGNATURE: signer.sign_tags(kind, ident, tags)}
    tag_list = [{"Key": key, "Value": value} for key, value in signed.items()]
    api.call("ec2", "create_tags", task=task, Resources=[ident], Tags=tag_list)


def publish(api: Api, image: BakedImage, signer: Signer, *, proof: str) -> None:
    """Tag an image with the run that proves it, sign the tags, and delete the token by which `sweep` could remove it.

    All tags are written again, so that changes by others in the meantime are not signed.
    """
    message = f"publishing the image {image.ident}"
    tags = {NAME: image.name, USER: image.user, BASE: image.base, DRIVER: image.driver, RUN: image.run, PROOF: proof}
    resources = [("image", image.ident), *(("snapshot", ident) for ident in image.snapshots)]
    for kind, ident in resources:
        sign(api, kind, ident, tags, signer, task=message)
    deleted_tags = [{"Key": TOKEN}, {"Key": EXPIRES}]
    api.call("ec2", "delete_tags", task=message, Resources=[ident for _, ident in resources], Tags=deleted_tags)


def check_ours(image: BakedImage) -> None:
    """Raise RequestError for an image that is not proven to be ours: the harness never removes such an image."""
    unproven = None if image.signed else "only its tags say so"
    resource = Resource(token="", kind="image", name=image.ident, detail="", unproven=unproven)
    decision = ownership.decide_removal(resource, RunState.RELEASED, now=datetime.datetime.now(datetime.UTC))
    if decision.removal is not Removal.END:
        raise RequestError(
            f"the image {image.ident} is not proven to be ours: {decision.why}",
            next_step=f"if it is yours: `aws ec2 deregister-image --image-id {image.ident}`",
        )


def remove(api: Api, images: Sequence[BakedImage]) -> None:
    """Remove our images and their snapshots, and check that EC2 no longer shows them.

    Raises CleanupError, BenchError, and RequestError for an image that is not proven to be ours.
    """
    for image in images:
        check_ours(image)
    resources = [TaggedResource(kind="image", ident=image.ident, tags={}) for image in images]
    resources += [
        TaggedResource(kind="snapshot", ident=ident, tags={}) for image in images for ident in image.snapshots
    ]
    refusals = resource_removal.remove(api, resources)
    remaining = {image.ident for image in list_images(api)} | _find_snapshots(
        api, [resource.ident for resource in resources if resource.kind == "snapshot"]
    )
    if leftovers := [_describe(resource, refusals) for resource in resources if resource.ident in remaining]:
        raise CleanupError(
            leftovers,
            next_step="`ptp-harness image delete` tries again; `aws ec2 delete-snapshot` for a snapshot alone",
        )


def _describe(resource: TaggedResource, refusals: Mapping[str, str]) -> str:
    refusal = refusals.get(str(resource))
    return f"{resource} ({refusal})" if refusal else str(resource)


def _find_snapshots(api: Api, snapshots: list[str]) -> set[str]:
    """Return the ids of those of our snapshots in `snapshots` that EC2 still shows."""
    filters = [exact_filter("snapshot-id", *snapshots)]
    if not snapshots:
        return set()
    message = "looking for snapshots of ours"
    descriptions = api.pages("ec2", "describe_snapshots", "Snapshots", task=message, OwnerIds=["self"], Filters=filters)
    return {str(description["SnapshotId"]) for description in descriptions}
