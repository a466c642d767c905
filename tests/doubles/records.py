"""Records of hosts with nothing in them but what a test names."""

from dataclasses import replace
from typing import Any

from harness.model import Finding, HostRecord, HostState, Outcome, Reason, Verdict

_VERDICT = Verdict(
    outcome=Outcome.PASS,
    reason=Reason.SYNCHRONISED,
    sentence="",
    rungs=(),
    findings=(),
    contradictions=(),
    unobserved=(),
    remarks=(),
    remedy=None,
)
_HOST = HostRecord(
    name="lab.phc",
    instance_type="lab.phc",
    verdict=_VERDICT,
    facts=None,
    stages={},
    state=HostState.RELEASED,
    address=None,
)
_FINDING = Finding(
    quantity="offset_ns",
    statistic="p99_abs",
    observed=80.0,
    comparison="<=",
    limit=1000.0,
    unit="ns",
    source="default",
    samples=120,
    held=True,
)


def make_verdict(**changes: Any) -> Verdict:
    """A bare PASS, changed."""
    return replace(_VERDICT, **changes)


def make_host(**changes: Any) -> HostRecord:
    """A released host with a bare PASS, changed."""
    return replace(_HOST, **changes)


def make_finding(**changes: Any) -> Finding:
    """A held limit of the offset, changed."""
    return replace(_FINDING, **changes)
