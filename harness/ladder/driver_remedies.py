"""Say what switches a driver's clock on, and what to do about each of the driver's own messages."""

from collections.abc import Mapping, Sequence

from harness.model import Driver, DriverWord, Facts, ReadFailure, WrongSetting

START_MEANINGS: Mapping[DriverWord, str] = {
    DriverWord.VERSION_UNKNOWN: "the device's clock is of a version that this driver does not know",
    DriverWord.REFUSED_BY_DEVICE: "the device did not start its clock",
    DriverWord.NO_MEMORY: "there was no memory for the clock",
    DriverWord.NOT_REGISTERED: "the kernel did not take the clock",
    DriverWord.START_FAILED: "the clock could not be started",
}

START_REMEDIES: Mapping[DriverWord | None, str] = {
    DriverWord.VERSION_UNKNOWN: "install the newest release of Amazon's ena driver (`driver:` in a campaign file)",
    DriverWord.REFUSED_BY_DEVICE: "replace the host by another instance (stop and start moves it); where that one says "
    "the same, report this line to AWS",
    DriverWord.NO_MEMORY: "free memory on the host or take a larger size, then reload the driver or reboot",
    DriverWord.NOT_REGISTERED: "reboot the host; if the driver says the same, boot another kernel",
    DriverWord.START_FAILED: "read the kernel log around this line (`dmesg`), then reboot the host",
}

READ_MEANINGS: Mapping[ReadFailure, str] = {
    ReadFailure.NOT_ACTIVE: "the device's clock is not started, as after a reset of the device that failed to start it",
    ReadFailure.NO_ANSWER: "the device did not answer in time",
    ReadFailure.TIMESTAMP: "the device refused a time, as with more than 125 requests a second",
    ReadFailure.ERROR_BOUND: "the device does not know how far its clock is from UTC",
}

READ_REMEDIES: Mapping[ReadFailure, str] = {
    ReadFailure.NOT_ACTIVE: "reload the driver or reboot the host",
    ReadFailure.NO_ANSWER: "replace the host by another instance (stop and start moves it)",
    ReadFailure.TIMESTAMP: "stop other readers of the clock (`fuser -v /dev/ptp*`), whose budget is 125/s",
    ReadFailure.ERROR_BOUND: "wait some minutes and measure again, or replace the host by another instance",
}

RELOAD = "rebuild the initramfs (`update-initramfs -u` or `dracut -f`), then reboot"


def explain_start(facts: Facts) -> str | None:
    """Quote the driver's message that it could not start the clock, and say what it means; None without one."""
    meaning = START_MEANINGS.get(facts.driver_word) if facts.driver_word else None
    return f'the driver says "{facts.driver_word_text}": {meaning}' if meaning else None


def explain_reading(collections: Sequence[Facts | None]) -> tuple[ReadFailure, str] | None:
    """Find the driver's last message about a failed reading, with its meaning as a sentence; None without one."""
    for facts in reversed(collections):
        if facts is not None and facts.read_failure is not None:
            failure = facts.read_failure
            return failure, f'the driver says "{facts.read_failure_text}": {READ_MEANINGS[failure]}'
    return None


def describe_wrong_setting(setting: WrongSetting) -> str:
    """Quote a setting without effect, and where it stands."""
    if setting.line is None:
        return f"the kernel says \"ena: unknown parameter '{setting.name}' ignored\""
    return f"`{setting.line}` in {setting.file} does not switch it on"


def switch_on_command(facts: Facts) -> str | None:
    """Say how to switch on the clock of this host's driver by hand; None where its driver has no switch."""
    drivers = facts.drivers or ()
    by_parameter = any(driver.phc_parameter for driver in drivers)
    if by_parameter and facts.wrong_setting is not None:
        return _right_setting(facts.wrong_setting)
    if by_parameter:
        return f"write `options ena phc_enable=1` to /etc/modprobe.d/ptp-harness-ena.conf, {RELOAD}"
    driver = next((driver for driver in drivers if driver.devlink_parameter), None)
    if driver is None:
        return None
    wrong = facts.wrong_setting
    vain = "" if wrong is None else f"this driver has no module parameter for the clock ({wrong.name}): "
    return f"{vain}{_devlink_commands(driver)}"


def _right_setting(setting: WrongSetting) -> str:
    if setting.file == "/proc/cmdline":
        return f"write `ena.phc_enable=1` in place of `{setting.line}` on the kernel's command line, then reboot"
    if setting.line is not None:
        return f"write `options ena phc_enable=1` in place of `{setting.line}` in {setting.file}, {RELOAD}"
    right = "write `options ena phc_enable=1` to a file in /etc/modprobe.d"
    return f"the parameter is phc_enable, not {setting.name}: {right}, {RELOAD}"


def _devlink_commands(driver: Driver) -> str:
    device = f"pci/{driver.pci}"
    return (
        f"`devlink dev param set {device} name enable_phc value true cmode driverinit`, then "
        f"`devlink dev reload {device}`"
    )
