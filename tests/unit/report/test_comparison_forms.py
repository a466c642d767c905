"""A comparison in the forms that a pipeline takes: what got worse is a failure of a test, and nothing else is."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import xmlschema

from harness.analysis.comparison import Comparison
from harness.report.comparison_forms import ComparedRuns, ComparisonForm, render_comparison
from tests.doubles.compared_runs import COMPARISON, LOST

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[2] / "data" / "report" / "junit.xsd")


def junit(comparison: Comparison) -> Element:
    compared = ComparedRuns(
        comparison=comparison, run="h8w2", started="2026-11-21T04:00:00+00:00", bases=["k3f9", "m2p7"]
    )
    text = render_comparison(compared, ComparisonForm.JUNIT)
    SCHEMA.validate(text)
    return ElementTree.fromstring(text)


def states(root: Element) -> dict[tuple[str | None, str | None], str]:
    """What JUnit calls the state of each case, by its type and its name."""
    cases = root.iter("testcase")
    return {(case.get("classname"), case.get("name")): case[0].tag if len(case) > 1 else "passed" for case in cases}


def test_what_got_worse_is_a_failure_and_what_nothing_is_known_of_is_skipped() -> None:
    root = junit(COMPARISON)
    suite = root[0]
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert suite.get("name") == "h8w2 against k3f9, m2p7"
    assert counts == {"tests": "11", "failures": "3", "errors": "0", "skipped": "3"}
    assert states(root) == {
        ("c7g.large", "verdict"): "failure",
        ("m5.large", "verdict"): "passed",
        ("m7i.large", "verdict"): "skipped",
        ("c7g.large", "cpu-load"): "failure",
        ("c7g.large", "reboot"): "passed",
        ("c7g.large", "phc-withdrawn"): "skipped",
        ("c7g.large", "cpu-load: largest offset"): "passed",
        ("c7g.large", "offset p99"): "failure",
        ("c7g.large", "offset RMS"): "passed",
        ("c7g.large", "convergence"): "passed",
        ("r8g.large", "comparison"): "skipped",
    }


def test_a_case_says_what_the_text_says() -> None:
    cases = {(case.get("classname"), case.get("name")): case for case in junit(COMPARISON).iter("testcase")}
    verdict = cases["c7g.large", "verdict"]
    message = "was PASS, is FAIL, REGRESSION: offset p99 1.2 us > 1 us"
    assert verdict[0].attrib == {"message": message, "type": "regression"}
    assert verdict.findtext("system-out") == f"{message}\nc7g.large: kernel was 6.12.107, is 7.2.4"
    figure = cases["c7g.large", "offset p99"]
    assert figure[0].get("message") == "offset p99: was 310 ns, is 1.2 us, x3.87, WORSE chance has 0.0002"
    passed = cases["c7g.large", "offset RMS"].findtext("system-out")
    assert passed == "offset RMS: was 310 ns, is 320 ns, x1.03, x2.1 would show"
    assert cases["r8g.large", "comparison"][0].get("message") == "no earlier run has this type"
    assert cases["c7g.large", "cpu-load"][0].get("message") == (
        "cpu-load: chrony's bound was held, is refuted, the clock was back, is not back, REGRESSION"
    )
    assert cases["c7g.large", "reboot"].findtext("system-out") == (
        "reboot: chrony's bound held as before, the clock back as before"
    )
    assert cases["m5.large", "verdict"].findtext("system-out") == "FAIL as before"


def test_a_comparison_of_nothing_is_an_empty_suite() -> None:
    root = junit(Comparison(verdicts=(), disturbances=(), figures=(), circumstances=(), uncompared=()))
    assert (len(root[0]), root[0].get("tests")) == (0, "0")


def test_what_a_host_wrote_cannot_break_the_xml() -> None:
    sentence = "\x1b[2J</testcase>\x00 & \ud800"
    root = junit(replace(COMPARISON, verdicts=(replace(LOST, sentence=sentence),)))
    message = next(root.iter("failure")).get("message")
    assert message is not None
    assert "</testcase>" in message
    assert "\x1b" not in message


@pytest.mark.parametrize("form", ComparisonForm)
def test_every_form_tells_of_every_regression(form: ComparisonForm) -> None:
    compared = ComparedRuns(comparison=COMPARISON, run="h8w2", started="2026-11-21T04:00:00+00:00", bases=["k3f9"])
    text = render_comparison(compared, form)
    assert text.endswith("\n")
    for part in ("h8w2", "c7g.large", "offset p99", "cpu-load", "no earlier run has this type"):
        assert part in text
    if form is ComparisonForm.JSON:
        assert json.loads(text)["regressed"] is True


def test_the_text_says_how_small_a_change_would_have_shown_of_each_kind_of_figure() -> None:
    compared = ComparedRuns(comparison=COMPARISON, run="h8w2", started="", bases=["k3f9"])
    lines = render_comparison(compared, ComparisonForm.TEXT).splitlines()
    assert lines[-5:] == [
        "2 of 3 figures changed; with 3 earlier measurements a change by x2.1 would have shown",
        "2 of 3 answers under disturbances changed",
        "0 of 1 figures under disturbances changed; with 3 earlier measurements a change by x2.1 would have shown",
        "c7g.large: kernel was 6.12.107, is 7.2.4",
        "not compared: r8g.large: no earlier run has this type",
    ]
    rows = [line.split("  ") for line in lines if "cpu-load" in line or "reboot" in line]
    assert [[cell for cell in map(str.strip, row) if cell] for row in rows] == [
        ["c7g.large", "cpu-load", "was held, is refuted", "was back, is not back", "REGRESSION"]
    ]
    in_full = render_comparison(replace(compared, all_figures=True), ComparisonForm.TEXT)
    assert "reboot         held as before" in in_full
