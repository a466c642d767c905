"""Judge whether the driver can give a clock, is set to give it, and gave it: by evidence, never by a version number."""

from collections.abc import Sequence

from harness.ladder import driver_remedies
from harness.ladder.case import Case, failed_rung, proven_rung, unobserved_rung
from harness.ladder.host_rungs import judge_precision_host
from harness.model import Driver, DriverWord, Facts, Reason, Rung, RungName, RungStatus


def judge_driver_capable(case: Case) -> Rung:
    """Judge by a clock, else by phc_enable in modinfo, else by enable_phc in devlink, else by the driver's log message.

    "Not capable" needs positive evidence: a kernel without PTP clocks, or both lists read and empty.
    """
    name, facts = RungName.DRIVER_CAPABLE, case.facts
    if case.clock is not None:
        return proven_rung(name, f"it made {case.clock.name}")
    if facts is None or facts.drivers is None:
        return unobserved_rung(name, "the driver was not observed")
    if facts.driver_word is DriverWord.VERSION_UNKNOWN:
        return failed_rung(name, Reason.DRIVER_NOT_CAPABLE, str(driver_remedies.explain_start(facts)))
    capability = _describe_capability(facts, facts.drivers)
    if capability is not None:
        return proven_rung(name, capability)
    if facts.kernel_has_ptp is False:
        return failed_rung(name, Reason.DRIVER_NOT_CAPABLE, f"kernel {facts.kernel} is built without PTP clocks")
    if not facts.drivers:
        return unobserved_rung(name, "no ENA device was found on this host")
    if all(driver.phc_parameter is False and driver.devlink_parameter is False for driver in facts.drivers):
        text = f"{_driver_title(facts.drivers[0])}: modinfo lists no phc_enable and devlink no enable_phc"
        return failed_rung(name, Reason.DRIVER_NOT_CAPABLE, text)
    return unobserved_rung(name, f"{_driver_title(facts.drivers[0])}: not both of modinfo and devlink could be read")


def _describe_capability(facts: Facts, drivers: Sequence[Driver]) -> str | None:
    for driver in drivers:
        if driver.phc_parameter:
            return f"{_driver_title(driver)}: modinfo lists phc_enable"
        if driver.devlink_parameter:
            return f"{_driver_title(driver)}: devlink lists enable_phc"
    if facts.driver_word is not None:
        return f'the driver knows the feature: "{facts.driver_word_text}"'
    return None


def judge_driver_on(case: Case) -> Rung:
    """Judge whether the driver is set to give a clock. A driver's message that the device has no clock is RECORDED."""
    name, facts = RungName.DRIVER_ON, case.facts
    if case.clock is not None:
        return proven_rung(name, f"it made {case.clock.name}")
    if facts is None or facts.drivers is None:
        return unobserved_rung(name, "the driver was not observed")
    switches = [switch for driver in facts.drivers for switch in _list_switches(driver)]
    names_on = [text for text, value in switches if value]
    names_off = [text for text, value in switches if value is False]
    if names_on:
        return proven_rung(name, f"{names_on[0]} is on")
    if facts.driver_word in driver_remedies.START_MEANINGS and not _has_parameter_off(facts.drivers):
        return proven_rung(name, f'it tried to start the clock: "{facts.driver_word_text}"')
    if facts.driver_word is DriverWord.ACTIVE:
        return proven_rung(name, f'the driver says "{facts.driver_word_text}"')
    if facts.driver_word is DriverWord.NOT_SUPPORTED_BY_DEVICE:
        text = "the driver was asked, and says that the device has no clock"
        return Rung(name=name, status=RungStatus.RECORDED, evidence=text)
    if names_off and len(names_off) == len(switches):
        vain = f"; {driver_remedies.describe_wrong_setting(facts.wrong_setting)}" if facts.wrong_setting else ""
        return failed_rung(name, Reason.DRIVER_OFF, f"{', '.join(names_off)} is off, and there is no clock{vain}")
    if facts.driver_word is DriverWord.NOT_ENABLED:
        return failed_rung(name, Reason.DRIVER_OFF, f'the driver says "{facts.driver_word_text}"')
    return unobserved_rung(name, "how the driver is set could not be read")


def _has_parameter_off(drivers: Sequence[Driver]) -> bool:
    """Whether the module's parameter is off, so that a failed start was an earlier one.

    After a failed start the driver itself sets devlink's parameter to off (ena_phc_init), but never the module's.
    """
    return any(driver.phc_parameter_on is False for driver in drivers)


def _list_switches(driver: Driver) -> list[tuple[str, bool | None]]:
    """List the driver's switches for the clock: name, and whether it is on (None: could not be read)."""
    switches: list[tuple[str, bool | None]] = []
    if driver.phc_parameter:
        switches.append(("module parameter phc_enable", driver.phc_parameter_on))
    if driver.devlink_parameter:
        switches.append(("devlink enable_phc", driver.devlink_on))
    return switches


def judge_clock_present(case: Case) -> Rung:
    """Judge whether /sys/class/ptp has a clock with an accepted name.

    A missing clock is FAILED (then UNSUPPORTED) only when the driver's log says that the device has none and the rung
    precision_host is proven: on a host without the precision service the driver logs the same message.
    """
    name, facts = RungName.CLOCK_PRESENT, case.facts
    if case.clock is not None:
        link = f", /dev/ptp_ena -> {facts.phc_link}" if facts and facts.phc_link else ""
        return proven_rung(name, f"/dev/{case.clock.device} is {case.clock.name}{link}")
    if facts is None or facts.clocks is None:
        return unobserved_rung(name, "its clocks were not observed")
    clocks = ", ".join(f"{clock.device} {clock.name}" for clock in facts.clocks)
    listing = f"/sys/class/ptp has only {clocks}" if clocks else "/sys/class/ptp is empty"
    if (explanation := driver_remedies.explain_start(facts)) is not None:
        return unobserved_rung(name, f"{listing}; {explanation}", Reason.NO_PHC)
    if facts.driver_word is not DriverWord.NOT_SUPPORTED_BY_DEVICE:
        return unobserved_rung(name, f"{listing}, without the driver's message that the device has none", Reason.NO_PHC)
    driver_message = f'{listing}; the driver\'s own word: "{facts.driver_word_text}"'
    if judge_precision_host(case).status is not RungStatus.PROVEN:
        return unobserved_rung(
            name, f"{driver_message}; whether the host is placed where clocks are provided is not known", Reason.NO_PHC
        )
    return failed_rung(name, Reason.NO_PHC, driver_message)


def _driver_title(driver: Driver) -> str:
    return f"{driver.name} {driver.version}" if driver.version else driver.name
