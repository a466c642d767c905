"""Define profiles: the limits that a standard, a regulation or a vendor sets for a clock, as data with their source.

The profiles that come along are the files in `standards`, in the format of `profile_format`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harness.campaign.masks import Segment
from harness.errors import RequestError


class Reference(StrEnum):
    """The reference of a profile's limits: UTC, or the source that the clock follows (the PHC)."""

    UTC = "utc"
    SOURCE = "source"


class LimitKind(StrEnum):
    """The quantity of a profile's limit.

    `bound`: |offset| and everything that is uncertain about it; `offset`: |offset| (the time error); `constant`: the
    mean of the offset; `mtie` and `tdev`: masks over the observation interval or averaging time.
    """

    BOUND = "bound"
    OFFSET = "offset"
    CONSTANT = "constant"
    MTIE = "mtie"
    TDEV = "tdev"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileLimit:
    """A limit of a profile: `limit_ns`, which is within; or, for `mtie` and `tdev`, the segments of a mask.

    `low_pass_hz`: the offset passes a low-pass filter of the first order with this bandwidth first. `least_s`: shorter
    measurements show nothing. `least_samples`: nor do fewer samples.
    """

    kind: LimitKind
    limit_ns: float | None = None
    segments: tuple[Segment, ...] = ()
    low_pass_hz: float | None = None
    least_s: float = 60.0
    least_samples: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Limits of one source: `edition` and `source` say which text they are from, and how sure that is."""

    name: str
    title: str
    edition: str
    source: str
    reference: Reference
    limits: tuple[ProfileLimit, ...]


ProfileReader = Callable[[str], Profile]
"""Reads a profile by its name or file. Raises RequestError."""


def refuse_profile(name: str) -> Profile:
    """Read no profile: for callers without files. Raises RequestError."""
    raise RequestError(f"there is no profile {name!r}", next_step="`ptp-harness profiles` lists them")
