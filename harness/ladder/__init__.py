"""What does all the evidence about one host come to? The first rung of the ladder that is not proven is the verdict.

A rung is proven, failed, or not observed; later evidence proves earlier rungs. Whatever is missing bars a pass and
proves no failure, so taking evidence away never makes a verdict PASS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.campaign.limits import Requirement
from harness.ladder import annotations, clock_rungs, driver_rungs, host_rungs, limit_rungs
from harness.ladder.case import Case, unseen_rung
from harness.ladder.findings import findings
from harness.ladder.outcomes import exit_code, worst_outcome
from harness.model import DEFAULT_CLOCK_NAMES, Depth, Evidence, Outcome, Reason, Rung, RungName, RungStatus, Verdict

__all__ = ["OUTCOMES", "exit_code", "judge", "worst_outcome"]

_RUNGS: Mapping[RungName, Callable[[Case], Rung]] = {
    RungName.OFFERED: host_rungs.offered,
    RungName.CLAIMED: host_rungs.claimed,
    RungName.LAUNCHED: host_rungs.launched,
    RungName.REACHABLE: host_rungs.reachable,
    RungName.PRECISION_HOST: host_rungs.precision_host,
    RungName.DRIVER_CAPABLE: driver_rungs.driver_capable,
    RungName.DRIVER_ON: driver_rungs.driver_on,
    RungName.CLOCK_PRESENT: driver_rungs.clock_present,
    RungName.CLOCK_READABLE: clock_rungs.clock_readable,
    RungName.CHRONY_FOLLOWS: clock_rungs.chrony_follows,
    RungName.WITHIN_LIMITS: limit_rungs.within_limits,
    RungName.SURVIVES_REBOOT: lambda case: limit_rungs.survives_reboot(case, _after_reboot(case)),
}

OUTCOMES: Mapping[Reason, Outcome] = {
    Reason.SYNCHRONISED: Outcome.PASS,
    Reason.NOT_OFFERED: Outcome.UNSUPPORTED,
    Reason.NO_PHC: Outcome.UNSUPPORTED,
    Reason.CAPACITY: Outcome.INCONCLUSIVE,
    Reason.QUOTA: Outcome.INCONCLUSIVE,
    Reason.LAUNCH_FAILED: Outcome.INCONCLUSIVE,
    Reason.UNREACHABLE: Outcome.INCONCLUSIVE,
    Reason.HOST_NOT_PRECISION: Outcome.INCONCLUSIVE,
    Reason.TOO_FEW_SAMPLES: Outcome.INCONCLUSIVE,
    Reason.NOT_OBSERVED: Outcome.INCONCLUSIVE,
    Reason.INTERRUPTED: Outcome.INCONCLUSIVE,
    Reason.HARNESS_ERROR: Outcome.INCONCLUSIVE,
    Reason.DRIVER_NOT_CAPABLE: Outcome.FAIL,
    Reason.DRIVER_OFF: Outcome.FAIL,
    Reason.PHC_UNREADABLE: Outcome.FAIL,
    Reason.PHC_IMPLAUSIBLE: Outcome.FAIL,
    Reason.NOT_SYNCHRONISED: Outcome.FAIL,
    Reason.CLOCK_INTERFERENCE: Outcome.FAIL,
    Reason.OUT_OF_LIMITS: Outcome.FAIL,
    Reason.NOT_PERSISTENT: Outcome.FAIL,
}
"""The outcome of a rung that failed for a reason. One that was not observed is INCONCLUSIVE, whatever the reason."""

_NEED_NO_PROOF = (RungName.OFFERED, RungName.PRECISION_HOST)
"""Rungs that may stay unobserved: the climb goes on. (What precision_host bars then, clock_present asks for itself.)"""


def judge(
    evidence: Evidence,
    requirements: Sequence[Requirement],
    *,
    depth: Depth,
    clock_names: tuple[str, ...] = DEFAULT_CLOCK_NAMES,
    read_only: bool,
) -> Verdict:
    """Climb the ladder and say where it ended. Pure: the same evidence gives the same verdict, always exactly one."""
    case = Case(
        evidence=evidence,
        requirements=tuple(requirements),
        findings=findings(evidence, requirements, read_only=read_only) if evidence.samples is not None else (),
        depth=depth,
        clock_names=clock_names,
        read_only=read_only,
    )
    rungs, end = _climb(case)
    reason = (end.reason or Reason.NOT_OBSERVED) if end else Reason.SYNCHRONISED
    unseen_end = end is not None and end.status is RungStatus.NOT_OBSERVED
    return Verdict(
        outcome=Outcome.INCONCLUSIVE if unseen_end else OUTCOMES[reason],
        reason=reason,
        sentence=end.evidence if end else _passed(case, rungs),
        rungs=rungs,
        findings=case.findings,
        contradictions=annotations.contradictions(case, rungs),
        unobserved=annotations.unobserved(case, rungs),
        remarks=annotations.remarks(case),
        remedy=annotations.remedy(case, reason),
    )


def _climb(case: Case) -> tuple[tuple[Rung, ...], Rung | None]:
    """All rungs, and the one that ended the climb; those above it are not reached."""
    rungs: list[Rung] = []
    end: Rung | None = None
    for name, look in _RUNGS.items():
        if end is not None:
            rungs.append(Rung(name=name, status=RungStatus.NOT_REACHED, evidence="not reached"))
            continue
        rung = look(case)
        if _ends(rung):
            end = rung = _excused(rung, case.evidence)
        rungs.append(rung)
    return tuple(rungs), end


def _ends(rung: Rung) -> bool:
    unseen_end = rung.status is RungStatus.NOT_OBSERVED and rung.name not in _NEED_NO_PROOF
    return rung.status is RungStatus.FAILED or unseen_end


def _excused(rung: Rung, evidence: Evidence) -> Rung:
    """A host that we interrupted, or whose stage we could not carry out, has not failed. Launch and reach say why."""
    if rung.status is RungStatus.FAILED and rung.name in (RungName.OFFERED, RungName.LAUNCHED, RungName.REACHABLE):
        return rung
    if evidence.interrupted:
        return unseen_rung(rung.name, f"interrupted before this was known: {rung.evidence}", Reason.INTERRUPTED)
    if evidence.lost:
        return unseen_rung(rung.name, evidence.lost, Reason.UNREACHABLE)
    if evidence.read_only_files and rung.reason is Reason.DRIVER_OFF:
        return replace(rung, evidence=f"{rung.evidence}; it could not be switched on: {evidence.trouble}")
    if evidence.trouble:
        return unseen_rung(rung.name, evidence.trouble, Reason.HARNESS_ERROR)
    return rung


def _after_reboot(case: Case) -> Rung | None:
    """Where the climb of the rebooted host ends, judged as one on which nothing was changed; None for the top."""
    if case.evidence.rebooted is None:
        return None
    again = replace(case.evidence.rebooted, rebooted=None)
    found = findings(again, case.requirements, read_only=True) if again.samples is not None else ()
    return _climb(replace(case, evidence=again, findings=found, depth=Depth.STANDARD, read_only=True))[1]


def _passed(case: Case, rungs: Sequence[Rung]) -> str:
    """The passing sentence: how far off, how sure, how soon; for depth quick what was seen of following."""
    said = {rung.name: rung for rung in rungs}
    if case.depth is Depth.QUICK:
        parts = [said[RungName.CHRONY_FOLLOWS].evidence, said[RungName.WITHIN_LIMITS].evidence]
    else:
        told = [case.finding(quantity) for quantity in ("offset_ns", "error_bound_ns", "chrony_bound_ns")]
        seen = [finding for finding in told if finding is not None and finding.observed is not None]
        parts = [limit_rungs.in_limits(seen[:2])]
        parts += [f"{limit_rungs.quantity_title(one.quantity)} {one.note}" for one in told if one and one.note]
        if case.facts and case.facts.converged_after_s is not None:
            parts.append(clock_rungs.converged_words(case.facts, case.facts.converged_after_s))
    if case.evidence.claim is not None:
        parts.append("API claim agrees" if case.evidence.claim.phc_supported else "API claim disagrees")
    return ", ".join(part for part in parts if part)
