"""The enums of the ladder, of stages and of states."""

from enum import StrEnum


class Outcome(StrEnum):
    """A verdict's outcome, from best to worst as reports order them."""

    PASS = "PASS"
    UNSUPPORTED = "UNSUPPORTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"


class RungName(StrEnum):
    """The ladder of proof, in order."""

    OFFERED = "offered"
    CLAIMED = "claimed"
    LAUNCHED = "launched"
    REACHABLE = "reachable"
    PRECISION_HOST = "precision_host"
    DRIVER_CAPABLE = "driver_capable"
    DRIVER_ON = "driver_on"
    CLOCK_PRESENT = "clock_present"
    CLOCK_READABLE = "clock_readable"
    CHRONY_FOLLOWS = "chrony_follows"
    WITHIN_LIMITS = "within_limits"
    SURVIVES_REBOOT = "survives_reboot"


class RungStatus(StrEnum):
    """What is known about a rung."""

    PROVEN = "proven"
    FAILED = "failed"
    NOT_OBSERVED = "not_observed"
    NOT_REACHED = "not_reached"
    RECORDED = "recorded"
    NOT_REQUIRED = "not_required"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    SYNCHRONISED = "synchronised"
    NOT_OFFERED = "not_offered"
    CAPACITY = "capacity"
    QUOTA = "quota"
    LAUNCH_FAILED = "launch_failed"
    UNREACHABLE = "unreachable"
    HOST_NOT_PRECISION = "host_not_precision"
    DRIVER_NOT_CAPABLE = "driver_not_capable"
    DRIVER_OFF = "driver_off"
    NO_PHC = "no_phc"
    PHC_UNREADABLE = "phc_unreadable"
    PHC_IMPLAUSIBLE = "phc_implausible"
    NOT_SYNCHRONISED = "not_synchronised"
    CLOCK_INTERFERENCE = "clock_interference"
    OUT_OF_LIMITS = "out_of_limits"
    TOO_FEW_SAMPLES = "too_few_samples"
    NOT_PERSISTENT = "not_persistent"
    NOT_OBSERVED = "not_observed"
    INTERRUPTED = "interrupted"
    HARNESS_ERROR = "harness_error"


class Stage(StrEnum):
    """One host's way, in order. Only a host whose disk becomes an image is baked."""

    PROVISION = "provision"
    REACH = "reach"
    CONFIGURE = "configure"
    MEASURE = "measure"
    REBOOT = "reboot"
    JUDGE = "judge"
    BAKE = "bake"
    RELEASE = "release"


class HostState(StrEnum):
    """What became of a host after its verdict. FAILED: its release failed, something may still run."""

    RELEASED = "released"
    KEPT = "kept"
    FAILED = "failed"


class Depth(StrEnum):
    """How far a host is taken: quick stops after chrony follows, full reboots and does it all again."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


DEFAULT_CLOCK_NAMES = ("ena-ptp-*",)
"""Patterns of the clock names that count, where a campaign names no other."""
