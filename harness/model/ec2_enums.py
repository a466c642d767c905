"""Name the words of EC2 and of the campaign's options for it, as they are stored and printed."""

from enum import StrEnum


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
