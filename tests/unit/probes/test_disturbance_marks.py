"""Marks of disturbances to windows of slots: boots, ends that are missing, and lines that no program of ours wrote."""

import json

import pytest

from harness.model.disturbances import Disturbance, DisturbanceWindow
from harness.probes.disturbance_marks import MOST_MARKS, read_marks
from harness.probes.samples import Boot

SECOND_NS = 10**9
FIRST = Boot(boot_id="first", slot=0, mono_ns=100 * SECOND_NS, raw_ns=0, interval_ns=SECOND_NS)
SECOND = Boot(boot_id="second", slot=90, mono_ns=7 * SECOND_NS, raw_ns=0, interval_ns=SECOND_NS)


def mark(kind: str, name: str, mono_s: float, *, boot: str = "first", **more: object) -> str:
    return json.dumps({"kind": kind, "name": name, "boot_id": boot, "mono_ns": round(mono_s * SECOND_NS), **more})


def windows(*lines: str) -> tuple[DisturbanceWindow, ...]:
    found, unparsed = read_marks("\n".join([*lines, ""]), where="marks.jsonl", boots=[FIRST, SECOND])
    assert unparsed == ()
    return found


def test_a_disturbance_lasts_from_the_slot_of_its_beginning_to_that_of_its_end() -> None:
    found = windows(
        mark("begun", "cpu-load", 110.9), mark("ended", "cpu-load", 170.2, programs=2),
        mark("begun", "network-load", 180), mark("ended", "network-load", 240, interface="eth0", bytes=2_400_000_000),
    )  # fmt: skip
    assert found == (
        DisturbanceWindow(disturbance=Disturbance.CPU_LOAD, begun=10, ended=70, detail="2 busy programs"),
        DisturbanceWindow(disturbance=Disturbance.NETWORK_LOAD, begun=80, ended=140, detail="2400 MB sent by eth0"),
    )


def test_a_reboot_ends_with_the_first_slot_of_the_next_boot() -> None:
    """The mark of its end is written when SSH answers again, which is later than the clock."""
    (found,) = windows(mark("begun", "reboot", 150), mark("ended", "reboot", 40, boot="second"))
    assert (found.begun, found.ended, found.failure) == (50, 90, None)


def test_a_disturbance_without_an_end_and_one_that_could_not_be_caused_have_a_failure() -> None:
    unended, failed = windows(
        mark("begun", "cpu-load", 110),
        mark("begun", "network-load", 120),
        mark("ended", "network-load", 120, error="this host has no default gateway over IPv4"),
    )
    assert unended.failure == "its end was not marked"
    assert failed.failure == "this host has no default gateway over IPv4"


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        mark("begun", "no-such", 110),
        mark("began", "cpu-load", 110),
        mark("ended", "cpu-load", 110),
        mark("begun", "cpu-load", 110, boot="another"),
        mark("begun", "cpu-load", 99),
        json.dumps({"kind": "begun", "name": "cpu-load", "boot_id": "first", "mono_ns": True}),
        json.dumps({"kind": "begun", "name": "cpu-load", "boot_id": "first", "mono_ns": 1e11}),
        mark("begun", "cpu-load", 110, more="x" * 5000),
        "[" * 4000,
    ],
)
def test_a_line_that_is_no_mark_is_listed_and_does_no_harm(line: str) -> None:
    good = [mark("begun", "chronyd-restarted", 150), mark("ended", "chronyd-restarted", 151)]
    found, unparsed = read_marks("\n".join([line, *good]), where="marks.jsonl", boots=[FIRST])
    assert [window.disturbance for window in found] == [Disturbance.CHRONYD_RESTARTED]
    assert [(item.line_number, item.expected) for item in unparsed] == [(1, "a mark of disturb.py")]


def test_an_end_before_its_beginning_is_no_end() -> None:
    lines = [mark("begun", "cpu-load", 150), mark("ended", "cpu-load", 140)]
    (found,), unparsed = read_marks("\n".join(lines), where="marks.jsonl", boots=[FIRST])
    assert (found.failure, len(unparsed)) == ("its end was not marked", 1)


def test_marks_without_an_end_are_cut_off() -> None:
    lines = [mark("begun", "cpu-load", 150)] * (2 * MOST_MARKS)
    found, unparsed = read_marks("\n".join(lines), where="marks.jsonl", boots=[FIRST])
    assert len(found) == MOST_MARKS
    assert [item.line_number for item in unparsed] == [MOST_MARKS + 1]
