"""What does every rung look at? One host's evidence, what is required of it, and three ways to write down a rung."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.campaign.limits import Requirement
from harness.model import Clock, Depth, Evidence, Facts, Finding, Reason, Rung, RungName, RungStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One host before the bench: `findings` are the evidence held against `requirements`."""

    evidence: Evidence
    requirements: tuple[Requirement, ...]
    findings: tuple[Finding, ...]
    depth: Depth
    clock_names: tuple[str, ...]
    read_only: bool

    @property
    def facts(self) -> Facts | None:
        return self.evidence.facts

    @property
    def heard(self) -> bool:
        """Whether the host itself has said anything: then it was offered, it runs, and it was reached."""
        seen = (self.evidence.facts, self.evidence.samples, self.evidence.final_facts)
        return any(one is not None for one in seen)

    @property
    def clock(self) -> Clock | None:
        """The first clock with a name that counts."""
        clocks = (self.facts.clocks if self.facts else None) or ()
        return next((one for one in clocks if any(fnmatchcase(one.name, name) for name in self.clock_names)), None)

    def finding(self, quantity: str) -> Finding | None:
        """The first finding about a quantity."""
        return next((finding for finding in self.findings if finding.quantity == quantity), None)


def proven_rung(name: RungName, evidence: str) -> Rung:
    return Rung(name=name, status=RungStatus.PROVEN, evidence=evidence)


def failed_rung(name: RungName, reason: Reason, evidence: str) -> Rung:
    return Rung(name=name, status=RungStatus.FAILED, evidence=evidence, reason=reason)


def unseen_rung(name: RungName, evidence: str, reason: Reason = Reason.NOT_OBSERVED) -> Rung:
    return Rung(name=name, status=RungStatus.NOT_OBSERVED, evidence=evidence, reason=reason)
