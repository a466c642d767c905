"""Hold the input of every rung: one host's evidence and its requirements. Build rungs of the three common statuses."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.campaign.limits import Requirement
from harness.campaign.profiles import Profile
from harness.model import Clock, Depth, Evidence, Facts, Finding, Reason, Rung, RungName, RungStatus
from harness.model.disturbances import Disturbance


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The input of a judgement of one host. `findings` compare the evidence with `requirements` and `profiles`.

    `disturbances`: those that the campaign names.
    `interval_s`: the time between two samples.
    """

    evidence: Evidence
    requirements: tuple[Requirement, ...]
    findings: tuple[Finding, ...]
    depth: Depth
    clock_names: tuple[str, ...]
    read_only: bool
    profiles: tuple[Profile, ...] = ()
    disturbances: tuple[Disturbance, ...] = ()
    interval_s: float = 1.0

    @property
    def facts(self) -> Facts | None:
        return self.evidence.facts

    @property
    def host_answered(self) -> bool:
        """Whether the host itself returned any data. Such a host was offered, runs, and was reached."""
        answers = (self.evidence.facts, self.evidence.samples, self.evidence.final_facts)
        return any(answer is not None for answer in answers)

    @property
    def clock(self) -> Clock | None:
        """The first clock whose name matches one of the patterns in `clock_names`."""
        clocks = (self.facts.clocks if self.facts else None) or ()
        return next(
            (clock for clock in clocks if any(fnmatchcase(clock.name, pattern) for pattern in self.clock_names)), None
        )

    def find_finding(self, quantity: str) -> Finding | None:
        """The first finding about a quantity; None without one."""
        return next((finding for finding in self.findings if finding.quantity == quantity), None)


def proven_rung(name: RungName, evidence: str) -> Rung:
    return Rung(name=name, status=RungStatus.PROVEN, evidence=evidence)


def failed_rung(name: RungName, reason: Reason, evidence: str) -> Rung:
    return Rung(name=name, status=RungStatus.FAILED, evidence=evidence, reason=reason)


def unobserved_rung(name: RungName, evidence: str, reason: Reason = Reason.NOT_OBSERVED) -> Rung:
    return Rung(name=name, status=RungStatus.NOT_OBSERVED, evidence=evidence, reason=reason)
