"""A whole collection to facts: the three drivers, and what an unreadable part does to the rest."""

import errno
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest

from harness.model import Capture, Clock, Driver, DriverWord, Facts, PhcRead, Unparsed
from harness.probes import chronyc, facts

Said = Callable[[str], str]
Collect = Callable[[str], dict[str, Capture]]

BOOT = "3f0e8d5e-1111-2222-3333-444444444444"
READS = {"reads": [[100, 205, 110], [300, 405, 310]], "errors": {"EBUSY": 1}}
RECORD = {
    "schema": 1,
    "boot_id": BOOT,
    "decision": "devlink",
    "attempts": [{"command": "devlink", "rc": 1, "out": "", "err": "Error: ena: Device doesn't support PHC."}],
    "kernel_log": [],
    "remedy": "choose another instance type",
}
CONVERGED = {"schema": 1, "boot_id": BOOT, "waited": True, "converged": True, "converged_after_s": 3.2}
NOTHING = Facts(
    kernel=None,
    os=None,
    kernel_has_ptp=None,
    drivers=None,
    clocks=None,
    phc_link=None,
    driver_word=None,
    driver_word_text=None,
    remedy=None,
    error_bound_published=None,
    counters_published=None,
    reads=None,
    read_errors=None,
    chrony_version=None,
    tracking=None,
    sources=None,
    chronyd_runs=None,
    competitors=None,
    interference=None,
    converged=None,
    converged_after_s=None,
    chronyd_starts=None,
    why_not_converged=None,
    ntp_stratum=None,
    ntp_offset_ns=None,
    hardware_timestamping=None,
    boot_id=None,
)


@pytest.fixture(scope="module")
def collect(said: Said) -> Collect:
    """What collect.py would write on a host in one of the captured states of a driver."""

    def ok(out: str) -> Capture:
        return Capture(command="", rc=0, out=out)

    def collected(state: str) -> dict[str, Capture]:
        pci = "0000:00:05.0" if state.startswith("in-tree") else "0000:00:04.0"
        disk = {"in-tree-6.12": "in-tree-6.12"}.get(state, "in-tree-7.2" if "7.2" in state else "2.17.0g-phc")
        bound = said(f"ena/{state}/error-bound.txt").strip()
        return {
            "uname": ok(said(f"ena/{state}/uname.txt")),
            "os-release": ok('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'),
            "boot": ok(f"boot_id {BOOT}\nuptime_s 50.1\n"),
            "kernel-config": ok("CONFIG_PTP_1588_CLOCK=m\n"),
            "pci": ok(f"{pci} 0x1d0f 0xec20 driver=ena net=eth1\n"),
            "modinfo": ok(said(f"ena/modinfo/{disk}.txt")),
            "module": ok(said(f"ena/{state}/module.txt")),
            "devlink": ok(said(f"ena/{state}/devlink.txt")),
            "ethtool-i/eth1": ok(said(f"ena/{state}/ethtool-i.txt")),
            "ethtool-T/eth1": ok(said(f"ena/{state}/ethtool-T.txt")),
            "ethtool-S/eth1": ok(said(f"ena/{state}/ethtool-S.txt")),
            f"phc-stats/{pci}": Capture(command="", rc=errno.ENOENT, out=""),
            f"error-bound/{pci}": Capture(command="", rc=0 if bound.isdigit() else errno.ENOENT, out=bound),
            "ptp-class": ok(said(f"ena/{state}/ptp-class.txt")),
            "ptp-links": ok(""),
            "kernel-log": ok(said(f"ena/{state}/dmesg-ena.txt")),
            "driver-word": Capture(command="", rc=errno.ENOENT, out=""),
            "chrony-version": ok("chronyd (chrony) version 4.6.1 (+CMDMON)\n"),
            "chronyc": ok(said("chronyc/reference-ahead/all.csv")),
            "chrony-log": ok(""),
            "chrony-phc": ok(json.dumps(CONVERGED)),
            "services": ok("chrony.service active\nsystemd-timesyncd.service inactive\n"),
            "ntp-probe": ok("169.254.169.123 error timed out\n"),
            "phc-reads": ok(json.dumps(READS)),
        }

    return collected


def test_a_driver_of_ours_with_a_clock(said: Said, collect: Collect) -> None:
    chrony = chronyc.parse(said("chronyc/reference-ahead/all.csv"), "")
    found, unparsed = facts.from_captures(collect("spin"), where="facts.json")
    assert unparsed == ()
    assert found == Facts(
        kernel="6.12.107+deb13-amd64",
        os="Debian GNU/Linux 13 (trixie)",
        kernel_has_ptp=True,
        drivers=(
            Driver(
                pci="0000:00:04.0",
                interface="eth1",
                name="ena",
                version="2.17.0g",
                phc_parameter=True,
                phc_parameter_on=True,
                devlink_parameter=False,
                devlink_on=None,
            ),
        ),
        clocks=(Clock(device="ptp0", name="ena-ptp-04", pci="0000:00:04.0", max_adjustment_ppb=None),),
        phc_link=None,
        driver_word=None,
        driver_word_text=None,
        remedy=None,
        error_bound_published=True,
        counters_published=True,
        reads=(PhcRead(before_ns=100, phc_ns=205, after_ns=110), PhcRead(before_ns=300, phc_ns=405, after_ns=310)),
        read_errors=1,
        chrony_version="4.6.1",
        tracking=chrony.tracking,
        sources=chrony.sources,
        chronyd_runs=True,
        competitors=(),
        interference=False,
        converged=True,
        converged_after_s=3.2,
        chronyd_starts=1,
        why_not_converged=None,
        ntp_stratum=None,
        ntp_offset_ns=None,
        hardware_timestamping=False,
        boot_id=BOOT,
    )


@pytest.mark.parametrize(
    ("state", "driver", "word", "published"),
    [
        ("in-tree-6.12", (False, None, False, None), None, False),
        ("in-tree-7.2-phc-off", (False, None, True, False), DriverWord.NOT_ENABLED, False),
        ("in-tree-7.2-phc-on", (False, None, True, True), DriverWord.ACTIVE, False),
        ("phc-off", (True, False, False, None), DriverWord.NOT_ENABLED, False),
        ("no-phc-feature", (True, True, False, None), DriverWord.NOT_SUPPORTED_BY_DEVICE, False),
        ("phc-on-debug", (True, True, False, None), DriverWord.ACTIVE, True),
    ],
)
def test_what_each_driver_shows(
    collect: Collect,
    state: str,
    driver: tuple[bool | None, ...],
    word: DriverWord | None,
    published: bool,
) -> None:
    found, unparsed = facts.from_captures(collect(state), where="facts.json")
    assert unparsed == ()
    assert found.drivers is not None
    (one,) = found.drivers
    seen = (one.phc_parameter, one.phc_parameter_on, one.devlink_parameter, one.devlink_on)
    assert (seen, found.driver_word, found.error_bound_published) == (driver, word, published)


def test_in_tree_counters_are_in_debugfs(said: Said, collect: Collect) -> None:
    captures = collect("in-tree-7.2-phc-on")
    assert facts.from_captures(captures, where="f")[0].counters_published is False
    counted = "phc_cnt: 2\nphc_exp: 0\nphc_skp: 0\nphc_err_dv: 0\nphc_err_ts: 0\n"
    captures["phc-stats/0000:00:05.0"] = Capture(command="", rc=0, out=counted)
    assert facts.from_captures(captures, where="f")[0].counters_published is True
    captures["phc-stats/0000:00:05.0"] = Capture(command="", rc=errno.EACCES, out="")
    assert facts.from_captures(captures, where="f")[0].counters_published is None


def test_devlink_s_refusal_in_this_boot_goes_before_the_kernel_log(collect: Collect) -> None:
    captures = collect("in-tree-7.2-phc-off")
    captures["driver-word"] = Capture(command="", rc=0, out=json.dumps(RECORD))
    found, _ = facts.from_captures(captures, where="f")
    assert (found.driver_word, found.driver_word_text, found.remedy) == (
        DriverWord.NOT_SUPPORTED_BY_DEVICE,
        "Error: ena: Device doesn't support PHC.",
        "choose another instance type",
    )
    captures["driver-word"] = Capture(command="", rc=0, out=json.dumps({**RECORD, "boot_id": "another"}))
    assert facts.from_captures(captures, where="f")[0].driver_word is DriverWord.NOT_ENABLED


def test_convergence_of_another_boot_is_not_of_this_one(collect: Collect) -> None:
    captures = collect("spin")
    captures["chrony-phc"] = Capture(command="", rc=0, out=json.dumps({**CONVERGED, "boot_id": "another"}))
    found, _ = facts.from_captures(captures, where="f")
    assert (found.converged, found.converged_after_s) == (None, None)


def test_a_kernel_without_the_class_has_no_clocks(collect: Collect) -> None:
    captures = {**collect("in-tree-6.12"), "ptp-class": Capture(command="", rc=errno.ENOENT, out="")}
    assert facts.from_captures(captures, where="f")[0].clocks == ()


def test_one_strange_line_hides_its_own_fact_alone(collect: Collect) -> None:
    captures = collect("spin")
    whole, _ = facts.from_captures(captures, where="facts.json")
    captures["devlink"] = Capture(command="", rc=0, out="devlink answers: No such device\n")
    captures["chronyc"] = Capture(command="", rc=0, out="#,*,PHC0\n")
    found, unparsed = facts.from_captures(captures, where="facts.json")
    assert whole.drivers is not None
    hidden = tuple(replace(one, devlink_parameter=None) for one in whole.drivers)
    assert found == replace(whole, drivers=hidden, tracking=None, sources=None)
    assert unparsed == (
        Unparsed(
            where="facts.json:chronyc",
            line_number=1,
            line="#,*,PHC0",
            expected="a line of chronyc -c tracking, sources, sourcestats or ntpdata",
        ),
        Unparsed(
            where="facts.json:devlink",
            line_number=1,
            line="devlink answers: No such device",
            expected="a line of devlink dev, dev param show or dev info",
        ),
    )


def test_a_tool_that_was_not_there_shows_nothing(collect: Collect) -> None:
    missing = {name: Capture(command="", rc=None, out="") for name in collect("spin")}
    assert facts.from_captures(missing, where="f") == (NOTHING, ())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "captures": {}}', '{"schema": 1, "captures": []}x'])
def test_a_broken_file_shows_nothing_and_says_so(text: str) -> None:
    found, unparsed = facts.read_facts(text, where="facts.json")
    assert found == NOTHING
    assert [(one.where, one.line_number) for one in unparsed] == [("facts.json:captures", 1)]


def test_the_collector_s_json_reads_like_its_captures(collect: Collect) -> None:
    captures = collect("spin")
    text = json.dumps({"schema": 1, "captures": {name: asdict(one) for name, one in captures.items()}})
    assert facts.read_facts(text, where="f") == facts.from_captures(captures, where="f")
