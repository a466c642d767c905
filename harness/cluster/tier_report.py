"""Judge suites of tests by their JUnit, and report a run of them: one JUnit, one table, one document.

A failed test is a result. A suite that left no JUnit, in which no test ran, or that never ended is INCONCLUSIVE. Pods
that were gone before are told as flaky infrastructure.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from harness import units
from harness.cluster.tier_store import SuiteResult
from harness.errors import ExitCode
from harness.model import Outcome
from harness.model.outcomes import exit_code
from harness.report.junit import add_flaky_errors, xml_text
from harness.report.table import align_rows
from harness.untrusted.plain_text import printable

SUMMARY, DOCUMENT, JUNIT = "summary.txt", "summary.json", "junit.xml"
_COUNTS = ("tests", "failures", "errors", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOutcome:
    """The outcome of a suite. `why`: what it means, in words; `retries`: faults of the infrastructure before it.

    `counts`: of its tests, as JUnit has them; `junit`: its test suites; None where it left none.
    """

    name: str
    outcome: Outcome
    why: str
    seconds: float = 0.0
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    junit: Element | None = None
    retries: tuple[str, ...] = ()


def judge_result(name: str, result: SuiteResult, retries: Sequence[str]) -> SuiteOutcome:
    """Judge a suite by the result that its pod left."""
    root = parse_junit(result.junit)
    if root is None:
        why = f"pytest ended with status {result.status}, and what it left is no JUnit"
        return SuiteOutcome(name=name, outcome=Outcome.INCONCLUSIVE, why=why, retries=tuple(retries))
    tests, failures, errors, skipped = counts = _count(root)
    if failures or errors:
        outcome, why = Outcome.FAIL, f"{failures} failed, {errors} errors, of {tests} tests"
    elif tests > skipped:
        outcome, why = Outcome.PASS, f"{tests - skipped} passed" + (f", {skipped} skipped" if skipped else "")
    else:
        why = f"all {tests} tests were skipped" if tests else "no test was selected"
        outcome = Outcome.INCONCLUSIVE
    if result.status not in (0, 1) and outcome is Outcome.PASS:
        outcome, why = Outcome.INCONCLUSIVE, f"pytest ended with status {result.status}: {why}"
    return SuiteOutcome(
        name=name,
        outcome=outcome,
        why=why,
        seconds=result.seconds,
        counts=counts,
        junit=root,
        retries=tuple(retries),
    )


def parse_junit(content: bytes) -> Element | None:
    """Parse what pytest left; None where it is no JUnit."""
    try:
        root = ElementTree.fromstring(content)
        _count(root)
    except (ElementTree.ParseError, ValueError):
        return None
    return root if root.tag == "testsuites" else None


def _count(root: Element) -> tuple[int, int, int, int]:
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, "0")) for suite in root.iter("testsuite")) for name in _COUNTS
    )
    return tests, failures, errors, skipped


def choose_exit_code(outcomes: Sequence[SuiteOutcome], *, cancelled: bool) -> ExitCode:
    """Choose the exit code of a run: 1 if a test failed, 3 if a suite is inconclusive, 130 if it was cancelled."""
    return ExitCode.INTERRUPTED if cancelled else exit_code(each.outcome for each in outcomes)


def render_reports(run: str, outcomes: Sequence[SuiteOutcome], *, cancelled: bool) -> dict[str, str]:
    """Render the reports of a run of tests, by the names of their files."""
    return {
        SUMMARY: summarise(run, outcomes),
        DOCUMENT: json.dumps(make_document(run, outcomes, cancelled=cancelled), indent=2) + "\n",
        JUNIT: merge_junit(run, outcomes),
    }


def summarise(run: str, outcomes: Sequence[SuiteOutcome]) -> str:
    """Write a table of the suites, what went wrong with the infrastructure, and the sum."""
    rows = [("SUITE", "RESULT", "WHY", "TIME")]
    rows += [(each.name, each.outcome.value, each.why, units.duration(each.seconds)) for each in outcomes]
    lines = align_rows(rows)
    lines += [f"infrastructure: suite {each.name}: {retry}" for each in outcomes for retry in each.retries]
    results = Counter(each.outcome for each in outcomes)
    sums = [sum(each.counts[place] for each in outcomes) for place in range(len(_COUNTS))]
    tests = ", ".join(f"{count} {name}" for name, count in zip(_COUNTS, sums, strict=True))
    suites = ", ".join(f"{results[outcome]} {outcome}" for outcome in Outcome if results[outcome])
    return printable("\n".join([*lines, f"run {run}: {len(outcomes)} suites: {suites or 'none'}; {tests}"])) + "\n"


def make_document(run: str, outcomes: Sequence[SuiteOutcome], *, cancelled: bool) -> dict[str, object]:
    """Build the run as JSON-ready data."""
    return {
        "run": run,
        "exit_code": int(choose_exit_code(outcomes, cancelled=cancelled)),
        "cancelled": cancelled,
        "suites": [
            {
                "name": each.name,
                "outcome": each.outcome.value,
                "why": each.why,
                "seconds": each.seconds,
                **dict(zip(_COUNTS, each.counts, strict=True)),
                "retries": list(each.retries),
            }
            for each in outcomes
        ],
    }


def merge_junit(run: str, outcomes: Sequence[SuiteOutcome]) -> str:
    """Write one JUnit of all suites, whose names their test suites get.

    What befell a suite itself is a test case of its own, in the test suite `cluster`: an error where it is
    inconclusive, a `flakyError` of Maven Surefire's for each pod that was gone before another one had the result.
    """
    root = Element("testsuites", {"name": f"ptp-harness tests {run}"})
    for each in outcomes:
        for suite in [] if each.junit is None else each.junit.iter("testsuite"):
            root.append(_rename(suite, each.name))
    told = [each for each in outcomes if each.outcome is Outcome.INCONCLUSIVE or each.retries]
    if told:
        errors = sum(each.outcome is Outcome.INCONCLUSIVE for each in told)
        counts = {"tests": str(len(told)), "failures": "0", "errors": str(errors), "skipped": "0"}
        suite = SubElement(root, "testsuite", {"name": "cluster", **counts})
        for each in told:
            _add_case(suite, each)
    for name in _COUNTS:
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{sum(each.seconds for each in outcomes):.3f}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _rename(suite: Element, name: str) -> Element:
    renamed = Element("testsuite", {**suite.attrib, "name": name})
    renamed.extend(suite)
    return renamed


def _add_case(suite: Element, outcome: SuiteOutcome) -> None:
    case = SubElement(suite, "testcase", {"classname": "cluster", "name": f"suite {outcome.name}", "time": "0"})
    if outcome.outcome is Outcome.INCONCLUSIVE:
        message = xml_text(printable("; ".join([outcome.why, *outcome.retries])))
        SubElement(case, "error", {"message": message, "type": "inconclusive"}).text = message
    else:
        add_flaky_errors(case, outcome.retries)
