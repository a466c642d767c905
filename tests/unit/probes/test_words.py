"""Kernel log, roles' records, services, NTP answers, system: accepted, ignored and refused lines."""

import json
from collections.abc import Callable

import pytest

from harness.errors import ParseError
from harness.model import DriverWord
from harness.probes import chrony_log, driver_word, kernel_log, linuxptp_record, ntp_probe, services, system

Said = Callable[[str], str]


def test_the_driver_s_word_in_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    found = {state: kernel_log.find_last_word(said(f"ena/{state}/dmesg-ena.txt").splitlines()) for state in states}
    words = {state: said_last[0] for state, said_last in found.items() if said_last}
    assert words == {
        "in-tree-7.2-phc-off": DriverWord.NOT_ENABLED,
        "in-tree-7.2-phc-on": DriverWord.ACTIVE,
        "no-phc-feature": DriverWord.NOT_SUPPORTED_BY_DEVICE,
        "phc-off": DriverWord.NOT_ENABLED,
        "phc-on-debug": DriverWord.ACTIVE,
    }
    text = found["no-phc-feature"]
    assert text is not None
    assert text[1].endswith("(uninitialized): PHC feature is not supported by the device")


def test_the_last_word_counts() -> None:
    log = ["[1] ena: PHC feature is not enabled by the kernel", "[2] other", "[3] ena: PHC is active in the device"]
    assert kernel_log.find_last_word(log) == (DriverWord.ACTIVE, "[3] ena: PHC is active in the device")
    assert kernel_log.find_last_word(["[2] other"]) is None


REFUSED = {
    "schema": 1,
    "boot_id": "3f0e8d5e-1111-2222-3333-444444444444",
    "decision": "devlink",
    "attempts": [
        {"command": "echo ...", "rc": 0, "out": "", "err": ""},
        {"command": "devlink dev param set", "rc": 1, "out": "", "err": "Error: ena: Device doesn't support PHC.\n"},
    ],
    "kernel_log": [],
    "remedy": "choose another instance type",
}


def test_devlink_s_refusal_is_the_driver_s_word() -> None:
    assert driver_word.parse(json.dumps(REFUSED), "w") == driver_word.DriverRecord(
        decision="devlink",
        boot_id="3f0e8d5e-1111-2222-3333-444444444444",
        word=DriverWord.NOT_SUPPORTED_BY_DEVICE,
        text="Error: ena: Device doesn't support PHC.",
        remedy="choose another instance type",
    )


def test_a_record_without_words() -> None:
    record = {**REFUSED, "decision": "clock_present", "attempts": [], "remedy": None}
    assert driver_word.parse(json.dumps(record), "w") == driver_word.DriverRecord(
        decision="clock_present",
        boot_id="3f0e8d5e-1111-2222-3333-444444444444",
        word=None,
        text=None,
        remedy=None,
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", json.dumps({**REFUSED, "schema": 2}), json.dumps({**REFUSED, "attempts": 1}),
     json.dumps({**REFUSED, "decision": "guess"}), "[" * 100_000],
)  # fmt: skip
def test_another_record_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        driver_word.parse(text, "driver-word")


def test_competitors() -> None:
    text = (
        "chrony.service active\nsystemd-timesyncd.service inactive\nntpsec.service failed\n"
        "phc2sys@ens5.service active\nntpd[812] running\nptp4l.service activating\n"
    )
    assert services.parse_competitors(text, "s") == ("phc2sys@ens5", "ntpd[812]", "ptp4l")
    assert services.parse_competitors("", "s") == ()
    assert services.parse_competitors("chronyd[77] running\n", "s") == ()
    with pytest.raises(ParseError):
        services.parse_competitors("Failed to connect to bus: No such file or directory\n", "s")


def test_a_daemon_of_linuxptp_that_does_not_stay_up_runs_no_more_than_it_steers() -> None:
    text = (
        "ptp4l.service auto-restart\nphc2sys@ens5.service auto-restart\n"
        "ntpd.service auto-restart\nts2phc.service active\n"
    )
    assert services.parse_restarting(text, "s") == ("ptp4l", "phc2sys@ens5")
    assert services.parse_competitors(text, "s") == ("ntpd", "ts2phc")
    assert services.parse_restarting("ptp4l.service activating\n", "s") == ()


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("state 0 status 0x2001\n", False), ("state 5 status 0x0040\n", False), ("state 1 status 0x0011\n", True),
        ("state 0 status 0x0010\n", True), ("state 0 status 0x0020\n", True), ("state 4 status 0x0001\n", True),
        ("state 1 status 0x0001\n", True),
    ],
)  # fmt: skip
def test_whether_the_kernel_announces_a_leap_second(text: str, near: bool) -> None:
    assert system.parse_leap(text, "a") is near
    with pytest.raises(ParseError):
        system.parse_leap("state x\n", "a")


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("chrony.service active\n", True),
        ("chronyd.service activating\n", True),
        ("chrony.service inactive\nntpd[7] running\n", False),
        ("chrony.service failed\nchronyd[812] running\n", True),
        ("", False),
    ],
)
def test_whether_chronyd_runs(text: str, runs: bool) -> None:
    assert services.parse_chronyd_runs(text, "s") is runs


def test_ntp_answers() -> None:
    text = "169.254.169.123 stratum 1 offset_ns -1200 delay_ns 340000\n10.0.2.2:11123 error timed out\n"
    answers = ntp_probe.parse(text, "n")
    assert answers == (ntp_probe.NtpAnswer(server="169.254.169.123", stratum=1, offset_ns=-1200, delay_ns=340_000),)
    assert ntp_probe.link_local_stratum(answers) == 1
    assert ntp_probe.best_offset_ns(answers) == 1200
    assert ntp_probe.best_offset_ns(()) is None
    slower = ntp_probe.NtpAnswer(server="10.0.2.2", stratum=2, offset_ns=5, delay_ns=900_000)
    assert ntp_probe.best_offset_ns((slower, *answers)) == 1200
    elsewhere = ntp_probe.parse("10.0.2.2 stratum 1 offset_ns 0 delay_ns 0\n", "n")
    assert ntp_probe.link_local_stratum(elsewhere) is None
    with pytest.raises(ParseError):
        ntp_probe.parse("169.254.169.123 stratum one offset_ns 0 delay_ns 0\n", "n")


START = "2026-11-21T03:00:00+00:00 host chronyd[1]: chronyd version 4.7 starting (+CMDMON)\n"
INTERFERENCE = "2026-11-21T03:00:09+00:00 host chronyd[1]: System clock interference detected (/usr/sbin/ntpd)\n"


@pytest.mark.parametrize(
    ("log", "seen"),
    [("", False), (START, False), (START + INTERFERENCE, True), (START + INTERFERENCE + START, False)],
)
def test_interference_since_chronyd_started(log: str, seen: bool) -> None:
    assert chrony_log.parse_interference(log) is seen


def test_chrony_version() -> None:
    assert chrony_log.parse_version("chronyd (chrony) version 4.6.1 (+CMDMON +NTP)\n", "v") == "4.6.1"
    with pytest.raises(ParseError):
        chrony_log.parse_version("chronyd 4\n", "v")


def convergence(**changes: object) -> str:
    return json.dumps(
        {"schema": 1, "waited": True, "converged": True, "converged_after_s": 3.2, "boot_id": "b", **changes}
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (convergence(), chrony_log.Convergence(boot_id="b", converged=True, after_s=3.2)),
        (convergence(converged=False), chrony_log.Convergence(boot_id="b", converged=False, after_s=None)),
        (convergence(starts=2), chrony_log.Convergence(boot_id="b", converged=True, after_s=3.2, starts=2)),
        (convergence(waited=False, converged=False), None),
    ],
)
def test_convergence(text: str, wanted: object) -> None:
    assert chrony_log.parse_convergence(text, "c") == wanted


@pytest.mark.parametrize(
    "text",
    ["", "7", convergence(schema=2), convergence(converged="yes"), convergence(converged_after_s=-1),
     convergence(converged_after_s=float("nan")), convergence(converged_after_s=True), convergence(waited=None),
     convergence(starts=0), convergence(starts="2")],
)  # fmt: skip
def test_another_record_of_convergence_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        chrony_log.parse_convergence(text, "chrony-phc")


def test_system(said: Said) -> None:
    assert system.parse_kernel(said("ena/in-tree-7.2-phc-on/uname.txt"), "u") == "7.2.12+deb13-amd64"
    assert system.parse_kernel(said("ena/in-tree-6.12/uname.txt"), "u") == "6.12.107+deb13-amd64"
    release = '# a comment\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nID=debian\n'
    assert system.parse_distribution(release, "o") == "Debian GNU/Linux 13 (trixie)"
    boot = "boot_id 3f0e8d5e-1111-2222-3333-444444444444\nuptime_s 12.5\n"
    assert system.parse_boot_id(boot, "b") == "3f0e8d5e-1111-2222-3333-444444444444"


def test_pci_functions() -> None:
    text = "0000:00:05.0 0x1d0f 0xec20 driver=ena net=eth1,eth2\n0000:00:06.0 0x1d0f 0xec20 driver=- net=-\n"
    assert system.parse_pci_functions(text, "p") == (
        system.PciFunction(address="0000:00:05.0", driver="ena", interface="eth1"),
        system.PciFunction(address="0000:00:06.0", driver=None, interface=None),
    )


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("CONFIG_PTP_1588_CLOCK=m\nCONFIG_PTP_1588_CLOCK_KVM=m\n", True),
        ("CONFIG_PTP_1588_CLOCK=y\n", True),
        ("# CONFIG_PTP_1588_CLOCK is not set\n", False),
        ("CONFIG_PTP_1588_CLOCK_OPTIONAL=y\n", None),
        ("", None),
    ],
)
def test_kernel_configuration(text: str, has: bool | None) -> None:
    assert system.parse_kernel_has_ptp(text, "k") is has


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (system.parse_kernel, "Darwin host 25.0\n"),
        (system.parse_distribution, "Debian\n"),
        (system.parse_boot_id, "boot_id yes\n"),
        (system.parse_pci_functions, "0000:00:05.0 0x1d0f 0xec20\n"),
        (system.parse_kernel_has_ptp, "zcat: /proc/config.gz: No such file\n"),
    ],
)
def test_other_words_are_refused(parse: Callable[[str, str], object], text: str) -> None:
    with pytest.raises(ParseError):
        parse(text, "where")


def test_tools_of_linuxptp_that_the_role_did_not_find() -> None:
    text = json.dumps({"schema": 1, "tools": {"ptp4l": None, "ethtool": "/usr/sbin/ethtool", "pmc": None}, "ptp4l": []})
    assert linuxptp_record.parse_missing_tools(text, "l") == ("ptp4l", "pmc")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2, "tools": {}}', '{"schema": 1, "tools": []}'])
def test_another_record_of_linuxptp_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        linuxptp_record.parse_missing_tools(text, "linuxptp")
