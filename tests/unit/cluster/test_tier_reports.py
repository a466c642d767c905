"""Suites of tests are judged by their JUnit, and reported as one: failed tests as failures, lost pods as flaky."""

import json
from xml.etree import ElementTree

import pytest

from harness.cluster.tier_report import (
    DOCUMENT,
    JUNIT,
    SUMMARY,
    SuiteOutcome,
    choose_exit_code,
    judge_result,
    render_reports,
)
from harness.cluster.tier_store import SuiteResult
from harness.errors import ExitCode
from harness.model import Outcome

CASES = {
    "passed": '<testcase classname="a" name="passed" time="0.1"/>',
    "failed": '<testcase classname="a" name="failed" time="0.2"><failure message="no">1 == 2</failure></testcase>',
    "skipped": '<testcase classname="a" name="skipped" time="0"><skipped message="needs root"/></testcase>',
    "broken": '<testcase classname="a" name="broken" time="0"><error message="setup">x</error></testcase>',
}


def make_junit(*names: str) -> bytes:
    """What pytest writes for cases of these names."""
    counts = {"failures": names.count("failed"), "errors": names.count("broken"), "skipped": names.count("skipped")}
    attributes = " ".join(f'{name}="{count}"' for name, count in counts.items())
    cases = "".join(CASES[name] for name in names)
    suite = f'<testsuite name="pytest" tests="{len(names)}" {attributes} time="1.5">{cases}</testsuite>'
    return f'<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">{suite}</testsuites>'.encode()


@pytest.mark.parametrize(
    ("names", "status", "outcome", "why"),
    [
        (("passed", "passed"), 0, Outcome.PASS, "2 passed"),
        (("passed", "skipped"), 0, Outcome.PASS, "1 passed, 1 skipped"),
        (("passed", "failed"), 1, Outcome.FAIL, "1 failed, 0 errors, of 2 tests"),
        (("broken",), 1, Outcome.FAIL, "0 failed, 1 errors, of 1 tests"),
        (("skipped",), 0, Outcome.INCONCLUSIVE, "all 1 tests were skipped"),
        ((), 5, Outcome.INCONCLUSIVE, "no test was selected"),
        (("passed",), 2, Outcome.INCONCLUSIVE, "pytest ended with status 2: 1 passed"),
    ],
)
def test_a_suite_is_judged_by_its_tests(names: tuple[str, ...], status: int, outcome: Outcome, why: str) -> None:
    judged = judge_result("unit", SuiteResult(status=status, seconds=1.5, junit=make_junit(*names)), ())
    assert (judged.outcome, judged.why) == (outcome, why)


@pytest.mark.parametrize(
    "content", [b"", b"<html/>", b"<testsuites>", b'<testsuites><testsuite tests="x"/></testsuites>']
)
def test_what_is_no_junit_is_no_pass(content: bytes) -> None:
    judged = judge_result("unit", SuiteResult(status=0, seconds=1, junit=content), ())
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert judged.why == "pytest ended with status 0, and what it left is no JUnit"


OUTCOMES = [
    judge_result("unit", SuiteResult(status=1, seconds=61, junit=make_junit("passed", "failed")), ()),
    judge_result(
        "unit-cli", SuiteResult(status=0, seconds=2, junit=make_junit("passed", "skipped")), ("pod x: Evicted",)
    ),
    SuiteOutcome(name="lab-guests", outcome=Outcome.INCONCLUSIVE, why="its pod ended well, and left no result"),
]


def test_one_junit_has_the_tests_of_all_suites_and_what_befell_them() -> None:
    root = ElementTree.fromstring(render_reports("k3f9mq", OUTCOMES, cancelled=False)[JUNIT])
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "1", "1", "1"]
    suites = {suite.get("name"): [case.get("name") for case in suite] for suite in root}
    assert suites == {
        "unit": ["passed", "failed"],
        "unit-cli": ["passed", "skipped"],
        "cluster": ["suite unit-cli", "suite lab-guests"],
    }
    flaky = root.find("testsuite[@name='cluster']/testcase[@name='suite unit-cli']/flakyError")
    assert flaky is not None
    assert (flaky.get("message"), flaky.get("type")) == ("pod x: Evicted", "infrastructure")
    assert root.find("testsuite[@name='cluster']/testcase[@name='suite lab-guests']/error") is not None
    assert root.findall("testsuite[@name='unit']/testcase/flakyError") == [], "a failed test is never flaky"


def test_the_table_and_the_document_tell_the_same() -> None:
    reports = render_reports("k3f9mq", OUTCOMES, cancelled=False)
    assert reports[SUMMARY].splitlines() == [
        "SUITE       RESULT        WHY                                     TIME",
        "unit        FAIL          1 failed, 0 errors, of 2 tests          1 min 1 s",
        "unit-cli    PASS          1 passed, 1 skipped                     2 s",
        "lab-guests  INCONCLUSIVE  its pod ended well, and left no result  0 s",
        "infrastructure: suite unit-cli: pod x: Evicted",
        "run k3f9mq: 3 suites: 1 PASS, 1 INCONCLUSIVE, 1 FAIL; 4 tests, 1 failures, 0 errors, 1 skipped",
    ]
    document = json.loads(reports[DOCUMENT])
    assert document["exit_code"] == 1
    assert [(suite["name"], suite["outcome"], suite["tests"]) for suite in document["suites"]] == [
        ("unit", "FAIL", 2),
        ("unit-cli", "PASS", 2),
        ("lab-guests", "INCONCLUSIVE", 0),
    ]


def test_the_exit_code_is_that_of_the_worst_suite() -> None:
    assert choose_exit_code(OUTCOMES[1:2], cancelled=False) is ExitCode.PASSED
    assert choose_exit_code(OUTCOMES[1:], cancelled=False) is ExitCode.NOT_CONCLUSIVE
    assert choose_exit_code(OUTCOMES, cancelled=True) is ExitCode.INTERRUPTED
    assert choose_exit_code([], cancelled=False) is ExitCode.NOT_CONCLUSIVE, "silence is no pass"
