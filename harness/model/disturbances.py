"""Define the disturbances of a host's clock that a campaign may ask for, and what is known about each afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

AFTER_S = 60.0
"""How long the clock is watched after each disturbance."""
BEFORE_S = 10.0
"""How long it is watched before the first one."""
REBOOT_S = 120.0
"""How long a reboot usually takes at most, for forecasts."""


class Disturbance(StrEnum):
    """The disturbances, as a campaign names them."""

    CPU_LOAD = "cpu-load"
    NETWORK_LOAD = "network-load"
    CHRONYD_RESTARTED = "chronyd-restarted"
    REBOOT = "reboot"
    GUEST_PAUSED = "guest-paused"
    PHC_WITHDRAWN = "phc-withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisturbanceKind:
    """The effect of a disturbance in words for people, its duration, and whether the bench causes it.

    A bench acts from outside of the host; everything else is done by a program in the host.
    """

    summary: str
    lasts_s: float
    by_bench: bool = False


KINDS: Mapping[Disturbance, DisturbanceKind] = {
    Disturbance.CPU_LOAD: DisturbanceKind(summary="a busy program on every processor for a minute", lasts_s=60.0),
    Disturbance.NETWORK_LOAD: DisturbanceKind(
        summary="packets sent to the default gateway as fast as the host can, for a minute", lasts_s=60.0
    ),
    Disturbance.CHRONYD_RESTARTED: DisturbanceKind(summary="chronyd restarted", lasts_s=0.0),
    Disturbance.REBOOT: DisturbanceKind(summary="the host rebooted", lasts_s=REBOOT_S),
    Disturbance.GUEST_PAUSED: DisturbanceKind(
        summary="the virtual machine stopped for 2 s, as by a live migration", lasts_s=2.0, by_bench=True
    ),
    Disturbance.PHC_WITHDRAWN: DisturbanceKind(
        summary="a clock that answers nobody for two minutes", lasts_s=120.0, by_bench=True
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisturbanceWindow:
    """When a disturbance took place, in slots of the samples, and what the program that caused it tells.

    `begun` is the first slot that it may have touched, `ended` the last. `failure`: why it could not be done.
    """

    disturbance: Disturbance
    begun: int
    ended: int
    detail: str = ""
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitExceeded:
    """A limit in nanoseconds, and the seconds from the beginning of a disturbance until it was first exceeded."""

    limit_ns: int
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DisturbanceFigures:
    """How a clock fared under one disturbance, from its beginning until the next one, or the end of the samples.

    Offsets are those of the system clock from the PHC by the fastest reading of each second, in nanoseconds. The
    largest one is that of the reading which, less its own uncertainty, puts the two farthest apart. The bound is
    chrony's, with the bound that the device publishes. `seconds`: how many were watched; `compared`: in how many a
    reading could be held against chrony's bound; `refuted`: in how many of those the reading lies outside, whatever its
    own uncertainty. `largest_offset_ns` and `largest_bound_ns` are None where nothing was read.
    `offset_exceeded`, `bound_exceeded`: the limits that were exceeded, and not before already. `back_after_s`: seconds
    from the end of the disturbance until the clock was followed and as near as before again; None: not while it was
    watched.
    """

    disturbance: Disturbance
    lasted_s: float
    seconds: int
    compared: int
    refuted: int
    largest_offset_ns: float | None
    largest_offset_uncertainty_ns: float | None
    largest_bound_ns: float | None
    offset_exceeded: tuple[LimitExceeded, ...]
    bound_exceeded: tuple[LimitExceeded, ...]
    back_after_s: float | None
    detail: str = ""
    failure: str | None = None


def planned_s(disturbances: tuple[Disturbance, ...]) -> float:
    """Compute how long these disturbances take, one after another, with the time before and after."""
    return BEFORE_S + sum(KINDS[each].lasts_s + AFTER_S for each in disturbances) if disturbances else 0.0
