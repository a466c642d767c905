"""The table of truths: what the documentation shows is what the lab does, and a report is held against it."""

import json
from pathlib import Path

from ena_device.bends import START_KEYS, Changes, check

from harness.benches.lab.truths import truth_check
from harness.benches.lab.truths.truths import TRUTHS, USUAL
from harness.model import Outcome, Reason

DOCS = Path(__file__).parents[5] / "docs/lab-truths.md"


def test_the_documentation_holds_this_very_table() -> None:
    table, page = truth_check.as_markdown(), DOCS.read_text()
    hint = "`ptp-harness lab truths --markdown` prints the table of docs/lab-truths.md"
    assert [line for line in table.splitlines() if line not in page.splitlines()] == [], hint
    assert table in page, hint


def test_every_type_demands_the_verdict_that_was_agreed() -> None:
    assert {name: (TRUTHS[name].demand.outcome, TRUTHS[name].demand.reason) for name in USUAL} == {
        "lab.phc": (Outcome.PASS, Reason.SYNCHRONISED),
        "lab.driver-off": (Outcome.PASS, Reason.SYNCHRONISED),
        "lab.no-phc": (Outcome.UNSUPPORTED, Reason.NO_PHC),
        "lab.old-driver": (Outcome.FAIL, Reason.DRIVER_NOT_CAPABLE),
        "lab.drifting": (Outcome.FAIL, Reason.OUT_OF_LIMITS),
        "lab.flaky-reads": (Outcome.FAIL, Reason.PHC_UNREADABLE),
        "lab.unreachable": (Outcome.INCONCLUSIVE, Reason.UNREACHABLE),
        "lab.no-capacity": (Outcome.INCONCLUSIVE, Reason.CAPACITY),
    }


def test_every_bend_is_one_that_the_device_accepts() -> None:
    for name, truth in TRUTHS.items():
        for changes in (truth.bends, truth.other_card or {}, *(fault.device for fault in truth.faults)):
            assert check(dict(changes)) != Changes() or not changes, name


def test_bends_from_the_start_are_options_of_the_device() -> None:
    named = {name: {*truth.bends, *(truth.other_card or {})} for name, truth in TRUTHS.items()}
    assert {name: keys - set(START_KEYS) for name, keys in named.items() if keys - set(START_KEYS)} == {}


def test_a_type_whose_clock_is_as_it_is_from_the_start_says_what_read_only_demands() -> None:
    """With --read-only no role configures chronyd, so that not even a good clock passes."""
    plain = [
        truth
        for truth in TRUTHS.values()
        if not (truth.before or truth.faults or truth.campaign or truth.amazon_driver)
    ]
    assert [truth.name for truth in plain if truth.demand_read_only is None] == []
    assert [truth.name for truth in plain if truth.demand_read_only and truth.demand_read_only.outcome == "PASS"] == []


def test_only_devices_without_the_feature_are_claimed_to_have_none() -> None:
    assert [name for name, truth in TRUTHS.items() if not truth.phc_supported] == [
        "lab.no-phc",
        "lab.other-clock",
        "lab.other-clock-named",
    ]


def report(instance_type: str, outcome: str, reason: str) -> str:
    return json.dumps({"hosts": [{"name": "a", "instance_type": instance_type, "outcome": outcome, "reason": reason}]})


def test_a_report_that_tells_the_truth_differs_nowhere() -> None:
    assert truth_check.differences(report("lab.phc", "PASS", "synchronised")) == []


def test_a_report_that_differs_is_told_so_by_host() -> None:
    said = report("lab.drifting", "PASS", "synchronised")
    assert truth_check.differences(said) == ["a: PASS synchronised, but its truth demands FAIL out_of_limits"]


def test_a_report_without_hosts_proves_nothing() -> None:
    assert truth_check.differences('{"hosts": []}') == ["the report has no hosts"]


def test_read_only_demands_its_own_verdict_where_it_differs() -> None:
    said = report("lab.driver-off", "FAIL", "driver_off")
    assert truth_check.differences(said, read_only=True) == []
    assert truth_check.differences(said) == ["a: FAIL driver_off, but its truth demands PASS synchronised"]
