"""Can the driver give a clock, was it told to, and is the clock there? Each by evidence, never by a version number."""

from collections.abc import Sequence

from harness.ladder.case import Case, failed_rung, proven_rung, unseen_rung
from harness.ladder.host_rungs import precision_host
from harness.model import Driver, DriverWord, Facts, Reason, Rung, RungName, RungStatus


def driver_capable(case: Case) -> Rung:
    """A clock; else modinfo lists phc_enable; else devlink lists enable_phc; else the driver's own word about it.

    "Not capable" needs positive evidence: a kernel without PTP clocks, or both lists read and empty.
    """
    name, facts = RungName.DRIVER_CAPABLE, case.facts
    if case.clock is not None:
        return proven_rung(name, f"it made {case.clock.name}")
    if facts is None or facts.drivers is None:
        return unseen_rung(name, "the driver was not observed")
    shown = _capability(facts, facts.drivers)
    if shown is not None:
        return proven_rung(name, shown)
    if facts.kernel_has_ptp is False:
        return failed_rung(name, Reason.DRIVER_NOT_CAPABLE, f"kernel {facts.kernel} is built without PTP clocks")
    if not facts.drivers:
        return unseen_rung(name, "no ENA device was found on this host")
    if all(one.phc_parameter is False and one.devlink_parameter is False for one in facts.drivers):
        words = f"{_named(facts.drivers[0])}: modinfo lists no phc_enable and devlink no enable_phc"
        return failed_rung(name, Reason.DRIVER_NOT_CAPABLE, words)
    return unseen_rung(name, f"{_named(facts.drivers[0])}: not both of modinfo and devlink could be read")


def _capability(facts: Facts, drivers: Sequence[Driver]) -> str | None:
    for one in drivers:
        if one.phc_parameter:
            return f"{_named(one)}: modinfo lists phc_enable"
        if one.devlink_parameter:
            return f"{_named(one)}: devlink lists enable_phc"
    if facts.driver_word is not None:
        return f'the driver knows the feature: "{facts.driver_word_text}"'
    return None


def driver_on(case: Case) -> Rung:
    """Whether the driver was told to give a clock. Where it answers that the device has none, that is recorded."""
    name, facts = RungName.DRIVER_ON, case.facts
    if case.clock is not None:
        return proven_rung(name, f"it made {case.clock.name}")
    if facts is None or facts.drivers is None:
        return unseen_rung(name, "the driver was not observed")
    switches = [switch for one in facts.drivers for switch in _switches(one)]
    on = [words for words, value in switches if value]
    off = [words for words, value in switches if value is False]
    if on:
        return proven_rung(name, f"{on[0]} is on")
    if facts.driver_word is DriverWord.ACTIVE:
        return proven_rung(name, f'the driver says "{facts.driver_word_text}"')
    if facts.driver_word is DriverWord.NOT_SUPPORTED_BY_DEVICE:
        words = "the driver was asked, and says that the device has no clock"
        return Rung(name=name, status=RungStatus.RECORDED, evidence=words)
    if off and len(off) == len(switches):
        return failed_rung(name, Reason.DRIVER_OFF, f"{', '.join(off)} is off, and there is no clock")
    if facts.driver_word is DriverWord.NOT_ENABLED:
        return failed_rung(name, Reason.DRIVER_OFF, f'the driver says "{facts.driver_word_text}"')
    return unseen_rung(name, "how the driver is set could not be read")


def _switches(one: Driver) -> list[tuple[str, bool | None]]:
    """The switches that this driver has: their names, and whether they are on (None: could not be read)."""
    found: list[tuple[str, bool | None]] = []
    if one.phc_parameter:
        found.append(("module parameter phc_enable", one.phc_parameter_on))
    if one.devlink_parameter:
        found.append(("devlink enable_phc", one.devlink_on))
    return found


def clock_present(case: Case) -> Rung:
    """Whether a clock of a name that counts is in /sys/class/ptp.

    Its absence is FAILED (then UNSUPPORTED) only with the driver's own word that the device has none, and on a host
    that is proven to stand where clocks are given; a host without the service makes the driver say the same.
    """
    name, facts = RungName.CLOCK_PRESENT, case.facts
    if case.clock is not None:
        link = f", /dev/ptp_ena -> {facts.phc_link}" if facts and facts.phc_link else ""
        return proven_rung(name, f"/dev/{case.clock.device} is {case.clock.name}{link}")
    if facts is None or facts.clocks is None:
        return unseen_rung(name, "its clocks were not observed")
    others = ", ".join(f"{one.device} {one.name}" for one in facts.clocks)
    seen = f"/sys/class/ptp has only {others}" if others else "/sys/class/ptp is empty"
    if facts.driver_word is not DriverWord.NOT_SUPPORTED_BY_DEVICE:
        return unseen_rung(name, f"{seen}, without the driver's word that the device has none", Reason.NO_PHC)
    said = f'{seen}; the driver\'s own word: "{facts.driver_word_text}"'
    if precision_host(case).status is not RungStatus.PROVEN:
        return unseen_rung(name, f"{said}; whether the host stands where clocks are given is not known", Reason.NO_PHC)
    return failed_rung(name, Reason.NO_PHC, said)


def _named(one: Driver) -> str:
    return f"{one.name} {one.version}" if one.version else one.name
