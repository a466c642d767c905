"""Map image aliases to the public SSM parameters that hold the newest image id, and to login users."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.model.ec2_enums import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAlias:
    """The public SSM parameter of an alias per architecture, the login user, and whether the image has an SSM agent."""

    parameters: Mapping[Architecture, str]
    user: str
    ssm_agent: bool


def _make_alias(pattern: str, x86_64: str, user: str, *, ssm_agent: bool = True) -> ImageAlias:
    parameters = {Architecture.X86_64: pattern.format(x86_64), Architecture.ARM64: pattern.format("arm64")}
    return ImageAlias(parameters=parameters, user=user, ssm_agent=ssm_agent)


_UBUNTU = "/aws/service/canonical/ubuntu/server/{}/stable/current/{{}}/hvm/ebs-{}/ami-id"

ALIASES: Mapping[str, ImageAlias] = {
    "al2023": _make_alias("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}", "x86_64", "ec2-user"),
    "debian-12": _make_alias("/aws/service/debian/release/12/latest/{}", "amd64", "admin", ssm_agent=False),
    "debian-13": _make_alias("/aws/service/debian/release/13/latest/{}", "amd64", "admin", ssm_agent=False),
    "ubuntu-22.04": _make_alias(_UBUNTU.format("22.04", "gp2"), "amd64", "ubuntu"),
    "ubuntu-24.04": _make_alias(_UBUNTU.format("24.04", "gp3"), "amd64", "ubuntu"),
}
"""Canonical publishes gp3 images from 23.10 on. The stack sets the volume to gp3 in both cases."""

BAKED_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
BAKED = re.compile(rf"baked:({BAKED_NAME.pattern})(?:@([a-z0-9]+))?")
"""Images baked by this harness: the newest proven image of a name, or (with @RUN) the image made by a run."""
