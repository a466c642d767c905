"""Define choices of a campaign: which hosts are kept, and which driver is installed."""

from dataclasses import dataclass
from enum import StrEnum


class Keep(StrEnum):
    """The hosts that are kept when the run ends: none, hosts that passed, or hosts for which a person answers yes."""

    NONE = "none"
    SUPPORTED = "supported"
    ASK = "ask"


class DriverSource(StrEnum):
    """Source of the ENA driver: the image's distribution, a release by Amazon, or an archive given by path or URL."""

    DISTRIBUTION = "distribution"
    RELEASE = "release"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverChoice:
    """The driver to install: `value` is a release's version or an archive's path or URL; `sha256` pins the archive."""

    source: DriverSource
    value: str | None = None
    sha256: str | None = None
