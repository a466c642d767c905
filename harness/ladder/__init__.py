"""Judge all the evidence about one host. The first rung of the ladder that is not proven decides the verdict.

A rung is proven, failed, or not observed; later evidence proves earlier rungs. Missing evidence prevents a pass and
proves no failure, so removing evidence never makes a verdict PASS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.campaign.limits import Requirement
from harness.campaign.profiles import Profile
from harness.ladder import annotations, clock_rungs, disturbance_rungs, driver_rungs, host_rungs, limit_rungs
from harness.ladder.case import Case, unobserved_rung
from harness.ladder.findings import compare_with_limits
from harness.ladder.profile_findings import compare_with_profiles
from harness.model import (
    DEFAULT_CLOCK_NAMES,
    Depth,
    Evidence,
    Finding,
    Outcome,
    Reason,
    Rung,
    RungName,
    RungStatus,
    Verdict,
)
from harness.model.disturbances import Disturbance
from harness.model.sample_table import SampleTable

__all__ = ["OUTCOMES", "judge"]

_RUNGS: Mapping[RungName, Callable[[Case], Rung]] = {
    RungName.OFFERED: host_rungs.judge_offered,
    RungName.CLAIMED: host_rungs.record_claim,
    RungName.LAUNCHED: host_rungs.judge_launched,
    RungName.REACHABLE: host_rungs.judge_reachable,
    RungName.PRECISION_HOST: host_rungs.judge_precision_host,
    RungName.DRIVER_CAPABLE: driver_rungs.judge_driver_capable,
    RungName.DRIVER_ON: driver_rungs.judge_driver_on,
    RungName.CLOCK_PRESENT: driver_rungs.judge_clock_present,
    RungName.CLOCK_READABLE: clock_rungs.judge_clock_readable,
    RungName.CHRONY_FOLLOWS: clock_rungs.judge_chrony_follows,
    RungName.WITHIN_LIMITS: limit_rungs.judge_within_limits,
    RungName.BOUND_HOLDS: disturbance_rungs.judge_bound_holds,
    RungName.SURVIVES_REBOOT: lambda case: limit_rungs.judge_survives_reboot(case, _judge_rebooted(case)),
}

OUTCOMES: Mapping[Reason, Outcome] = {
    Reason.SYNCHRONISED: Outcome.PASS,
    Reason.NOT_OFFERED: Outcome.UNSUPPORTED,
    Reason.NO_PHC: Outcome.UNSUPPORTED,
    Reason.CAPACITY: Outcome.INCONCLUSIVE,
    Reason.QUOTA: Outcome.INCONCLUSIVE,
    Reason.LAUNCH_FAILED: Outcome.INCONCLUSIVE,
    Reason.UNREACHABLE: Outcome.INCONCLUSIVE,
    Reason.HOST_NOT_READY: Outcome.INCONCLUSIVE,
    Reason.PACKAGES_UNAVAILABLE: Outcome.INCONCLUSIVE,
    Reason.HOST_NOT_PRECISION: Outcome.INCONCLUSIVE,
    Reason.TOO_FEW_SAMPLES: Outcome.INCONCLUSIVE,
    Reason.BOUND_REFUTED: Outcome.INCONCLUSIVE,
    Reason.NOT_OBSERVED: Outcome.INCONCLUSIVE,
    Reason.INTERRUPTED: Outcome.INCONCLUSIVE,
    Reason.HARNESS_ERROR: Outcome.INCONCLUSIVE,
    Reason.DRIVER_NOT_CAPABLE: Outcome.FAIL,
    Reason.DRIVER_OFF: Outcome.FAIL,
    Reason.PHC_UNREADABLE: Outcome.FAIL,
    Reason.PHC_IMPLAUSIBLE: Outcome.FAIL,
    Reason.NOT_SYNCHRONISED: Outcome.FAIL,
    Reason.READINGS_NOT_TAKEN: Outcome.FAIL,
    Reason.CLOCK_INTERFERENCE: Outcome.FAIL,
    Reason.OUT_OF_LIMITS: Outcome.FAIL,
    Reason.NOT_PERSISTENT: Outcome.FAIL,
}
"""The outcome of a failed rung, by its reason. A rung that was not observed is INCONCLUSIVE for every reason."""

_HEADLINE = ("phc_offset_ns", "offset_ns", "error_bound_ns", "chrony_bound_ns")
"""Quantities of a pass's sentence: our own offset, chrony's, and the first bound that was observed."""

_NEED_NO_PROOF = (RungName.OFFERED, RungName.PRECISION_HOST)
"""Rungs that may stay unobserved: the climb goes on. (clock_present checks precision_host again itself.)"""


def judge(
    evidence: Evidence,
    requirements: Sequence[Requirement],
    *,
    depth: Depth,
    clock_names: tuple[str, ...] = DEFAULT_CLOCK_NAMES,
    read_only: bool,
    profiles: Sequence[Profile] = (),
    disturbances: Sequence[Disturbance] = (),
    interval_s: float = 1.0,
) -> Verdict:
    """Climb the ladder and return the verdict. Pure: the same evidence always gives the same verdict.

    `disturbances`: those that depth full must have brought. `interval_s`: the time between two samples, in which limits
    of profiles are held.
    """
    case = Case(
        evidence=_to_columns(evidence),
        requirements=tuple(requirements),
        profiles=tuple(profiles),
        disturbances=tuple(disturbances),
        interval_s=interval_s,
        findings=(),
        depth=depth,
        clock_names=clock_names,
        read_only=read_only,
    )
    if evidence.samples is not None:
        case = replace(case, findings=_compare(case))
    rungs, end = _climb(case)
    reason = (end.reason or Reason.NOT_OBSERVED) if end else Reason.SYNCHRONISED
    ended_unobserved = end is not None and end.status is RungStatus.NOT_OBSERVED
    return Verdict(
        outcome=Outcome.INCONCLUSIVE if ended_unobserved else OUTCOMES[reason],
        reason=reason,
        sentence=end.evidence if end else _pass_sentence(case, rungs),
        rungs=rungs,
        findings=case.findings,
        contradictions=annotations.list_contradictions(case, rungs),
        unobserved=annotations.list_unobserved(case, rungs),
        remarks=annotations.list_remarks(case),
        remedy=annotations.choose_remedy(case, reason, end),
    )


def _to_columns(evidence: Evidence) -> Evidence:
    """Hold the samples as columns, of which every quantity is computed."""
    if evidence.samples is None or isinstance(evidence.samples, SampleTable):
        return evidence
    return replace(evidence, samples=SampleTable(evidence.samples))


def _compare(case: Case) -> tuple[Finding, ...]:
    """Compare the evidence with all limits."""
    return (
        *compare_with_limits(case.evidence, case.requirements, read_only=case.read_only),
        *(compare_with_profiles(case.evidence, case.profiles, case.interval_s) if case.profiles else ()),
    )


def _climb(case: Case) -> tuple[tuple[Rung, ...], Rung | None]:
    """Return all rungs and the rung that ended the climb, None for a pass; the rungs above it are NOT_REACHED."""
    rungs: list[Rung] = []
    end: Rung | None = None
    for name, judge_rung in _RUNGS.items():
        if end is not None:
            rungs.append(Rung(name=name, status=RungStatus.NOT_REACHED, evidence="not reached"))
            continue
        rung = judge_rung(case)
        if _ends(rung):
            end = rung = _excuse(rung, case.evidence)
        rungs.append(rung)
    return tuple(rungs), end


def _ends(rung: Rung) -> bool:
    ended_unobserved = rung.status is RungStatus.NOT_OBSERVED and rung.name not in _NEED_NO_PROOF
    return rung.status is RungStatus.FAILED or ended_unobserved


def _excuse(rung: Rung, evidence: Evidence) -> Rung:
    """Replace a failure of the host by "not observed" where the harness interrupted it or could not carry out a stage.

    Failures of offer, launch and reach stay: they give their own cause.
    """
    if rung.status is RungStatus.FAILED and rung.name in (RungName.OFFERED, RungName.LAUNCHED, RungName.REACHABLE):
        return rung
    if evidence.interrupted:
        while_doing = f"while {evidence.interrupted_while}" if evidence.interrupted_while else ""
        sentence = f"interrupted {while_doing or f'before this was known: {rung.evidence}'}"
        return unobserved_rung(rung.name, sentence, Reason.INTERRUPTED)
    if evidence.lost:
        return unobserved_rung(rung.name, evidence.lost, Reason.UNREACHABLE)
    if evidence.read_only_files and rung.reason is Reason.DRIVER_OFF:
        return replace(rung, evidence=f"{rung.evidence}; it could not be switched on: {evidence.trouble}")
    if evidence.trouble:
        return unobserved_rung(rung.name, evidence.trouble, evidence.trouble_reason)
    return rung


def _judge_rebooted(case: Case) -> Rung | None:
    """Judge the rebooted host as read-only. Return the rung that ended its climb; None for a pass or no reboot."""
    evidence = case.evidence.rebooted
    if evidence is None:
        return None
    after = replace(case, evidence=_to_columns(evidence), depth=Depth.STANDARD, read_only=True)
    return _climb(replace(after, findings=_compare(after)))[1]


def _pass_sentence(case: Case, rungs: Sequence[Rung]) -> str:
    """Write the sentence of a pass: offsets, error bound, convergence; for depth quick, how chronyd follows."""
    rung_by_name = {rung.name: rung for rung in rungs}
    if case.depth is Depth.QUICK:
        parts = [rung_by_name[RungName.CHRONY_FOLLOWS].evidence, rung_by_name[RungName.WITHIN_LIMITS].evidence]
    else:
        main_findings = [case.find_finding(quantity) for quantity in _HEADLINE]
        observed = [finding for finding in main_findings if finding is not None and finding.observed is not None]
        parts = [limit_rungs.list_held_values(observed[:3])]
        parts += [
            f"{limit_rungs.quantity_title(finding.quantity)} {finding.note}"
            for finding in main_findings
            if finding and finding.note
        ]
        if case.facts and case.facts.converged_after_s is not None:
            parts.append(clock_rungs.describe_convergence(case.facts, case.facts.converged_after_s))
    if case.evidence.claim is not None:
        parts.append("API claim agrees" if case.evidence.claim.phc_supported else "API claim disagrees")
    return ", ".join(part for part in parts if part)
