"""Records of hosts with nothing in them but what a test names."""

from dataclasses import replace
from typing import Any

from harness.model import HostRecord, HostState, Outcome, Reason, Verdict

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


def make_verdict(**changes: Any) -> Verdict:
    """A bare PASS, changed."""
    return replace(_VERDICT, **changes)


def make_host(**changes: Any) -> HostRecord:
    """A released host with a bare PASS, changed."""
    return replace(_HOST, **changes)
