"""Each message of the driver has a meaning, a rung and a remedy; a switch set by a wrong name has its right one."""

from dataclasses import replace
from typing import Any

import pytest

from harness.campaign.limits import Requirement
from harness.ladder import judge
from harness.ladder.driver_remedies import READ_MEANINGS, READ_REMEDIES, START_MEANINGS, START_REMEDIES
from harness.model import (
    Depth,
    Driver,
    DriverWord,
    Evidence,
    Outcome,
    ReadFailure,
    Reason,
    RungName,
    RungStatus,
    Verdict,
    WrongSetting,
)
from harness.probes.kernel_log import START_FAILURES

Required = tuple[Requirement, ...]

BY_PARAMETER = Driver(
    pci="0000:00:05.0", interface="eth1", name="ena", version="2.17.0g", phc_parameter=True, phc_parameter_on=True,
    devlink_parameter=False, devlink_on=None,
)  # fmt: skip
BY_DEVLINK = replace(BY_PARAMETER, version="7.2.12", phc_parameter=False, phc_parameter_on=None,
                     devlink_parameter=True, devlink_on=False)  # fmt: skip


def without_clock(evidence: Evidence, driver: Driver, **changes: Any) -> Evidence:
    assert evidence.facts is not None
    facts = replace(
        evidence.facts, clocks=(), phc_link=None, reads=None, read_errors=None, drivers=(driver,), **changes
    )
    return replace(evidence, facts=facts, samples=None, slots=None, final_facts=None)


def judged(evidence: Evidence, required: Required, *, read_only: bool = False) -> Verdict:
    return judge(evidence, required, depth=Depth.STANDARD, read_only=read_only)


def test_every_word_and_every_failure_has_a_meaning_and_a_remedy() -> None:
    assert set(START_FAILURES) == set(START_MEANINGS) == set(START_REMEDIES)
    assert set(ReadFailure) == set(READ_MEANINGS) == set(READ_REMEDIES)


@pytest.mark.parametrize("driver", [BY_PARAMETER, BY_DEVLINK])
@pytest.mark.parametrize("word", [word for word in START_FAILURES if word is not DriverWord.VERSION_UNKNOWN])
def test_a_driver_that_could_not_start_its_clock_is_quoted_and_not_called_off(
    good: Evidence, required: Required, word: DriverWord, driver: Driver
) -> None:
    """After a failed start the in-tree driver sets devlink's parameter to off by itself."""
    told = "reload the driver with its debug messages on, so that it says why"
    line = "[ 9.1] ena 0000:00:05.0 eth1: Failed to enable PHC, error: -22"
    host = without_clock(good, driver, driver_word=word, driver_word_text=line, remedy=told)
    found = judged(host, required)
    assert (found.outcome, found.reason, found.remedy) == (
        Outcome.INCONCLUSIVE,
        Reason.NO_PHC,
        START_REMEDIES[word],
    )
    assert found.sentence == f'/sys/class/ptp is empty; the driver says "{line}": {START_MEANINGS[word]}'
    assert next(rung.status for rung in found.rungs if rung.name is RungName.DRIVER_ON) is RungStatus.PROVEN


def test_a_module_that_was_loaded_again_without_the_switch_is_off(good: Evidence, required: Required) -> None:
    driver = replace(BY_PARAMETER, phc_parameter_on=False)
    host = without_clock(good, driver, driver_word=DriverWord.NO_MEMORY, driver_word_text="Failed to init phc")
    assert judged(host, required).reason is Reason.DRIVER_OFF


def test_a_version_of_the_clock_that_the_driver_does_not_know_needs_another_driver(
    good: Evidence, required: Required
) -> None:
    line = "[ 9.1] ena 0000:00:05.0 eth1: Unsupported PHC version (0x1), error: -95"
    found = judged(
        without_clock(good, BY_PARAMETER, driver_word=DriverWord.VERSION_UNKNOWN, driver_word_text=line), required
    )
    assert (found.outcome, found.reason, found.sentence, found.remedy) == (
        Outcome.FAIL,
        Reason.DRIVER_NOT_CAPABLE,
        f'the driver says "{line}": the device\'s clock is of a version that this driver does not know',
        "install the newest release of Amazon's ena driver (`driver:` in a campaign file)",
    )


@pytest.mark.parametrize("failure", ReadFailure)
def test_a_reading_that_failed_has_the_driver_s_message_and_its_remedy(
    good: Evidence, required: Required, failure: ReadFailure
) -> None:
    assert good.facts is not None
    line = "[ 9.1] ena 0000:00:05.0 eth1: PHC get time request 0x1 failed (device error)"
    broken = replace(good.facts, read_errors=5, read_failure=failure, read_failure_text=line)
    found = judge(replace(good, facts=broken, samples=None), required, depth=Depth.QUICK, read_only=False)
    assert (found.reason, found.remedy) == (Reason.PHC_UNREADABLE, READ_REMEDIES[failure])
    assert found.sentence.endswith(f'; the driver says "{line}": {READ_MEANINGS[failure]}')


# --- a switch that is off ---------------------------------------------------------------------------------------------

WRONG = WrongSetting(name="enable_phc", line="options ena enable_phc=1", file="/etc/modprobe.d/ena.conf")
OFF = replace(BY_PARAMETER, phc_parameter_on=False)
THEN = "rebuild the initramfs (`update-initramfs -u` or `dracut -f`), then reboot"


@pytest.mark.parametrize(
    ("driver", "setting", "said", "by_hand"),
    [
        (OFF, None, "", f"write `options ena phc_enable=1` to /etc/modprobe.d/ptp-harness-ena.conf, {THEN}"),
        (
            OFF, WRONG, "; `options ena enable_phc=1` in /etc/modprobe.d/ena.conf does not switch it on",
            "write `options ena phc_enable=1` in place of `options ena enable_phc=1` in /etc/modprobe.d/ena.conf, "
            + THEN,
        ),
        (
            OFF, WrongSetting(name="enable_phc", line="ena.enable_phc=1", file="/proc/cmdline"),
            "; `ena.enable_phc=1` in /proc/cmdline does not switch it on",
            "write `ena.phc_enable=1` in place of `ena.enable_phc=1` on the kernel's command line, then reboot",
        ),
        (
            OFF, WrongSetting(name="enable_phc", line=None, file=None),
            "; the kernel says \"ena: unknown parameter 'enable_phc' ignored\"",
            "the parameter is phc_enable, not enable_phc: write `options ena phc_enable=1` to a file in "
            "/etc/modprobe.d, " + THEN,
        ),
        (
            BY_DEVLINK,
            WrongSetting(name="phc_enable", line="options ena phc_enable=1", file="/etc/modprobe.d/ena.conf"),
            "; `options ena phc_enable=1` in /etc/modprobe.d/ena.conf does not switch it on",
            "this driver has no module parameter for the clock (phc_enable): `devlink dev param set pci/0000:00:05.0 "
            "name enable_phc value true cmode driverinit`, then `devlink dev reload pci/0000:00:05.0`",
        ),
    ],
)  # fmt: skip
def test_a_switch_that_is_off_names_the_line_the_file_and_what_switches_it_on(
    good: Evidence, required: Required, driver: Driver, setting: WrongSetting | None, said: str, by_hand: str
) -> None:
    host = without_clock(good, driver, wrong_setting=setting)
    found = judged(host, required)
    assert (found.outcome, found.reason, found.remedy) == (Outcome.FAIL, Reason.DRIVER_OFF, by_hand)
    assert found.sentence.endswith(f"is off, and there is no clock{said}")
    observed = judged(host, required, read_only=True)
    assert observed.remedy == (
        f"run it without --read-only, so that the role switches the clock on; or by hand: {by_hand}"
    )


def test_an_error_bound_that_cannot_be_published_is_a_remark(good: Evidence, required: Required) -> None:
    assert good.facts is not None
    line = "ena 0000:00:05.0: Failed to create phc_error_bound sysfs entry"
    found = judged(replace(good, facts=replace(good.facts, error_bound_trouble=line)), required)
    assert f'error bound: the driver says "{line}"' in found.remarks


def test_tools_of_linuxptp_that_are_not_there_are_a_remark(good: Evidence, required: Required) -> None:
    assert good.facts is not None
    found = judged(replace(good, facts=replace(good.facts, missing_tools=("ptp4l", "phc2sys"))), required)
    assert (found.outcome, found.remarks[-1]) == (
        Outcome.PASS,
        "ptp4l, phc2sys: not installed, which no verdict needs",
    )
