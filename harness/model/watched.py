"""The knowledge of a watch about a clock: the reading of each tick, and the state that they add up to.

A *tick* is the number of an interval since 1970 on a stream's grid: tick x interval is its begin, seconds since the
epoch. Of two readings of one tick, taken while a stream went from one worker to another, that of the later epoch
counts.
"""

from dataclasses import dataclass
from enum import StrEnum

from harness.model.enums import Reason


class StreamState(StrEnum):
    """The state of a watched clock. UNKNOWN: nobody could look, which says nothing about the clock."""

    OK = "ok"
    DEGRADED = "degraded"  # it is within its limits, and something that holds it there is not as it should be
    BROKEN = "broken"  # a limit does not hold, or what proves that it does is gone
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReading:
    """The part of a tick's sample that is kept. Times in ns; offsets are positive when the system clock is ahead.

    None: not observed in this sample. A tick without a sample has no reading.
    """

    tick: int
    offset_ns: int | None  # system clock minus PHC, by the fastest reading
    window_ns: int | None  # the time that this reading took
    reads: int | None  # readings that succeeded
    read_errors: int | None
    device_bound_ns: int | None  # the card's own bound of its error
    chrony_offset_ns: int | None  # chronyd's last offset
    chrony_bound_ns: int | None  # chronyd's bound of the system clock's error
    follows_phc: bool | None  # whether chronyd has selected the PHC
    opinion_ns: int | None  # system clock minus the second opinion, where its answer is fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A change of a stream's state. `reason`: the ladder's; None where the state is OK, or nobody looked.

    `interval_ns`: of the grid that the tick is of.
    """

    tick: int
    interval_ns: int
    state: StreamState
    reason: Reason | None
    sentence: str
