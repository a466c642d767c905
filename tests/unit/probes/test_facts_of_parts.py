"""Facts from single parts of a collection: which part decides where two say something, and what one leaves open."""

import errno
import json

import pytest

from harness.model import Capture, Driver, DriverWord, Facts, ReadFailure, WrongSetting
from harness.probes import facts

PCI = "0000:00:05.0 0x1d0f 0xec20 driver=ena net=eth1\n"
TWO = PCI + "0000:00:06.0 0x1d0f 0xec20 driver=- net=-\n"
ENA_CLOCK = "/sys/class/ptp/ptp0/clock_name ena-ptp-05\n"
NO_PTP = "# CONFIG_PTP_1588_CLOCK is not set\n"
BOOT = "3f0e8d5e-1111-2222-3333-444444444444"


def collected(**parts: str | Capture | None) -> Facts:
    """Facts of captures named after the arguments; a text is the output of a command that succeeded."""
    captures = {
        name.replace("__", "/").replace("_", "-"): part
        if isinstance(part, Capture)
        else Capture(command="", rc=0 if part is not None else 1, out=part or "")
        for name, part in parts.items()
    }
    found, unparsed = facts.from_captures(captures, where="f")
    assert unparsed == ()
    return found


def failed(rc: int, out: str = "") -> Capture:
    return Capture(command="", rc=rc, out=out)


@pytest.mark.parametrize(
    ("listing", "configuration", "has_ptp"),
    [(ENA_CLOCK, NO_PTP, True), ("", NO_PTP, False), ("", None, None), (None, NO_PTP, False)],
)
def test_a_clock_proves_that_the_kernel_has_clocks(
    listing: str | None, configuration: str | None, has_ptp: bool | None
) -> None:
    assert collected(ptp_class=listing, kernel_config=configuration).kernel_has_ptp is has_ptp


def test_the_link_of_the_ena_clock_alone_is_a_fact() -> None:
    assert collected(ptp_links="/dev/ptp_kvm -> ptp1\n/dev/ptp_ena -> ptp0\n").phc_link == "ptp0"
    assert collected(ptp_links="/dev/ptp_kvm -> ptp1\n").phc_link is None
    assert collected(ptp_links=None).phc_link is None


def test_a_folder_of_clocks_that_could_not_be_listed_shows_nothing() -> None:
    assert collected(ptp_class=failed(errno.ENOENT)).clocks == ()
    assert collected(ptp_class=failed(errno.EACCES)).clocks is None
    assert collected().clocks is None


# --- records of roles and the boot ------------------------------------------------------------------------------------

CONVERGED = {"schema": 1, "waited": True, "converged": True, "converged_after_s": 3.2}
RECORD = {
    "schema": 1,
    "decision": "devlink",
    "attempts": [{"out": "", "err": "Error: ena: Device doesn't support PHC."}],
    "kernel_log": [],
}
ACTIVE = "[1] ena: PHC is active in the device\n"


@pytest.mark.parametrize(
    ("recorded", "boot", "counts"),
    [(BOOT, BOOT, True), (None, BOOT, True), (BOOT, None, True), (None, None, True), ("another", BOOT, False)],
)
def test_a_record_counts_unless_it_is_known_to_be_of_another_boot(
    recorded: str | None, boot: str | None, counts: bool
) -> None:
    identity = f"boot_id {boot}\n" if boot else None
    convergence = collected(boot=identity, chrony_phc=json.dumps({**CONVERGED, "boot_id": recorded}))
    assert convergence.converged is (True if counts else None)
    record = json.dumps({**RECORD, "boot_id": recorded})
    word = collected(boot=identity, driver_word=record, kernel_log=ACTIVE).driver_word
    assert word is (DriverWord.NOT_SUPPORTED_BY_DEVICE if counts else DriverWord.ACTIVE)


def test_a_chronyd_that_could_not_try_gives_its_reason_and_its_starts() -> None:
    record = {**CONVERGED, "converged": False, "converged_after_s": None, "starts": 2, "why": "no such unit"}
    found = collected(chrony_phc=json.dumps(record))
    assert (found.converged, found.converged_after_s, found.chronyd_starts, found.why_not_converged) == (
        False,
        None,
        2,
        "no such unit",
    )


def test_a_record_without_a_word_leaves_the_kernel_log() -> None:
    silent = json.dumps({**RECORD, "attempts": [], "remedy": "reboot"})
    found = collected(driver_word=silent, kernel_log=ACTIVE)
    assert (found.driver_word, found.driver_word_text, found.remedy) == (
        DriverWord.ACTIVE,
        ACTIVE.strip(),
        "reboot",
    )
    assert collected(driver_word=silent).driver_word is None


def test_the_kernel_log_tells_of_readings_and_of_the_error_bound() -> None:
    log = (
        "[1] ena: PHC get time request 0x1 failed (device error)\n"
        "[2]  ena: Failed to create phc_error_bound sysfs entry \n"
        "[3] ena: Failed to create phc_error_bound sysfs entry\n"
    )
    found = collected(kernel_log=log)
    assert (found.read_failure, found.read_failure_text) == (ReadFailure.NO_ANSWER, log.splitlines()[0])
    assert found.error_bound_trouble == "[2]  ena: Failed to create phc_error_bound sysfs entry"
    assert (collected().read_failure, collected().error_bound_trouble) == (None, None)


def test_chronyds_log_that_was_not_read_shows_no_interference() -> None:
    assert collected(chrony_log="").interference is False
    assert collected(chrony_log="System clock interference detected\n").interference is True
    assert collected(chrony_log=None).interference is None


def test_sources_without_tracking_are_not_observed() -> None:
    source = "#,*,PHC0,0,0,377,1,0.000000000,0.000000000,0.000005020\n"
    assert collected(chronyc=source).sources is None


def test_lists_of_what_was_not_recorded_are_empty() -> None:
    nothing = collected()
    assert (nothing.restarting, nothing.missing_tools, nothing.leap_announced) == ((), (), False)
    some = collected(
        services="ptp4l.service auto-restart\n",
        linuxptp=json.dumps({"schema": 1, "tools": {"pmc": None}}),
        adjtimex="state 1 status 0x0011\n",
    )
    assert (some.restarting, some.missing_tools, some.leap_announced) == (("ptp4l",), ("pmc",), True)


def test_ntp_answers_become_stratum_and_offset() -> None:
    found = collected(ntp_probe="169.254.169.123 stratum 1 offset_ns -7 delay_ns 9\n")
    assert (found.ntp_stratum, found.ntp_offset_ns) == (1, 7)
    assert (collected(ntp_probe=None).ntp_stratum, collected(ntp_probe=None).ntp_offset_ns) == (None, None)


# --- settings without effect ------------------------------------------------------------------------------------------

WITH_PARAMETER = "filename: /ena.ko\nparm: phc_enable:Enable PHC\n"
WITHOUT_PARAMETER = "filename: /ena.ko\n"


@pytest.mark.parametrize(
    ("options", "modinfo", "log", "setting"),
    [
        ("/a: options ena phc_enable=1\n", WITH_PARAMETER, "", None),
        ("/a: options ena phc_enable=Y\n", None, "", None),
        ("/a: options ena phc_enable=0\n", WITH_PARAMETER, "", ("phc_enable", "options ena phc_enable=0", "/a")),
        ("/a: options ena phc_enable\n", WITH_PARAMETER, "", ("phc_enable", "options ena phc_enable", "/a")),
        ("/a: options ena phc_enable=1\n", WITHOUT_PARAMETER, "", ("phc_enable", "options ena phc_enable=1", "/a")),
        ("/a: options ena enable_PHC=1\n", WITH_PARAMETER, "", ("enable_PHC", "options ena enable_PHC=1", "/a")),
        ("/a: options ena lpc_size=2\n", WITH_PARAMETER, "", None),
        (
            "/a: options ena phc_on=1\n/b: options ena enable_phc=1\n/c: options ena lpc_size=2\n",
            WITH_PARAMETER,
            "",
            ("enable_phc", "options ena enable_phc=1", "/b"),
        ),
        (
            "/a: options ena phc_on=1\n",
            WITH_PARAMETER,
            "ena: unknown parameter 'enable_phc' ignored\n",
            ("phc_on", "options ena phc_on=1", "/a"),
        ),
        (
            None,
            WITH_PARAMETER,
            "ena: unknown parameter 'phc_on' ignored\nena: unknown parameter 'enable_PHC' ignored\n"
            "ena: unknown parameter 'size' ignored\n",
            ("enable_PHC", None, None),
        ),
        (None, WITH_PARAMETER, "ena: unknown parameter 'size' ignored\n", None),
    ],
)
def test_the_last_setting_that_names_the_clock_without_switching_it_on_is_found(
    options: str | None, modinfo: str | None, log: str, setting: tuple[str, str | None, str | None] | None
) -> None:
    found = collected(pci=PCI, module_options=options, modinfo=modinfo, kernel_log=log).wrong_setting
    if setting is None:
        assert found is None
        return
    name, line, file = setting
    assert found == WrongSetting(name=name, line=line, file=file)


def test_one_driver_with_the_parameter_makes_its_name_right() -> None:
    loaded = {"pci": TWO, "module": "phc_enable=1\n", "modinfo": WITHOUT_PARAMETER}
    assert collected(module_options="/a: options ena phc_enable=1\n", **loaded).wrong_setting is None
    no_driver = collected(module_options="/a: options ena phc_enable=1\n", pci="", modinfo=WITHOUT_PARAMETER)
    assert no_driver.wrong_setting is None


# --- drivers ----------------------------------------------------------------------------------------------------------

DEVLINK = "pci/0000:00:05.0:\n  name enable_phc type generic\n    cmode driverinit value {}\n"


def driver(**changes: object) -> Driver:
    values: dict[str, object] = {
        "pci": "0000:00:05.0",
        "interface": "eth1",
        "name": "ena",
        "version": None,
        "phc_parameter": None,
        "phc_parameter_on": None,
        "devlink_parameter": None,
        "devlink_on": None,
    }
    return Driver(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, driver()),
        ({"pci": TWO.splitlines()[1]}, driver(pci="0000:00:06.0", interface=None, name="none")),
        ({"ethtool_i__eth1": "driver: ena\nversion: 2.17.0g\n"}, driver(version="2.17.0g")),
        (
            {"ethtool_i__eth1": "driver: ena\nversion: 2.17.0g\n", "module": "2.8.0\n"},
            driver(version="2.17.0g"),
        ),
        ({"module": "2.8.0\n"}, driver(version="2.8.0")),
        ({"module": "phc_enable=1\n"}, driver(phc_parameter=True, phc_parameter_on=True)),
        ({"module": "phc_enable=Y\n"}, driver(phc_parameter=True, phc_parameter_on=True)),
        ({"module": "phc_enable=0\n"}, driver(phc_parameter=True, phc_parameter_on=False)),
        ({"module": "phc_enable=N\n"}, driver(phc_parameter=True, phc_parameter_on=False)),
        ({"module": "phc_enable=\n"}, driver(phc_parameter=True, phc_parameter_on=False)),
        ({"modinfo": WITH_PARAMETER}, driver(phc_parameter=True)),
        ({"modinfo": WITHOUT_PARAMETER}, driver(phc_parameter=False)),
        ({"modinfo": WITHOUT_PARAMETER, "module": "phc_enable=1\n"}, driver(phc_parameter=True, phc_parameter_on=True)),
        ({"modinfo": WITH_PARAMETER, "module": "debug=1\n"}, driver(phc_parameter=True)),
        ({"devlink": DEVLINK.format("true")}, driver(devlink_parameter=True, devlink_on=True)),
        ({"devlink": DEVLINK.format("false")}, driver(devlink_parameter=True, devlink_on=False)),
        ({"devlink": "pci/0000:00:05.0:\n"}, driver(devlink_parameter=False)),
        ({"devlink": ""}, driver(devlink_parameter=False)),
    ],
)
def test_what_each_tool_tells_of_a_driver(parts: dict[str, str], expected: Driver) -> None:
    assert collected(**{"pci": PCI, **parts}).drivers == (expected,)


def test_without_a_list_of_functions_no_driver_is_observed() -> None:
    assert collected(pci=None, module="phc_enable=1\n").drivers is None
    assert collected(pci="").drivers == ()


# --- what the driver publishes ----------------------------------------------------------------------------------------

COUNTED = "phc_cnt: 2\nphc_exp: 0\nphc_skp: 0\nphc_err_dv: 0\nphc_err_ts: 0\n"
UNCOUNTED = "NIC statistics:\n  rx: 1\n"


@pytest.mark.parametrize(
    ("statistics", "debugfs", "published"),
    [
        (COUNTED, failed(errno.ENOENT), True),
        (UNCOUNTED, Capture(command="", rc=0, out=COUNTED), True),
        (UNCOUNTED, failed(errno.ENOENT), False),
        (UNCOUNTED, Capture(command="", rc=0, out=""), False),
        (failed(errno.ENOENT), failed(errno.ENOENT), False),
        (UNCOUNTED, failed(errno.EACCES), None),
        (failed(errno.EPERM, COUNTED), failed(errno.ENOENT), None),
        (UNCOUNTED, None, None),
        (None, failed(errno.ENOENT), None),
    ],
)
def test_counters_are_absent_only_where_both_places_were_read(
    statistics: str | Capture | None, debugfs: Capture | None, published: bool | None
) -> None:
    captures = {
        name: Capture(command="", rc=0, out=part) if isinstance(part, str) else part
        for name, part in (("ethtool-S/eth1", statistics), ("phc-stats/0000:00:05.0", debugfs))
        if part is not None
    }
    assert facts.from_captures(captures, where="f")[0].counters_published is published


@pytest.mark.parametrize(
    ("first", "second", "published"),
    [
        (errno.ENOENT, errno.EBUSY, True),
        (errno.ENOENT, errno.ENOENT, False),
        (errno.ENOENT, errno.EACCES, None),
        (errno.ENOENT, None, False),
    ],
)
def test_an_error_bound_of_any_function_is_published(first: int, second: int | None, published: bool | None) -> None:
    captures = {"error-bound/0000:00:05.0": failed(first)}
    captures |= {} if second is None else {"error-bound/0000:00:06.0": failed(second)}
    assert facts.from_captures(captures, where="f")[0].error_bound_published is published


FULL = "Capabilities:\n\thardware-transmit\n\thardware-receive\n\thardware-raw-clock\nPTP Hardware Clock: 0\n"


@pytest.mark.parametrize(
    ("capture", "full"),
    [
        (Capture(command="", rc=0, out=FULL), True),
        (Capture(command="", rc=0, out=FULL.replace("\thardware-receive\n", "")), False),
        (failed(1, FULL), None),
        (None, None),
    ],
)
def test_whether_a_card_timestamps_in_hardware(capture: Capture | None, full: bool | None) -> None:
    captures = {} if capture is None else {"ethtool-T/eth1": capture}
    assert facts.from_captures(captures, where="f")[0].hardware_timestamping is full
