"""Compare the evidence with each limit. One finding per requirement; missing samples never help to hold a limit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis import summary
from harness.campaign.limits import Requirement
from harness.ladder import quantities
from harness.model import Evidence, Finding, Reason, Sample

NOT_PUBLISHED = "not published by this driver"

_SHARES = {"p99": 0.99, "p99_abs": 0.99, "median_abs": 0.5, "max": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """An observed quantity: its interval (None: not observed), number of samples, and a note on method or cause."""

    known: summary.Interval | None
    samples: int
    note: str = ""


def findings(
    evidence: Evidence, requirements: Sequence[Requirement], *, read_only: bool = False
) -> tuple[Finding, ...]:
    """Compare the evidence with every requirement. `read_only` skips convergence_s: no role waited for convergence."""
    return tuple(
        _finding(requirement, _OBSERVERS[requirement.quantity](evidence, requirement), evidence)
        for requirement in requirements
        if not (read_only and requirement.quantity == "convergence_s")
    )


def blocks_pass(finding: Finding) -> bool:
    """Whether a finding prevents a pass. A quantity that the driver does not publish at all never does."""
    return finding.held is not True and finding.note != NOT_PUBLISHED


def why_undecided(finding: Finding) -> Reason:
    """The reason of an undecided finding. Without any sample it is NOT_OBSERVED: measuring longer would not help."""
    some_but_few = 0 < finding.samples < finding.min_samples
    return Reason.TOO_FEW_SAMPLES if some_but_few else Reason.NOT_OBSERVED


def _finding(requirement: Requirement, seen: Observation, evidence: Evidence) -> Finding:
    held, note = _held(requirement, seen), seen.note
    if held is None and not note:
        if seen.samples < requirement.min_samples:
            note = f"{seen.samples} of at least {requirement.min_samples} samples"
        else:
            note = "some samples are missing" if evidence.samples_complete else "the samples end too early"
    return Finding(
        quantity=requirement.quantity,
        statistic=requirement.statistic,
        observed=None if seen.known is None else seen.known.value,
        comparison=requirement.comparison,
        limit=requirement.value,
        unit=requirement.unit,
        source=requirement.source,
        samples=seen.samples,
        min_samples=requirement.min_samples,
        held=held,
        note=note,
    )


def _held(requirement: Requirement, seen: Observation) -> bool | None:
    """True when the limit is held at both ends of the known interval, False when at neither end, else None."""
    if seen.known is None or seen.samples < requirement.min_samples:
        return None
    ends = {requirement.is_met_by(seen.known.low), requirement.is_met_by(seen.known.high)}
    return ends.pop() if len(ends) == 1 else None


def _summary(found: quantities.Series, requirement: Requirement, evidence: Evidence) -> Observation:
    """Observe the statistic of a series' absolute values. Without the end of the samples its interval is unbounded."""
    if not found.points:
        return Observation(known=None, samples=0)
    sizes = [abs(value) for value in found.values]
    known = summary.quantile(sizes, _SHARES[requirement.statistic], missing=found.missing)
    return Observation(known=_unless_cut(known, evidence), samples=len(found.points))


def _unless_cut(known: summary.Interval, evidence: Evidence) -> summary.Interval:
    if evidence.samples_complete:
        return known
    return summary.Interval(value=known.value, low=-summary.INFINITY, high=summary.INFINITY)


def _of_samples(value_of: Callable[[Sample], int | None]) -> "_Observer":
    def observe(evidence: Evidence, requirement: Requirement) -> Observation:
        return _summary(quantities.series(evidence.samples or (), value_of), requirement, evidence)

    return observe


def _error_bound(evidence: Evidence, requirement: Requirement) -> Observation:
    published = evidence.facts.error_bound_published if evidence.facts else None
    if published is False:
        return Observation(known=None, samples=0, note=NOT_PUBLISHED)
    if published is None:
        return Observation(known=None, samples=0, note="not observed whether the driver publishes phc_error_bound")
    return _of_samples(quantities.error_bound)(evidence, requirement)


def _read_success(evidence: Evidence, _requirement: Requirement) -> Observation:
    reads = quantities.count_reads(evidence)
    if reads is None or not reads.requests:
        return Observation(known=None, samples=0, note="no readings were counted")
    ratio = reads.served / reads.requests
    known = summary.Interval(value=ratio, low=ratio if reads.complete else 0.0, high=ratio)
    return Observation(known=known, samples=reads.requests, note=f"by {reads.counted_by}")


def _second_opinion_offset(evidence: Evidence, requirement: Requirement) -> Observation:
    return _summary(quantities.second_opinion_series(evidence), requirement, evidence)


def _second_opinion_drift(evidence: Evidence, _requirement: Requirement) -> Observation:
    offsets = quantities.second_opinion_series(evidence)
    slope = quantities.drift(offsets)
    if slope is None:
        return Observation(known=None, samples=len(offsets.points))
    return Observation(known=_unless_cut(summary.absolute(slope), evidence), samples=len(offsets.points))


def _convergence(evidence: Evidence, _requirement: Requirement) -> Observation:
    facts = evidence.facts
    if facts is None or facts.converged_after_s is None:
        return Observation(known=None, samples=0, note="no convergence was observed")
    after_s = facts.converged_after_s
    return Observation(known=summary.Interval(value=after_s, low=after_s, high=after_s), samples=1)


_Observer = Callable[[Evidence, Requirement], Observation]

_OBSERVERS: Mapping[str, _Observer] = {
    "offset_ns": _of_samples(quantities.last_offset),
    "chrony_bound_ns": _of_samples(quantities.chrony_bound),
    "error_bound_ns": _error_bound,
    "phc_read_success": _read_success,
    "phc_offset_ns": _of_samples(quantities.phc_offset),
    "second_opinion_offset_ns": _second_opinion_offset,
    "second_opinion_drift_ppb": _second_opinion_drift,
    "convergence_s": _convergence,
}
