"""What a parser refuses, and just does not refuse: the place of a strange line, each field of a report, each bound."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import ParseError
from harness.model import Capture, PhcRead
from harness.probes import chronyc, driver_word, error_bound, facts, linuxptp_record, phc_reads, reading
from harness.probes.chrony_log import Convergence, parse_convergence
from harness.probes.reading import LONGEST_LINE, LONGEST_RECORD, LONGEST_TEXT, MOST_REFUSED, ParseNotes
from tools.fuzz.probes import PARSERS

Said = Callable[[str], str]

REFUSED = [
    ("chronyc", "\nwhat\n", 2, "what"),
    ("chronyd_runs", "chrony.service active\n\nwhat\n", 3, "what"),
    ("convergence", "what\nis this", 1, "what"),
    ("convergence", "x" * 201, 1, "x" * 200),
    ("devlink", "pci/0000:00:05.0:\nwhat\n", 2, "what"),
    ("devlink", "\n    cmode driverinit value true\n", 2, "    cmode driverinit value true"),
    (
        "devlink",
        "pci/0000:00:05.0:\n  name enable_phc type generic\n    cmode driverinit value perhaps\n",
        3,
        "    cmode driverinit value perhaps",
    ),
    ("driver_info", "driver: ena\n\nWhat\n", 3, "What"),
    ("driver_info", "version: 2\n", 2, ""),
    ("driver_word", "what\nis this", 1, "what"),
    ("driver_word", "x" * 201, 1, "x" * 200),
    ("leap", "what", 1, "what"),
    ("missing_tools", "what\nis this", 1, "what"),
    ("missing_tools", "x" * 201, 1, "x" * 200),
    ("modinfo", "filename: x\n\nwhat\n", 3, "what"),
    ("modinfo", "version: 2\nlicense: GPL\n", 3, ""),
    ("module", "2.17.0g\n\nwhat is this\n", 3, "what is this"),
    ("module_options", "/etc/a: options ena x=1\n\nwhat\n", 3, "what"),
    ("ntp_probe", "a error b\n\nwhat\n", 3, "what"),
    ("phc_stats", "NIC statistics:\n\nwhat\n", 3, "what"),
    ("phc_stats", "NIC statistics:\n: 7\n", 2, ": 7"),
    ("phc_stats", "NIC statistics:\nphc_cnt: 1\n", 3, "{'phc_cnt': 1}"),
    ("ptp_clocks", "/sys/class/ptp/ptp0/clock_name ena\n\nwhat\n", 3, "what"),
    ("ptp_clocks", "/sys/class/ptp/ptp0/clock_name ena\n/sys/class/ptp/ptp1/max_adjustment 0\n", 3, ""),
    (
        "ptp_clocks",
        "/sys/class/ptp/ptp0/clock_name ena\n/sys/class/ptp/ptp0/max_adjustment x\n",
        2,
        "/sys/class/ptp/ptp0/max_adjustment x",
    ),
    ("ptp_links", "/dev/ptp_ena -> ptp0\n\nwhat\n", 3, "what"),
    ("restarting", "chrony.service active\n\nwhat\n", 3, "what"),
    ("services", "chrony.service active\n\nwhat\n", 3, "what"),
    ("boot_id", "uptime_s 5.0\n\nwhat\n", 3, "what"),
    ("distribution", "ID=debian\n\nwhat\n", 3, "what"),
    ("kernel", "what", 1, "what"),
    ("kernel_has_ptp", "CONFIG_A=y\n\nwhat\n", 3, "what"),
    ("pci_functions", "0000:00:05.0 0x1d0f 0xec20 driver=ena net=eth1\n\nwhat\n", 3, "what"),
    ("timestamping", "Capabilities:\n\nwhat\n", 3, "what"),
    ("timestamping", "Capabilities:\n", 2, ""),
    ("version", "what", 1, "what"),
]
FREE_TEXT = {"interference", "kernel_log"}


def test_every_parser_that_refuses_is_among_them() -> None:
    assert {name for name, *_ in REFUSED} == PARSERS.keys() - FREE_TEXT


@pytest.mark.parametrize(("name", "text", "number", "line"), REFUSED)
def test_a_strange_line_is_refused_with_its_place(name: str, text: str, number: int, line: str) -> None:
    with pytest.raises(ParseError) as refused:
        PARSERS[name](text, "place")
    assert (refused.value.where, refused.value.line_number, refused.value.line) == ("place", number, line)


# --- a whole collection -----------------------------------------------------------------------------------------------

PARTS = (
    *("uname", "os-release", "boot", "kernel-config", "pci", "modinfo", "module", "devlink", "ptp-class", "ptp-links"),
    *("ethtool-i/eth1", "ethtool-T/eth1", "ethtool-S/eth1", "phc-stats/0000:00:04.0", "error-bound/0000:00:04.0"),
    *("driver-word", "chrony-version", "chronyc", "chrony-phc", "services", "ntp-probe", "phc-reads"),
    *("module-options", "linuxptp", "adjtimex"),
)
PCI = Capture(command="", rc=0, out="0000:00:04.0 0x1d0f 0xec20 driver=ena net=eth1\n")


@pytest.mark.parametrize("part", PARTS)
def test_what_was_not_understood_is_named_after_its_part(part: str) -> None:
    captures = {"pci": PCI, part: Capture(command="", rc=0, out="(what)")}
    _, unparsed = facts.from_captures(captures, where="facts.json")
    assert {(line.where, line.line_number, line.line) for line in unparsed} == {(f"facts.json:{part}", 1, "(what)")}


@pytest.mark.parametrize("name", ["convergence", "driver_word", "missing_tools"])
def test_the_refusal_of_a_role_s_record_names_the_kind_of_mistake(name: str) -> None:
    for text, kind in (("[]", "ValueError"), ("{}", "KeyError")):
        with pytest.raises(ParseError) as refused:
            PARSERS[name](text, "place")
        assert refused.value.expected.endswith(f"({kind})")


DECISIONS = ("devlink", "module_parameter", "already_on", "clock_present", "not_capable", "no_device")


@pytest.mark.parametrize("decision", DECISIONS)
def test_each_decision_of_the_role_ena_driver_is_read(decision: str) -> None:
    record = {"schema": 1, "decision": decision, "attempts": [], "kernel_log": []}
    assert driver_word.parse(json.dumps(record), "w").decision == decision


RECORDS: dict[str, dict[str, Any]] = {
    "chrony-phc": {"schema": 1, "waited": True, "converged": True, "converged_after_s": 3.2},
    "driver-word": {"schema": 1, "decision": "devlink", "attempts": [], "kernel_log": []},
    "linuxptp": {"schema": 1, "tools": {}},
    "phc-reads": {"reads": [], "errors": {}},
}


@pytest.mark.parametrize("part", RECORDS)
@pytest.mark.parametrize(("length", "refused"), [(LONGEST_RECORD, 0), (LONGEST_RECORD + 1, 1)])
def test_a_role_s_record_may_be_longer_than_a_line_of_a_tool(part: str, length: int, refused: int) -> None:
    text = json.dumps(RECORDS[part])
    capture = Capture(command="", rc=0, out=text[:-1] + " " * (length - len(text)) + "}")
    assert len(facts.from_captures({part: capture}, where="f")[1]) == refused


def echo(text: str, _where: str) -> str:
    return text


def test_the_longest_line_and_text_are_read_and_the_next_longer_ones_are_not() -> None:
    notes = ParseNotes("f")
    short, line = "x" * 100 + "\n", "x" * LONGEST_LINE
    text = (short * (LONGEST_TEXT // len(short) + 1))[:LONGEST_TEXT]
    for readable in (line, f"{short}{line}", text):
        assert notes.read(echo, readable, "p") == readable
    assert notes.unparsed == ()
    for unreadable in (f"{short}{line}x", f"{text}x"):
        assert notes.read(echo, unreadable, "p") is None
    long_line, long_text = notes.unparsed
    assert (long_line.where, long_line.line_number, long_line.expected) == (
        "f:p",
        2,
        "a line of at most 4096 characters",
    )
    assert (long_text.line_number, long_text.expected) == (1, "a text of at most 1048576 characters")
    assert long_line.line.startswith("xxx")
    assert long_text.line.startswith("xxx")


def test_a_capture_is_measured_in_both_of_its_texts() -> None:
    notes = ParseNotes("f")
    whole = Capture(command="", rc=0, out="x" * LONGEST_LINE, err="x" * LONGEST_LINE)
    parse: Callable[[Capture, str], int | None] = lambda capture, _where: capture.rc  # noqa: E731
    assert notes.read(parse, whole, "p") == 0
    for longer in (replace(whole, out=whole.out + "x"), replace(whole, err=whole.err + "x")):
        assert notes.read(parse, longer, "p") is None
    assert len(notes.unparsed) == 2


def test_of_many_refusals_the_first_are_kept_and_the_rest_is_counted() -> None:
    notes = ParseNotes("f")
    for number in range(MOST_REFUSED):
        notes.refuse(ParseError("f", number, "x", "y"))
    assert [line.more for line in notes.unparsed] == [0] * MOST_REFUSED
    notes.refuse(ParseError("f", 7, "x", "y"))
    notes.refuse(ParseError("f", 7, "x", "y"))
    notes.refuse_line(8, "x", "y")
    assert [line.more for line in notes.unparsed] == [*[0] * (MOST_REFUSED - 1), 3]
    assert notes.unparsed[-1].line_number == MOST_REFUSED - 1


def test_texts_in_json_become_well_formed_at_every_depth() -> None:
    text = '{"a\\ud800": ["b\\ud800", {"c": "d\\ud800", "e": 1}], "f": null}'
    assert "\\ud800" not in json.dumps(reading.json_object(text))
    assert reading.json_object(text)["f"] is None
    assert reading.json_object('{"a": "\\u00b5s"}') == {"a": "µs"}


CAPTURE = {"command": "date", "rc": 2, "out": "o", "err": "e"}


@pytest.mark.parametrize(
    ("value", "capture"),
    [
        (CAPTURE, Capture(command="date", rc=2, out="o", err="e")),
        ({}, Capture(command="", rc=None, out="", err="")),
        ({**CAPTURE, "rc": True}, None),
        ({**CAPTURE, "rc": "2"}, None),
        ({**CAPTURE, "out": 7}, None),
        ({**CAPTURE, "err": 7}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_capture_has_a_number_and_two_texts_or_is_refused(value: object, capture: Capture | None) -> None:
    if capture is not None:
        assert reading.parse_capture(value) == capture
        return
    with pytest.raises(ValueError, match=r"capture|rc|out"):
        reading.parse_capture(value)


# --- each field of a report -------------------------------------------------------------------------------------------

TRACKING = "50484330,PHC0,1,1.0,0.1,0.1,0.1,0.0,0.0,0.0,0.1,0.1,1.0,Normal"
SOURCE = "#,*,PHC0,0,0,377,1,0.000000000,0.000000000,0.000005020"
STATISTICS = "PHC0,8,3,7,0.000,0.000,-0.000000000,0.000000001"
NTPDATA_NUMBERS = (2, 8, 13, 14, 18, 19, 31, 33)


@pytest.mark.parametrize("value", ["", "what"])
@pytest.mark.parametrize(
    ("line", "column"),
    [
        *((TRACKING, column) for column in (0, *range(2, 14))),
        *((SOURCE, column) for column in (0, 1, *range(3, 10))),
        *((STATISTICS, column) for column in range(1, 8)),
    ],
)
def test_a_report_of_chronyc_with_a_strange_field_is_refused(line: str, column: int, value: str) -> None:
    fields = line.split(",")
    fields[column] = value
    assert chronyc.parse(line, "w") != chronyc.Chronyc()
    with pytest.raises(ParseError):
        chronyc.parse(",".join(fields), "w")


@pytest.mark.parametrize("line", [SOURCE.replace("PHC0", ""), STATISTICS.replace("PHC0", "")])
def test_a_source_has_a_name(line: str) -> None:
    with pytest.raises(ParseError):
        chronyc.parse(line, "w")


@pytest.mark.parametrize("mode", ["^", "=", "#"])
@pytest.mark.parametrize("state", ["*", "+", "-", "x", "~", "?"])
def test_a_source_has_any_of_chronyc_s_modes_and_states(mode: str, state: str) -> None:
    (source,) = chronyc.parse(SOURCE.replace("#,*", f"{mode},{state}"), "w").sources
    assert (source.mode, source.state) == (mode, state)


@pytest.mark.parametrize("leap", ["Normal", "Insert second", "Delete second", "Not synchronised"])
def test_tracking_has_any_of_chronyc_s_leap_statuses(leap: str) -> None:
    tracking = chronyc.parse(TRACKING.replace("Normal", leap), "w").tracking
    assert tracking is not None
    assert tracking.leap == leap


@pytest.mark.parametrize("column", NTPDATA_NUMBERS)
def test_ntpdata_with_a_strange_number_is_refused(said: Said, column: int) -> None:
    fields = said("chronyc/reference-ahead/ntpdata.csv").splitlines()[0].split(",")
    fields[column] = "x"
    with pytest.raises(ParseError):
        chronyc.parse(",".join(fields), "w")


def test_ntpdata_has_an_address_and_34_to_40_fields(said: Said) -> None:
    fields = said("chronyc/reference-ahead/ntpdata.csv").splitlines()[0].split(",")
    assert len(fields) == 34
    for more in range(7):
        assert len(chronyc.parse(",".join([*fields, *["0"] * more]), "w").ntpdata) == 1
    for refused in (fields[:-1], [*fields, *["0"] * 7], ["", *fields[1:]]):
        with pytest.raises(ParseError):
            chronyc.parse(",".join(refused), "w")


# --- bounds of numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "accepted"),
    [
        ([0, 0, 0], True),
        ([5, 0, 5], True),
        ([5, 0, 4], False),
        ([-(2**63) + 1, 2**63 - 1, 2**63 - 1], True),
        ([-(2**63), 0, 0], False),
        ([0, 2**63, 0], False),
        ([0, True, 1], False),
        ([0, 1.0, 1], False),
        ([0, 1], False),
        ([0, 1, 2, 3], False),
        ("012", False),
    ],
)
def test_a_reading_has_three_times_of_which_the_last_is_not_before_the_first(read: Any, accepted: bool) -> None:
    if accepted:
        before_ns, phc_ns, after_ns = read
        burst = phc_reads.parse_burst({"reads": [read]})
        assert burst == phc_reads.PhcBurst(
            reads=(PhcRead(before_ns=before_ns, phc_ns=phc_ns, after_ns=after_ns),), errors=0
        )
        return
    with pytest.raises(ValueError, match=r"reading|time"):
        phc_reads.parse_burst({"reads": [read]})


@pytest.mark.parametrize(
    ("value", "errors"),
    [
        ({"reads": [], "errors": {"EBUSY": 2, "ETIME": 3}}, 5),
        ({"reads": [], "errors": {"EBUSY": 0}}, 0),
        ({"reads": [], "errors": {"EBUSY": 2**31 - 1}}, 2**31 - 1),
        ({"reads": [], "errors": {"EBUSY": 2**31}}, None),
        ({"reads": [], "errors": {"EBUSY": -1}}, None),
        ({"reads": [], "errors": {"EBUSY": True}}, None),
        ({"reads": [], "errors": {"EBUSY": "2"}}, None),
        ({"reads": [], "errors": []}, None),
        ({"reads": {}, "errors": {}}, None),
        ({"rc": 19, "err": "No such device"}, 1),
        ({"rc": 1}, 1),
        ({"rc": 0}, None),
        ({"rc": None}, None),
        ({}, None),
        ([], None),
    ],
)
def test_refused_readings_are_counted_by_whole_numbers(value: object, errors: int | None) -> None:
    if errors is not None:
        assert phc_reads.parse_burst(value) == phc_reads.PhcBurst(reads=(), errors=errors)
        return
    with pytest.raises(ValueError, match=r"burst|reads|readings|count"):
        phc_reads.parse_burst(value)


WAITED = {"schema": 1, "waited": True, "converged": True, "converged_after_s": 3.2}


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"converged_after_s": 0}, True),
        ({"converged_after_s": 999_999_999}, True),
        ({"converged_after_s": 1_000_000_000}, False),
        ({"converged_after_s": "3"}, False),
        ({"converged_after_s": None}, False),
        ({"boot_id": None}, True),
        ({"boot_id": 7}, False),
        ({"starts": 1}, True),
        ({"starts": True}, False),
        ({"converged": None}, False),
        ({"converged": False, "why": 7}, False),
        ({"converged": False, "why": None}, True),
        ({"waited": 1}, False),
    ],
)
def test_a_record_of_convergence_has_values_of_its_types(changes: dict[str, object], accepted: bool) -> None:
    text = json.dumps({**WAITED, **changes})
    if accepted:
        assert parse_convergence(text, "c") is not None
        return
    with pytest.raises(ParseError):
        parse_convergence(text, "c")


def test_a_chronyd_that_could_not_try_gives_its_reason_and_its_starts() -> None:
    text = json.dumps({**WAITED, "converged": False, "why": "no such unit", "starts": 3, "boot_id": "b"})
    assert parse_convergence(text, "c") == Convergence(
        boot_id="b", converged=False, after_s=None, starts=3, why="no such unit"
    )


@pytest.mark.parametrize(("count", "accepted"), [(20, True), (21, False)])
def test_a_role_names_at_most_twenty_tools(count: int, accepted: bool) -> None:
    text = json.dumps({"schema": 1, "tools": dict.fromkeys(map(str, range(count)))})
    if accepted:
        assert len(linuxptp_record.parse_missing_tools(text, "l")) == count
        return
    with pytest.raises(ParseError):
        linuxptp_record.parse_missing_tools(text, "l")


@pytest.mark.parametrize(
    ("capture", "published", "value_ns"),
    [
        (Capture(command="", rc=0, out="0"), True, 0),
        (Capture(command="", rc=1, out="", err="cat: x: Device or resource busy"), True, None),
        (Capture(command="", rc=1, out="cat: x: Device or resource busy"), True, None),
        (Capture(command="", rc=1, out="", err="cat: x: No such file or directory"), False, None),
        (Capture(command="", rc=errno.EBUSY, out=""), True, None),
    ],
)
def test_the_message_of_cat_tells_a_refusal_from_a_missing_file(
    capture: Capture, published: bool, value_ns: int | None
) -> None:
    assert error_bound.parse(capture, "e") == error_bound.ErrorBound(published=published, value_ns=value_ns)
