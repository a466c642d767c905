"""Compare the evidence with the profiles that a campaign names. One finding for each limit of each profile."""

import math
from collections.abc import Iterator, Sequence

from harness.campaign.profiles import Profile, ProfileLimit
from harness.model import Evidence, Finding
from harness.model.quality import LimitResult, ProfileStatus

_HELD = {
    ProfileStatus.MET: True,
    ProfileStatus.EXCEEDED: False,
    ProfileStatus.NOT_REFUTED: None,
    ProfileStatus.NOT_DEMONSTRABLE: None,
}
"""Whether a limit was held. What was not refuted or cannot be shown was not held, and was not broken either."""


def compare_with_profiles(evidence: Evidence, profiles: Sequence[Profile], interval_s: float) -> tuple[Finding, ...]:
    """Compare the evidence with each limit of each profile. numpy is loaded by the first call."""
    from harness.analysis.measured_offsets import measure_offsets
    from harness.analysis.profile_check import check_profiles

    measured = measure_offsets(evidence, interval_s)
    samples = 0 if measured is None else measured.series.count
    results = [] if measured is None else [result.limits for result in check_profiles(profiles, measured)]
    return tuple(
        _make_finding(profile, limit, results[number][place] if results else None, samples, interval_s)
        for number, profile in enumerate(profiles)
        for place, limit in enumerate(profile.limits)
    )


def _make_finding(
    profile: Profile, limit: ProfileLimit, result: LimitResult | None, samples: int, interval_s: float
) -> Finding:
    held = None if result is None else _HELD[result.status]
    return Finding(
        quantity=f"{profile.name} {limit.kind}",
        statistic="max",
        observed=None if result is None else result.observed_ns,
        comparison="<=",
        limit=result.limit_ns if result and result.limit_ns is not None else min(_list_limits(limit)),
        unit="ns",
        source=f"{profile.title}, {profile.edition}",
        samples=samples,
        min_samples=max(limit.least_samples, math.ceil(limit.least_s / interval_s)),
        held=held,
        note="" if held else "fewer than ten offsets" if result is None else result.sentence,
    )


def _list_limits(limit: ProfileLimit) -> Iterator[float]:
    """List the limit, or those at the begin of each segment of a mask."""
    if limit.limit_ns is not None:
        yield limit.limit_ns
    for segment in limit.segments:
        yield segment.limit_ns(segment.above_s)
