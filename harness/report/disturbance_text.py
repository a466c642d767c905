"""Write how a clock fared under each disturbance as lines of text, for the ladder of `show` and the text report."""

from collections.abc import Sequence

from harness import units
from harness.model.disturbances import DisturbanceFigures, LimitExceeded


def describe_disturbances(disturbances: Sequence[DisturbanceFigures]) -> list[str]:
    """Describe the disturbances, a line for each; none where the clock was not disturbed."""
    if not disturbances:
        return []
    return ["disturbances:", *(f"  {title(each)}: {describe_figures(each)}" for each in disturbances)]


def title(figures: DisturbanceFigures) -> str:
    """Name a disturbance, with its duration and what its program tells: `cpu-load (60 s, 2 busy programs)`."""
    lasted = units.duration(figures.lasted_s) if figures.lasted_s else ""
    details = ", ".join(part for part in (lasted, figures.detail) if part)
    return f"{figures.disturbance} ({details})" if details else str(figures.disturbance)


def describe_figures(figures: DisturbanceFigures) -> str:
    """Describe offset, bound, whether the bound held, and the time back, in one line."""
    if figures.failure is not None:
        return figures.failure
    parts = [
        f"offset up to {describe_offset(figures)}",
        f"bound up to {describe_bound(figures)}",
        describe_coverage(figures),
        *(f"offset above {units.ns(each.limit_ns)} after {each.after_s:g} s" for each in figures.offset_exceeded[:1]),
        *(f"bound above {units.ns(each.limit_ns)} after {each.after_s:g} s" for each in figures.bound_exceeded[:1]),
        describe_return(figures),
    ]
    return "; ".join(parts)


def describe_offset(figures: DisturbanceFigures) -> str:
    """Write the largest offset with its uncertainty; "not observed" without a reading."""
    if figures.largest_offset_ns is None:
        return "not observed"
    return units.with_uncertainty(abs(figures.largest_offset_ns), figures.largest_offset_uncertainty_ns, "ns")


def describe_bound(figures: DisturbanceFigures) -> str:
    """Write the largest bound; "not observed" without one."""
    return "not observed" if figures.largest_bound_ns is None else units.ns(figures.largest_bound_ns)


def describe_coverage(figures: DisturbanceFigures) -> str:
    """Say in how many of the compared seconds the bound held."""
    if figures.refuted:
        return f"chrony's bound REFUTED in {figures.refuted} of {figures.compared} seconds"
    return f"chrony's bound held in all {figures.compared} seconds that could be compared, of {figures.seconds}"


def describe_return(figures: DisturbanceFigures) -> str:
    """Say how long after the disturbance the clock was back."""
    return "not back while it was watched" if figures.back_after_s is None else f"back after {figures.back_after_s:g} s"


def list_exceeded(limits: Sequence[LimitExceeded]) -> str:
    """List limits with the time until each was exceeded; "-" for none."""
    return ", ".join(f"{units.ns(each.limit_ns)} after {each.after_s:g} s" for each in limits) or "-"
