"""Compare the evidence with each limit. One finding per requirement; missing samples never help to hold a limit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from harness.analysis import summary
from harness.campaign.limits import Requirement
from harness.ladder import quantities
from harness.model import Evidence, Finding, Reason

if TYPE_CHECKING:
    from harness.analysis.sample_arrays import Observed, SampleArrays

NOT_PUBLISHED = "not published by this driver"

_SHARES = {"p99": 0.99, "p99_abs": 0.99, "median_abs": 0.5, "max": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """An observed quantity: its interval (None: not observed), number of samples, and a note on method or cause.

    `uncertainty`: the true values may differ by so much either way, in the quantity's unit; None: not known.
    """

    interval: summary.Interval | None
    samples: int
    note: str = ""
    uncertainty: float | None = None


def compare_with_limits(
    evidence: Evidence, requirements: Sequence[Requirement], *, read_only: bool = False
) -> tuple[Finding, ...]:
    """Compare the evidence with every requirement. `read_only` skips convergence_s: no role waited for convergence."""
    return tuple(
        _compare(requirement, _OBSERVERS[requirement.quantity](evidence, requirement), evidence)
        for requirement in requirements
        if not (read_only and requirement.quantity == "convergence_s")
    )


def blocks_pass(finding: Finding) -> bool:
    """Whether a finding prevents a pass. A quantity that the driver does not publish at all never does."""
    return finding.held is not True and finding.note != NOT_PUBLISHED


def undecided_reason(finding: Finding) -> Reason:
    """The reason of an undecided finding. Without any sample it is NOT_OBSERVED: measuring longer would not help."""
    some_but_few = 0 < finding.samples < finding.min_samples
    return Reason.TOO_FEW_SAMPLES if some_but_few else Reason.NOT_OBSERVED


def _compare(requirement: Requirement, observation: Observation, evidence: Evidence) -> Finding:
    held, note = _is_held(requirement, observation), observation.note
    if held is None and not note:
        if observation.samples < requirement.min_samples:
            note = f"{observation.samples} of at least {requirement.min_samples} samples"
        else:
            note = "some samples are missing" if evidence.samples_complete else "the samples end too early"
    return Finding(
        quantity=requirement.quantity,
        statistic=requirement.statistic,
        observed=None if observation.interval is None else observation.interval.value,
        comparison=requirement.comparison,
        limit=requirement.value,
        unit=requirement.unit,
        source=requirement.source,
        samples=observation.samples,
        min_samples=requirement.min_samples,
        held=held,
        note=note,
        uncertainty=observation.uncertainty,
    )


def _is_held(requirement: Requirement, observation: Observation) -> bool | None:
    """True when the limit is held at both ends of the known interval, False when at neither end, else None."""
    if observation.interval is None or observation.samples < requirement.min_samples:
        return None
    ends = {requirement.is_met_by(observation.interval.low), requirement.is_met_by(observation.interval.high)}
    return ends.pop() if len(ends) == 1 else None


def _observe_series(series: quantities.Series, requirement: Requirement, evidence: Evidence) -> Observation:
    """Observe the statistic of a series' absolute values. Without the end of the samples its interval is unbounded."""
    if not len(series):
        return Observation(interval=None, samples=0)
    interval = summary.quantile(series.sizes, _SHARES[requirement.statistic], missing=series.missing)
    return Observation(interval=_unbounded_if_cut(interval, evidence), samples=len(series))


def _unbounded_if_cut(interval: summary.Interval, evidence: Evidence) -> summary.Interval:
    if evidence.samples_complete:
        return interval
    return summary.Interval(value=interval.value, low=-summary.INFINITY, high=summary.INFINITY)


def _sample_observer(choose: Callable[["SampleArrays"], "Observed"]) -> "_Observer":
    def observe(evidence: Evidence, requirement: Requirement) -> Observation:
        return _observe_series(quantities.collect_series(evidence, choose), requirement, evidence)

    return observe


def _observe_error_bound(evidence: Evidence, requirement: Requirement) -> Observation:
    published = evidence.facts.error_bound_published if evidence.facts else None
    if published is False:
        return Observation(interval=None, samples=0, note=NOT_PUBLISHED)
    if published is None:
        return Observation(interval=None, samples=0, note="not observed whether the driver publishes phc_error_bound")
    return _sample_observer(attrgetter("error_bound"))(evidence, requirement)


def _observe_read_success(evidence: Evidence, _requirement: Requirement) -> Observation:
    reads = quantities.count_reads(evidence)
    if reads is None or not reads.requests:
        return Observation(interval=None, samples=0, note="no readings were counted")
    ratio = reads.served / reads.requests
    interval = summary.Interval(value=ratio, low=ratio if reads.complete else 0.0, high=ratio)
    return Observation(interval=interval, samples=reads.requests, note=f"by {reads.counted_by}")


def _observe_offset(evidence: Evidence, requirement: Requirement) -> Observation:
    return _observe_series(quantities.offset_series(evidence), requirement, evidence)


def _observe_phc_offset(evidence: Evidence, requirement: Requirement) -> Observation:
    """Observe our own offset. The PHC was read somewhere within each reading's time, so half of it is uncertain."""
    observation = _sample_observer(attrgetter("phc_offset"))(evidence, requirement)
    windows_ns = quantities.to_arrays(evidence).window_ns.observed.tolist()
    return observation if not windows_ns else replace(observation, uncertainty=summary.median(windows_ns) / 2)


def _observe_second_opinion_offset(evidence: Evidence, requirement: Requirement) -> Observation:
    return _observe_series(quantities.second_opinion_series(evidence), requirement, evidence)


def _observe_second_opinion_drift(evidence: Evidence, _requirement: Requirement) -> Observation:
    offsets = quantities.second_opinion_series(evidence)
    slope = quantities.compute_drift(offsets)
    if slope is None:
        return Observation(interval=None, samples=len(offsets))
    return Observation(interval=_unbounded_if_cut(summary.absolute(slope), evidence), samples=len(offsets))


def _unless_leap_second(observer: "_Observer") -> "_Observer":
    def observe(evidence: Evidence, requirement: Requirement) -> Observation:
        if quantities.leap_second_is_near(evidence):
            return Observation(interval=None, samples=0, note=quantities.LEAP_SECOND)
        return observer(evidence, requirement)

    return observe


def _observe_convergence(evidence: Evidence, _requirement: Requirement) -> Observation:
    facts = evidence.facts
    if facts is None or facts.converged_after_s is None:
        return Observation(interval=None, samples=0, note="no convergence was observed")
    after_s = facts.converged_after_s
    return Observation(interval=summary.Interval(value=after_s, low=after_s, high=after_s), samples=1)


_Observer = Callable[[Evidence, Requirement], Observation]

_OBSERVERS: Mapping[str, _Observer] = {
    "offset_ns": _observe_offset,
    "chrony_bound_ns": _sample_observer(attrgetter("chrony_bound")),
    "error_bound_ns": _observe_error_bound,
    "phc_read_success": _observe_read_success,
    "phc_offset_ns": _observe_phc_offset,
    "second_opinion_offset_ns": _unless_leap_second(_observe_second_opinion_offset),
    "second_opinion_drift_ppb": _unless_leap_second(_observe_second_opinion_drift),
    "convergence_s": _observe_convergence,
}
