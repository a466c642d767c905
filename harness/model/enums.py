"""Define the enums of the ladder, of stages and of states."""

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
    BOUND_HOLDS = "bound_holds"
    SURVIVES_REBOOT = "survives_reboot"


class RungStatus(StrEnum):
    """The state of knowledge about a rung."""

    PROVEN = "proven"
    FAILED = "failed"
    NOT_OBSERVED = "not_observed"
    NOT_REACHED = "not_reached"
    RECORDED = "recorded"
    NOT_REQUIRED = "not_required"


class Reason(StrEnum):
    """The reason for a verdict."""

    SYNCHRONISED = "synchronised"
    NOT_OFFERED = "not_offered"
    CAPACITY = "capacity"
    QUOTA = "quota"
    LAUNCH_FAILED = "launch_failed"
    UNREACHABLE = "unreachable"
    HOST_NOT_READY = "host_not_ready"
    PACKAGES_UNAVAILABLE = "packages_unavailable"
    HOST_NOT_PRECISION = "host_not_precision"
    DRIVER_NOT_CAPABLE = "driver_not_capable"
    DRIVER_OFF = "driver_off"
    NO_PHC = "no_phc"
    PHC_UNREADABLE = "phc_unreadable"
    PHC_IMPLAUSIBLE = "phc_implausible"
    NOT_SYNCHRONISED = "not_synchronised"
    READINGS_NOT_TAKEN = "readings_not_taken"
    CLOCK_INTERFERENCE = "clock_interference"
    OUT_OF_LIMITS = "out_of_limits"
    TOO_FEW_SAMPLES = "too_few_samples"
    BOUND_REFUTED = "bound_refuted"
    NOT_PERSISTENT = "not_persistent"
    NOT_OBSERVED = "not_observed"
    INTERRUPTED = "interrupted"
    HARNESS_ERROR = "harness_error"


class Stage(StrEnum):
    """The stages of one host, in order. BAKE is of a host whose disk becomes an image, KEEP of one that stays."""

    PROVISION = "provision"
    REACH = "reach"
    CONFIGURE = "configure"
    MEASURE = "measure"
    DISTURB = "disturb"
    REBOOT = "reboot"
    JUDGE = "judge"
    BAKE = "bake"
    KEEP = "keep"
    RELEASE = "release"


DOING = {
    Stage.PROVISION: "being provisioned",
    Stage.REACH: "waiting for its SSH server",
    Stage.CONFIGURE: "being configured",
    Stage.MEASURE: "being measured",
    Stage.DISTURB: "being disturbed",
    Stage.REBOOT: "rebooting",
    Stage.JUDGE: "being judged",
    Stage.BAKE: "being copied into an image",
    Stage.KEEP: "having its lease extended",
    Stage.RELEASE: "being released",
}
"""Phrases for each stage, to complete a sentence about a host."""


class HostState(StrEnum):
    """State of a host after its verdict. FAILED: its release failed, and resources may still run.

    UNDECIDED: the host passed and runs, and waits for the decision whether it stays. No closed run has such a host.
    """

    UNDECIDED = "undecided"
    RELEASED = "released"
    KEPT = "kept"
    FAILED = "failed"


class Depth(StrEnum):
    """Extent of a qualification: QUICK stops after `chrony_follows`; FULL reboots and repeats all stages."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


DEFAULT_CLOCK_NAMES = ("ena-ptp-*",)
"""Default patterns of the names of PTP clocks that count."""
