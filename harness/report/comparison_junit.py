"""Write a comparison of runs as JUnit XML: one suite, a case for each verdict, disturbance and figure of a type.

What got worse is a failure, with the line that the text of the comparison has. What could not be compared, and a
verdict that nothing is known of, is skipped. What else is different, such as the kernel, is in the output of the case
of the verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from harness.analysis.comparison import Comparison, VerdictChange
from harness.analysis.disturbance_changes import BoundAnswer, DisturbanceChange
from harness.analysis.figure_changes import FigureChange
from harness.model import Outcome
from harness.report import comparison_text
from harness.report.junit import xml_text
from harness.untrusted.plain_text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A case of the suite: its names, what JUnit calls its state (None: passed), and a line for people.

    `notes`: what else is to be known, a line each.
    """

    instance_type: str
    name: str
    state: str | None
    kind: str
    line: str
    notes: Sequence[str] = ()


def report(comparison: Comparison, *, run: str, bases: Sequence[str], started: str) -> str:
    """Write the comparison as XML text. `started`: when the run began (UTC, ISO 8601)."""
    cases = list(_list_cases(comparison))
    states = [case.state for case in cases]
    attributes = {
        "tests": str(len(cases)),
        "failures": str(states.count("failure")),
        "errors": "0",
        "skipped": str(states.count("skipped")),
        "time": "0",
    }
    root = Element("testsuites", {"name": "ptp-harness", **attributes})
    name = f"{run} against {', '.join(bases)}"
    suite = SubElement(root, "testsuite", {"name": name, "timestamp": started, **attributes})
    for case in cases:
        names = {"classname": case.instance_type, "name": case.name, "time": "0"}
        element = SubElement(suite, "testcase", {key: xml_text(printable(value)) for key, value in names.items()})
        line = xml_text(printable(case.line))
        if case.state is not None:
            SubElement(element, case.state, {"message": line, "type": case.kind}).text = line
        SubElement(element, "system-out").text = xml_text(printable("\n".join((case.line, *case.notes))))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _list_cases(comparison: Comparison) -> Iterator[_Case]:
    for change in comparison.verdicts:
        different = [each for each in comparison.circumstances if each.instance_type == change.instance_type]
        yield _verdict_case(change, list(map(comparison_text.describe_circumstance, different)))
    yield from map(_disturbance_case, comparison.disturbances)
    yield from map(_figure_case, comparison.figures)
    for text in comparison.uncompared:
        name, _, why = text.partition(": ")
        yield _Case(instance_type=name, name="comparison", state="skipped", kind="not_compared", line=why)


def _verdict_case(change: VerdictChange, notes: Sequence[str]) -> _Case:
    unknown = change.now is Outcome.INCONCLUSIVE
    return _Case(
        instance_type=change.instance_type,
        name="verdict",
        state="failure" if change.regressed else "skipped" if unknown else None,
        kind="regression" if change.regressed else "inconclusive",
        line=comparison_text.describe_verdict(change),
        notes=notes,
    )


def _disturbance_case(change: DisturbanceChange) -> _Case:
    unknown = change.now is BoundAnswer.NOT_COMPARED
    return _Case(
        instance_type=change.instance_type,
        name=change.disturbance.value,
        state="failure" if change.regressed else "skipped" if unknown else None,
        kind="regression" if change.regressed else "not_compared",
        line=comparison_text.describe_disturbance(change),
    )


def _figure_case(change: FigureChange) -> _Case:
    return _Case(
        instance_type=change.instance_type,
        name=change.figure,
        state="failure" if change.worse else None,
        kind="regression",
        line=comparison_text.describe_figure(change),
    )
