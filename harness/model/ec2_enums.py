"""Define the terms of EC2 and of the campaign's options for it, as they are stored and printed."""

from enum import StrEnum


class Architecture(StrEnum):
    """The processor architectures of our images. A type that supports several gets the first of them."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


class Access(StrEnum):
    """How SSH reaches a host: directly from the controller's address, or through Session Manager (ssm)."""

    SSH = "ssh"
    SSM = "ssm"


class Market(StrEnum):
    """How an instance is bought."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"


class GroupStrategy(StrEnum):
    """The strategies of placement groups that are made for a host. Existing groups may have others, such as spread."""

    PRECISION_TIME = "precision-time"
    CLUSTER = "cluster"


class PlacementKeyword(StrEnum):
    """The values of `placement` that name no existing group."""

    AUTO = "auto"
    NONE = "none"
    PRECISION_TIME = "precision-time"
    CLUSTER = "cluster"
