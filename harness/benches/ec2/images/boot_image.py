"""Find the image that a host boots and its login user: by a public parameter's name, or by the image's id.

The image behind a name changes from day to day: it is resolved once per campaign and stored with the campaign.
"""

import datetime
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.images import baked_images
from harness.errors import RequestError
from harness.model.ec2_enums import Architecture
from harness.model.image_aliases import ALIASES, BAKED
from harness.model.ownership import KEYLESS_SIGNER, Signer
from harness.untrusted import names
from harness.untrusted.nearest import nearest_names

_OWNERS = {
    "amazon": "ec2-user",
    "137112412989": "ec2-user",  # Amazon Linux
    "099720109477": "ubuntu",
    "136693071363": "admin",  # Debian
    "309956199498": "ec2-user",  # Red Hat
    "013907871322": "ec2-user",  # SUSE
    "792107900819": "rocky",
    "764336703387": "ec2-user",  # AlmaLinux
}
"""The login user of the images of each owner (an account's id or alias)."""

_PREFIXES = {"al2023-": "ec2-user", "amzn2-": "ec2-user", "ubuntu": "ubuntu", "debian-": "admin", "RHEL-": "ec2-user"}
"""The login user by the beginning of an image's name, which a copy of the image keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootImage:
    """An image as it was at the time `taken`. `parameter` is None for a baked image and for one given by its id."""

    name: str
    ami: str
    architecture: Architecture
    user: str
    parameter: str | None
    taken: str  # UTC, ISO 8601
    title: str  # the image's own name: al2023-ami-2023.9.20261111.0-kernel-6.12-x86_64
    root_device: str | None
    volume_gib: int | None  # the smallest possible root volume


class BootImages:
    """The image of each name in one campaign: resolved once, the same for all hosts. Threads share an instance."""

    def __init__(self, api: Api, signer: Signer = KEYLESS_SIGNER) -> None:
        self._api, self._signer = api, signer
        self._images: dict[tuple[str, str, str | None], BootImage] = {}
        self._lock = threading.Lock()

    def find_image(self, name: str, architecture: Architecture, user: str | None = None) -> BootImage:
        """Return the image as `resolve` does, looked up once."""
        with self._lock:
            key = (name, architecture, user)
            if key not in self._images:
                self._images[key] = resolve(self._api, name, architecture, user=user, signer=self._signer)
            return self._images[key]

    def found(self) -> list[BootImage]:
        """Return the images that were looked up so far."""
        with self._lock:
            return list(self._images.values())


def check_name(name: str) -> None:
    """Raise RequestError, with the nearest names, for a name that is not known, nor baked:NAME, nor an image's id."""
    if name in ALIASES or name.startswith("ami-") or BAKED.fullmatch(name):
        return
    near = nearest_names(name, ALIASES) or sorted(ALIASES)
    raise RequestError(
        f"there is no image {name!r}", next_step=f"nearest: {', '.join(near)}; or baked:NAME; or an image's id, ami-..."
    )


def resolve(
    api: Api, name: str, architecture: Architecture, *, user: str | None = None, signer: Signer = KEYLESS_SIGNER
) -> BootImage:
    """Find the image of that name or id for an architecture. `user` overrides the image's own login user.

    Only baked images that the signer's key has signed are considered.

    Raises RequestError for a name or id that does not exist or does not fit, BenchError as Api does.
    """
    check_name(name)
    if name.startswith("ami-"):
        return _describe_image(api, name, name, None, architecture, user)
    if baked_name := BAKED.fullmatch(name):
        return _describe_image(
            api, name, _find_baked_ami(api, baked_name, architecture, signer), None, architecture, user
        )
    parameter = ALIASES[name].parameters[architecture]
    return _describe_image(
        api, name, _look_up_ami(api, name, architecture), parameter, architecture, user or ALIASES[name].user
    )


def _look_up_ami(api: Api, name: str, architecture: Architecture) -> str:
    """Look up the image id of a name. All names are requested at once, so that an error can list them."""
    by_parameter = {image.parameters[architecture]: alias for alias, image in ALIASES.items()}
    answer = api.call("ssm", "get_parameters", Names=list(by_parameter), task="looking up the image")
    ami_by_name = {by_parameter[entry["Name"]]: str(entry["Value"]) for entry in answer["Parameters"]}
    if name in ami_by_name:
        return ami_by_name[name]
    near = nearest_names(name, ami_by_name, most=5, likeness=0.0)
    remedy = f"there for {architecture} are {', '.join(near)}" if near else "name an image by its id: `image: ami-...`"
    raise RequestError(f"{api.region} has no image {name} for {architecture}", next_step=remedy)


def _find_baked_ami(api: Api, match: re.Match[str], architecture: Architecture, signer: Signer) -> str:
    name, images = match[1], baked_images.list_images(api, signer)
    newest = baked_images.newest_image(images, name, architecture, run=match[2] or "")
    if newest is None:
        tagged = [image for image in images if (image.name, image.architecture) == (name, architecture) and image.proof]
        if tagged and match[2] is None:
            raise RequestError(
                f"no image baked:{name} for {architecture} in {api.region} was published from here: {tagged[-1].ident} "
                "carries that name, which anybody who may tag images can set",
                next_step=f"where you trust it, `image: {tagged[-1].ident}`; controllers with the same signing key use "
                "each other's images (PTP_HARNESS_SIGNING_KEY)",
            )
        proven = [image for image in images if image.proof and image.signed]
        labels = ", ".join(sorted({f"baked:{image.name} for {image.architecture}" for image in proven}))
        raise RequestError(
            f"{api.region} has no proven image baked:{name} for {architecture}",
            next_step=f"`ptp-harness image bake` makes one; there are {labels or 'none'}",
        )
    return newest.ident


def _describe_image(
    api: Api, name: str, ami: str, parameter: str | None, architecture: Architecture, user: str | None
) -> BootImage:
    description = _describe_ami(api, ami)
    misfit = _describe_misfit(description, ami, architecture)
    if misfit:
        raise RequestError(misfit, next_step="choose another `image:`, or types that fit it")
    user = user or login_user(description)
    if user is None:
        raise RequestError(
            f"the login user of {ami} ({description.get('Name', 'without a name')}) is not known",
            next_step="set `user:`",
        )
    return BootImage(
        name=name,
        ami=ami,
        architecture=architecture,
        user=user,
        parameter=parameter,
        taken=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        title=str(description.get("Name", "")),
        root_device=description.get("RootDeviceName"),
        volume_gib=_parse_root_gib(description),
    )


def _describe_ami(api: Api, ami: str) -> Mapping[str, Any]:
    try:
        answer = api.call("ec2", "describe_images", ImageIds=[ami], task=f"looking at the image {ami}")
    except BenchError as error:
        if str(api_errors.find_raised_code(error)).startswith("InvalidAMIID"):
            answer = {"Images": []}
        else:
            raise
    if not answer["Images"]:
        raise RequestError(
            f"{api.region} has no image {ami}, or this account may not see it",
            next_step=f"an image's id is of one Region; by name: {', '.join(sorted(ALIASES))}",
        )
    return dict(answer["Images"][0])


def _describe_misfit(description: Mapping[str, Any], ami: str, architecture: Architecture) -> str | None:
    """Say in one sentence why an image cannot be used; None for an image that can."""
    if description.get("Architecture") != architecture:
        return (
            f"the image {ami} is for {description.get('Architecture')}, and the type's architecture is {architecture}"
        )
    if description.get("State") != "available":
        return f"the image {ami} cannot be launched: its state is {description.get('State')}"
    if "windows" in str(description.get("Platform", "")).lower():
        return f"the image {ami} is Windows: only Linux can be qualified"
    if description.get("RootDeviceType", "ebs") != "ebs":
        return f"the image {ami} has no EBS root volume, which the stack makes"
    return None


def login_user(description: Mapping[str, Any]) -> str | None:
    """Return the login user of an image from DescribeImages: by our tag, else by the image's name, else by its owner.

    Anyone who may tag images can write our tag: a value that cannot be a user's name is ignored.
    """
    tags = {tag["Key"]: tag["Value"] for tag in description.get("Tags", ())}
    if names.fits(names.USER, tags.get(baked_images.USER, "")):
        return str(tags[baked_images.USER])
    name = str(description.get("Name", "")).rpartition("/")[2]
    by_name = next((user for prefix, user in _PREFIXES.items() if name.startswith(prefix)), None)
    return (
        by_name or _OWNERS.get(str(description.get("OwnerId"))) or _OWNERS.get(str(description.get("ImageOwnerAlias")))
    )


def _parse_root_gib(description: Mapping[str, Any]) -> int | None:
    for mapping in description.get("BlockDeviceMappings", ()):
        if "Ebs" in mapping and mapping.get("DeviceName") == description.get("RootDeviceName"):
            return int(mapping["Ebs"]["VolumeSize"]) if "VolumeSize" in mapping["Ebs"] else None
    return None
