"""List the lab types with the verdict that each demands: one table for the bench, the tests and the documentation."""

from collections.abc import Mapping

from harness.benches.lab.truths import truth_scripts
from harness.benches.lab.truths.truth_model import DemandedVerdict, Fault, Image, Kernel, Mirror, Moment, Truth
from harness.model import Outcome, Reason
from harness.model.disturbances import Disturbance

_PASS = DemandedVerdict(outcome=Outcome.PASS, reason=Reason.SYNCHRONISED)
_OUT_OF_LIMITS = DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.OUT_OF_LIMITS)
_UNREADABLE = DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.PHC_UNREADABLE)
_IMPLAUSIBLE = DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.PHC_IMPLAUSIBLE)
_UNREACHABLE = DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.UNREACHABLE)
_NO_CAPACITY = DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.CAPACITY)
_NOT_CAPABLE = DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.DRIVER_NOT_CAPABLE)
_NO_PACKAGES = DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.PACKAGES_UNAVAILABLE)
_OFF = DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.DRIVER_OFF)
_NOT_SYNCHRONISED = DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.NOT_SYNCHRONISED)

_WITHSTOOD = [name.value for name in Disturbance if name is not Disturbance.GUEST_PAUSED]
"""Disturbances under which a good clock stays within its bound. A paused guest knows nothing of its pause."""

TRUTHS: Mapping[str, Truth] = {
    truth.name: truth
    for truth in (
        Truth(
            name="lab.phc",
            summary="a good clock, switched on when the host starts",
            demand=_PASS,
            demand_read_only=_NOT_SYNCHRONISED,
            usual=True,
        ),
        Truth(
            name="lab.driver-off",
            summary="a good clock that the driver knows and nobody has switched on",
            clock_on=False,
            demand=_PASS,
            demand_read_only=_OFF,
            usual=True,
        ),
        Truth(
            name="lab.no-phc",
            summary="an able driver on a device without the clock",
            bends={"no_phc": True},
            clock_on=False,
            demand=DemandedVerdict(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_PHC),
            demand_read_only=_OFF,
            usual=True,
        ),
        Truth(
            name="lab.old-driver",
            summary="a device with a clock under a kernel whose driver knows none",
            kernel=Kernel.STABLE,
            clock_on=False,
            demand=_NOT_CAPABLE,
            demand_read_only=_NOT_CAPABLE,
            usual=True,
        ),
        Truth(
            name="lab.drifting",
            summary="a clock that runs 100 ppm fast against UTC",
            bends={"freq_ppb": 100_000},
            demand=_OUT_OF_LIMITS,
            demand_read_only=_NOT_SYNCHRONISED,
            usual=True,
        ),
        Truth(
            name="lab.flaky-reads",
            summary="a clock that refuses one reading in fifty",
            bends={"refuse_every": 50},
            demand=_UNREADABLE,
            demand_read_only=_UNREADABLE,
            usual=True,
        ),
        Truth(
            name="lab.unreachable",
            summary="a host whose SSH server never answers",
            ssh=False,
            demand=_UNREACHABLE,
            demand_read_only=_UNREACHABLE,
            usual=True,
        ),
        Truth(
            name="lab.no-capacity",
            summary="a type that needs more memory than any machine has",
            memory_mib=2**20,
            demand=_NO_CAPACITY,
            demand_read_only=_NO_CAPACITY,
            usual=True,
        ),
        Truth(
            name="lab.two-cards",
            summary="two cards, of which the second has a clock",
            other_card={"no_phc": True},
            demand=_PASS,
            demand_read_only=_NOT_SYNCHRONISED,
        ),
        Truth(
            name="lab.offset",
            summary="a clock that is 20 ms off UTC, steadily",
            bends={"offset_ns": 20_000_000},
            demand=_OUT_OF_LIMITS,
            demand_read_only=_NOT_SYNCHRONISED,
        ),
        Truth(
            name="lab.hour-off",
            summary="a clock that is an hour off UTC",
            bends={"offset_ns": 3_600_000_000_000},
            demand=_IMPLAUSIBLE,
            demand_read_only=_IMPLAUSIBLE,
        ),
        Truth(
            name="lab.jitter",
            summary="a clock whose readings scatter over 40 ms, on which chronyd cannot settle",
            bends={"jitter_ns": 20_000_000},
            demand=_NOT_SYNCHRONISED,
            demand_read_only=_NOT_SYNCHRONISED,
        ),
        Truth(
            name="lab.step",
            summary="a clock that steps by 20 ms while it is measured",
            faults=(Fault(at=Moment.MEASURING, after_s=25, device={"step_ns": 20_000_000}),),
            demand=_OUT_OF_LIMITS,
        ),
        Truth(
            name="lab.small-step",
            summary="a clock that steps by 2 ms while it is measured: within the limits, and not within chrony's bound",
            faults=(Fault(at=Moment.MEASURING, after_s=45, device={"step_ns": 2_000_000}),),
            demand=DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.BOUND_REFUTED),
        ),
        Truth(
            name="lab.stuck",
            summary="a clock that stands still from the middle on",
            faults=(Fault(at=Moment.MEASURING, after_s=25, device={"frozen": True}),),
            demand=_IMPLAUSIBLE,
        ),
        Truth(
            name="lab.silent",
            summary="a clock that answers no more from the middle on",
            faults=(Fault(at=Moment.MEASURING, after_s=25, device={"mode": "silent"}),),
            demand=_UNREADABLE,
        ),
        Truth(
            name="lab.error-flags",
            summary="a clock that answers with error flags from the middle on",
            faults=(Fault(at=Moment.MEASURING, after_s=25, device={"mode": "err_both"}),),
            demand=_UNREADABLE,
        ),
        Truth(
            name="lab.reset",
            summary="a good clock on a card that asks its driver for a reset while it is measured",
            faults=(Fault(at=Moment.MEASURING, after_s=15, device={"request_reset": True}),),
            demand=_PASS,
        ),
        Truth(
            name="lab.card-dies",
            summary="a card that is gone from the middle on",
            faults=(Fault(at=Moment.MEASURING, after_s=25, ends="device"),),
            demand=_UNREADABLE,
        ),
        Truth(
            name="lab.over-budget",
            summary="a clock that serves 125 readings a second, of which chrony is made to ask 200",
            bends={"rate_per_s": 125},
            faults=(Fault(at=Moment.MEASURING, after_s=2, guest=truth_scripts.ASK_MORE),),
            demand=_UNREADABLE,
        ),
        Truth(
            name="lab.other-daemon",
            summary="a good clock on a host where somebody starts phc2sys beside chrony",
            faults=(Fault(at=Moment.MEASURING, after_s=15, guest=truth_scripts.STEER),),
            demand=DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.CLOCK_INTERFERENCE),
        ),
        Truth(
            name="lab.no-chrony",
            summary="a good clock on an image where chronyd cannot start",
            before=truth_scripts.BREAK_CHRONY,
            demand=_NOT_SYNCHRONISED,
        ),
        Truth(
            name="lab.lost-second-opinion",
            summary="a good clock, and an NTP server that is gone while it is measured",
            faults=(Fault(at=Moment.MEASURING, after_s=5, ends="ntp"),),
            demand=DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.TOO_FEW_SAMPLES),
        ),
        Truth(
            name="lab.disk-full",
            summary="a good clock on a host whose disk is full",
            before="dd if=/dev/zero of=/var/full bs=1M || dd if=/dev/zero of=/var/fuller bs=1k || sync",
            demand=DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.HARNESS_ERROR),
        ),
        Truth(
            name="lab.read-only-root",
            summary="a clock that nobody has switched on, on a host whose root file system is mounted read-only",
            clock_on=False,
            before="mount -o remount,ro /",
            demand=_OFF,
        ),
        Truth(
            name="lab.dies",
            summary="a host that is gone while it is configured",
            faults=(Fault(at=Moment.CONFIGURING, ends="guest"),),
            demand=_UNREACHABLE,
        ),
        Truth(
            name="lab.key-changed",
            summary="a host that has another host key while it is measured",
            faults=(Fault(at=Moment.MEASURING, after_s=15, guest=truth_scripts.CHANGE_KEY),),
            demand=_UNREACHABLE,
        ),
        Truth(
            name="lab.survives",
            summary="a good clock that the role keeps on over a reboot",
            clock_on=False,
            campaign={"depth": "full"},
            demand=_PASS,
        ),
        Truth(
            name="lab.disturbed",
            summary="a good clock that stays within its bound under load, restarts, and without its readings",
            campaign={"depth": "full", "disturbances": _WITHSTOOD},
            demand=_PASS,
        ),
        Truth(
            name="lab.paused",
            summary="a good clock on a machine that stands still for a moment, of which chrony's bound knows nothing",
            campaign={"depth": "full", "disturbances": [Disturbance.GUEST_PAUSED.value]},
            demand=DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.BOUND_REFUTED),
        ),
        Truth(
            name="lab.renumbered",
            summary="a good clock that is /dev/ptp1 at first and /dev/ptp0 after a reboot",
            before=truth_scripts.HOLD_NUMBER,
            campaign={"depth": "full"},
            demand=_PASS,
        ),
        Truth(
            name="lab.not-persistent",
            summary="a good clock on an image that puts its own settings back at every boot",
            before=truth_scripts.RESET_AT_BOOT,
            campaign={"depth": "full"},
            demand=DemandedVerdict(outcome=Outcome.FAIL, reason=Reason.NOT_PERSISTENT),
        ),
        Truth(
            name="lab.reboot-needed",
            summary="a good clock that can be switched on with the next boot only",
            clock_on=False,
            before=truth_scripts.REFUSE_RELOADS,
            demand=_PASS,
        ),
        Truth(
            name="lab.on-card",
            summary="a good clock that nobody has switched on, on the card that carries the connection",
            connection_on_card=True,
            clock_on=False,
            demand=_PASS,
            demand_read_only=_OFF,
        ),
        # --- on the wide image
        Truth(
            name="lab.other-clock",
            summary="an Intel card with a clock, which the campaign does not name, and an ENA card that has none",
            kernel=Kernel.GENERIC,
            image=Image.WIDE,
            bends={"no_phc": True},
            igb=True,
            clock_on=False,
            demand=DemandedVerdict(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_PHC),
            demand_read_only=_OFF,
        ),
        Truth(
            name="lab.other-clock-named",
            summary="an Intel card with a clock, which the campaign names, and an ENA card that has none",
            kernel=Kernel.GENERIC,
            image=Image.WIDE,
            bends={"no_phc": True},
            igb=True,
            clock_on=False,
            before=truth_scripts.SET_BY_NTP,
            campaign={"clock_names": ["0e*"]},
            demand=_PASS,
        ),
        # --- on a cloud's images
        Truth(
            name="lab.cloud-debian-13",
            summary="a good clock on a cloud's image of Debian 13, which cloud-init configures",
            image=Image.DEBIAN_13,
            memory_mib=768,
            clock_on=False,
            demand=_PASS,
            demand_read_only=_OFF,
        ),
        Truth(
            name="lab.cloud-debian-12",
            summary="the same on a cloud's image of Debian 12, whose chrony is 4.3",
            image=Image.DEBIAN_12,
            memory_mib=768,
            clock_on=False,
            demand=_PASS,
            demand_read_only=_OFF,
        ),
        Truth(
            name="lab.cloud-no-mirror",
            summary="a cloud's image whose package mirror is gone",
            image=Image.DEBIAN_13,
            mirror=Mirror.GONE,
            memory_mib=768,
            clock_on=False,
            demand=_NO_PACKAGES,
            demand_read_only=_OFF,
        ),
        Truth(
            name="lab.cloud-error-page",
            summary="a cloud's image whose package mirror answers everything with a page about an error",
            image=Image.DEBIAN_13,
            mirror=Mirror.ERROR_PAGE,
            memory_mib=768,
            clock_on=False,
            demand=_NO_PACKAGES,
            demand_read_only=_OFF,
        ),
        Truth(
            name="lab.cloud-lock-held",
            summary="a cloud's image on which something else installs packages for three minutes",
            image=Image.DEBIAN_13,
            memory_mib=768,
            clock_on=False,
            faults=(Fault(at=Moment.CONFIGURING, guest=truth_scripts.HOLD_LOCKS),),
            demand=_PASS,
        ),
        # --- with Amazon's driver, whose archive is not ours to give
        Truth(
            name="lab.built-driver",
            summary="a good clock under a kernel whose driver knows none, where Amazon's is built",
            kernel=Kernel.STABLE,
            image=Image.WIDE,
            clock_on=False,
            amazon_driver=True,
            demand=_PASS,
        ),
        Truth(
            name="lab.on-card-amazon",
            summary="a good clock on the card that carries the connection, where Amazon's driver is built and loaded",
            kernel=Kernel.STABLE,
            image=Image.WIDE,
            connection_on_card=True,
            clock_on=False,
            amazon_driver=True,
            demand=_PASS,
        ),
        Truth(
            name="lab.error-bound",
            summary="a clock that says itself that it may be 20 ms off",
            kernel=Kernel.STABLE,
            image=Image.WIDE,
            clock_on=False,
            bends={"error_bound_ns": 20_000_000},
            amazon_driver=True,
            demand=_OUT_OF_LIMITS,
        ),
        Truth(
            name="lab.no-error-bound",
            summary="a good clock whose driver no longer says how far off it may be",
            kernel=Kernel.STABLE,
            image=Image.WIDE,
            clock_on=False,
            faults=(Fault(at=Moment.MEASURING, after_s=2, guest=truth_scripts.HIDE_BOUND),),
            amazon_driver=True,
            demand=DemandedVerdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.TOO_FEW_SAMPLES),
        ),
    )
}

USUAL = tuple(name for name, truth in TRUTHS.items() if truth.usual)
"""The types whose verdicts every test run checks."""
