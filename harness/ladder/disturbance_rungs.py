"""Judge whether the bound held, and the clock came back, under every disturbance that the campaign names."""

from harness import units
from harness.analysis.disturbed_clock import LEAST_COMPARED, compute_disturbances
from harness.ladder.case import Case, proven_rung, unobserved_rung
from harness.model import Depth, Reason, Rung, RungName, RungStatus
from harness.model.disturbances import AFTER_S, DisturbanceFigures


def judge_bound_holds(case: Case) -> Rung:
    """Judge the disturbances. A bound that a reading refutes is as in judging the undisturbed clock: no pass."""
    name = RungName.BOUND_HOLDS
    if not case.disturbances:
        return Rung(name=name, status=RungStatus.NOT_REQUIRED, evidence="the campaign names no disturbance")
    if case.depth is not Depth.FULL:
        return Rung(name=name, status=RungStatus.NOT_REQUIRED, evidence=f"depth {case.depth} disturbs no clock")
    disturbed = case.evidence.disturbed
    if disturbed is None:
        return unobserved_rung(name, "the clock was not disturbed")
    all_figures = compute_disturbances(case.evidence, case.interval_s)
    if disturbed.lost:
        return unobserved_rung(name, disturbed.lost, Reason.UNREACHABLE)
    if disturbed.trouble:
        return unobserved_rung(name, disturbed.trouble, disturbed.trouble_reason)
    if missing := _find_missing(case, all_figures):
        return unobserved_rung(name, missing)
    for figures in all_figures:
        if figures.refuted:
            return unobserved_rung(name, describe_refuted(figures), Reason.BOUND_REFUTED)
    for figures in all_figures:
        if figures.compared < LEAST_COMPARED:
            seconds = f"in {figures.compared} seconds only"
            text = f"{figures.disturbance}: chrony's bound could be held against a reading {seconds}"
            return unobserved_rung(name, text, Reason.TOO_FEW_SAMPLES)
    for figures in all_figures:
        if figures.back_after_s is None:
            text = f"{figures.disturbance}: the clock was not back within {units.duration(AFTER_S)}"
            return unobserved_rung(name, text, Reason.NOT_SYNCHRONISED)
    longest_s = max(figures.back_after_s or 0.0 for figures in all_figures)
    compared = sum(figures.compared for figures in all_figures)
    names = ", ".join(figures.disturbance for figures in all_figures)
    return proven_rung(
        name, f"{names}: the bound held in all {compared} seconds, and the clock was back after {longest_s:g} s at most"
    )


def describe_refuted(figures: DisturbanceFigures) -> str:
    """Say in how many seconds of a disturbance a reading refutes chrony's bound, and how far off the clock was."""
    offset_ns = abs(figures.largest_offset_ns or 0.0)
    return (
        f"{figures.disturbance}: chrony's bound was refuted in {figures.refuted} of {figures.compared} seconds; "
        f"a reading puts the PHC {units.ns(offset_ns)} from the system clock"
    )


def _find_missing(case: Case, all_figures: tuple[DisturbanceFigures, ...]) -> str | None:
    """Say which disturbance did not take place, or why it could not be caused."""
    for figures in all_figures:
        if figures.failure is not None:
            return f"{figures.disturbance}: {figures.failure}"
    done = [figures.disturbance for figures in all_figures]
    not_done = [name for name in case.disturbances if name not in done]
    return f"{', '.join(not_done)}: not marked as done" if not_done else None
