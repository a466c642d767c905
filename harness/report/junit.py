"""Write the report as JUnit XML, which pipelines show as tests: one suite for the run, one case for each host.

A failed clock is a failure, a clock that could not be judged is an error, hardware without a clock is skipped. A
verdict that the campaign expects is none of these, and another one than it expects is a failure.

A host that was begun anew, since the infrastructure failed, has a `flakyError` of Maven Surefire's for each earlier
attempt, where its case passed or was skipped. A verdict is final: no clock is measured again since it failed.
"""

import re
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from harness.model import HostRecord, Outcome, RunRecord
from harness.model.outcomes import outcome_that_counts
from harness.report import text
from harness.untrusted.plain_text import printable

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CHILD = {Outcome.FAIL: "failure", Outcome.INCONCLUSIVE: "error", Outcome.UNSUPPORTED: "skipped"}


def report(record: RunRecord) -> str:
    """Write the run as XML text. Times are in seconds."""
    outcomes = [outcome_that_counts(host) for host in record.hosts]
    counts = {
        "tests": len(outcomes),
        "failures": outcomes.count(Outcome.FAIL),
        "errors": outcomes.count(Outcome.INCONCLUSIVE),
        "skipped": outcomes.count(Outcome.UNSUPPORTED),
    }
    attributes = {**{name: str(count) for name, count in counts.items()}, "time": f"{record.seconds:.3f}"}
    root = Element("testsuites", {"name": "ptp-harness", **attributes})
    suite = SubElement(
        root, "testsuite", {"name": f"{record.bench} {record.run}", "timestamp": record.started, **attributes}
    )
    for host in record.hosts:
        _case(suite, host, record)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Element, host: HostRecord, record: RunRecord) -> None:
    verdict = host.verdict
    seconds = sum(host.stages.values())
    names = {"classname": record.bench, "name": host.name, "time": f"{seconds:.3f}"}
    case = SubElement(suite, "testcase", {name: xml_text(value) for name, value in names.items()})
    properties = SubElement(case, "properties")
    for name, value in _properties(host):
        SubElement(properties, "property", {"name": name, "value": xml_text(printable(value))})
    ladder = xml_text(text.ladder(host, bench=record.bench))
    child = _CHILD.get(outcome_that_counts(host))
    if child is not None:
        expected = None if host.expected is None else f"expected {host.expected}, {verdict.outcome} {verdict.reason}"
        parts = [": ".join(part for part in (expected, verdict.sentence) if part), verdict.remedy]
        sentence = "; next: ".join(part for part in parts if part)
        attributes = {"message": xml_text(printable(sentence)), "type": verdict.reason.value}
        SubElement(case, child, attributes).text = ladder
    if child not in ("failure", "error"):
        add_flaky_errors(case, [describe_given_up(host, number) for number in range(1, host.attempt)])
    SubElement(case, "system-out").text = ladder


def describe_given_up(host: HostRecord, attempt: int) -> str:
    """Say in one sentence what became of an attempt before the last one."""
    why = "the process that worked on the host ended, or gave it back"
    return f"attempt {attempt} of {host.attempt} brought no verdict: {why}"


def add_flaky_errors(case: Element, sentences: Iterable[str]) -> None:
    """Add the faults of the infrastructure after which a case was tried again, and then had a result."""
    for sentence in sentences:
        flaky = SubElement(case, "flakyError", {"message": xml_text(printable(sentence)), "type": "infrastructure"})
        SubElement(flaky, "stackTrace").text = xml_text(printable(sentence))


def _properties(host: HostRecord) -> list[tuple[str, str]]:
    """List properties of the host as name and value; those not observed are left out."""
    facts = host.facts
    driver = next(iter(facts.drivers or ()), None) if facts else None
    clocks = ", ".join(f"{clock.device} {clock.name}" for clock in (facts.clocks if facts else None) or ())
    properties = (
        ("outcome", host.verdict.outcome.value),
        ("reason", host.verdict.reason.value),
        ("expected", host.expected),
        ("instance_type", host.instance_type),
        ("region", host.region),
        ("zone", host.zone),
        ("image", host.image),
        ("os", facts.os if facts else None),
        ("kernel", facts.kernel if facts else None),
        ("driver", driver.name if driver else None),
        ("driver_version", driver.version if driver else None),
        ("clocks", clocks),
        ("chrony_version", facts.chrony_version if facts else None),
        ("attempts", str(host.attempt) if host.attempt > 1 else None),
    )
    return [(name, value) for name, value in properties if value]


def xml_text(text: str) -> str:
    """Replace the characters that XML 1.0 cannot express, such as control characters of a serial console."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
