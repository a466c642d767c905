"""Describe limits that depend on the averaging time or observation interval: masks of TDEV and MTIE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a mask: `constant_ns` + `slope_ns_per_s` x tau, for `above_s` < tau <= `to_s`, in s.

    A last segment may have no end: `to_s` is None.
    """

    above_s: float
    to_s: float | None
    constant_ns: float
    slope_ns_per_s: float = 0.0

    @property
    def end_s(self) -> float:
        """The end of the segment, infinity without one."""
        return math.inf if self.to_s is None else self.to_s

    def limit_ns(self, tau_s: float) -> float:
        """Compute the limit of the segment's line at a time, also outside of the segment."""
        return self.constant_ns + self.slope_ns_per_s * tau_s


class Mask:
    """A mask of segments, each of which begins where the one before ends.

    Raises ValueError for no segment, for one that is empty, for a gap or an overlap between two, and for a limit that
    is not above 0 within its segment.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        if not segments:
            raise ValueError("a mask needs a segment")
        for segment in segments:
            if not 0 <= segment.above_s < segment.end_s:
                raise ValueError(f"the segment above {segment.above_s:g} s to {segment.end_s:g} s is empty")
            if math.isinf(segment.end_s) and segment.slope_ns_per_s < 0:
                raise ValueError("a segment without an end does not fall")
            if not _least_of(segment, segment.above_s, segment.end_s) > 0:
                raise ValueError(f"the limit within the segment above {segment.above_s:g} s is not above 0")
        for earlier, later in pairwise(segments):
            if earlier.end_s != later.above_s:
                word = "gap" if earlier.end_s < later.above_s else "overlap"
                raise ValueError(f"{word} between the segments to {earlier.end_s:g} s and above {later.above_s:g} s")
        self.segments = tuple(segments)

    def limit_ns(self, tau_s: float) -> float | None:
        """Find the limit at a time in s; None where the mask says nothing."""
        for segment in self.segments:
            if segment.above_s < tau_s <= segment.end_s:
                return segment.limit_ns(tau_s)
        return None

    def least_limit_ns(self, first_s: float, last_s: float) -> float | None:
        """Find the least limit between two times, both included; None where the mask says nothing of all of them.

        A mask may fall: that of PRTC-A for MTIE does, by 0.075 ns at 273 s.
        """
        limits = [
            _least_of(segment, max(segment.above_s, first_s), min(segment.end_s, last_s))
            for segment in self.segments
            if segment.above_s < last_s and first_s <= segment.end_s
        ]
        return min(limits) if limits else None


def _least_of(segment: Segment, first_s: float, last_s: float) -> float:
    """Find the least value of a segment's line between two times; a segment without an end does not fall."""
    return min(segment.limit_ns(first_s), segment.limit_ns(first_s if math.isinf(last_s) else last_s))
