"""Compute the quantities of samples one sample after the other: a second opinion on what is computed of columns.

Each function has the name and the results of the one that it checks. Nothing here knows arrays.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

from harness.analysis import sample_values, summary
from harness.ladder.bound_check import BoundCheck, Exclusion
from harness.ladder.quantities import FRESH_S, Reads, second_opinion
from harness.model import ChronySource, Evidence, PhcCounters, Sample

Points = tuple[tuple[tuple[float, float], ...], int]
"""Pairs of a time in seconds and a value, and the number of missing values."""


def count_slots(evidence: Evidence) -> int:
    last = max((sample.slot for sample in evidence.samples or ()), default=-1)
    return max(last + 1, evidence.slots or 0)


def count_lost(evidence: Evidence) -> int:
    return count_slots(evidence) - len({sample.slot for sample in evidence.samples or ()})


def collect_series(evidence: Evidence, value_of: Callable[[Sample], float | None]) -> Points:
    values = [(sample.mono_ns / 1e9, value_of(sample)) for sample in evidence.samples or ()]
    points = tuple((time_s, value) for time_s, value in values if value is not None)
    return points, len(values) - len(points) + count_lost(evidence)


def offset_series(evidence: Evidence) -> Points:
    points: list[tuple[float, float]] = []
    missing, update_s = count_lost(evidence), None
    for sample in evidence.samples or ():
        if sample.tracking is None:
            missing += 1
        elif sample.tracking.reference_time_s != update_s:
            update_s = sample.tracking.reference_time_s
            points.append((sample.mono_ns / 1e9, sample.tracking.last_offset_ns))
    return tuple(points), missing


def leap_second_is_near(evidence: Evidence) -> bool:
    collections = [facts for facts in (evidence.facts, evidence.final_facts) if facts is not None]
    trackings = [facts.tracking for facts in collections] + [sample.tracking for sample in evidence.samples or ()]
    return any(facts.leap_announced for facts in collections) or any(
        tracking is not None and tracking.leap in ("Insert second", "Delete second") for tracking in trackings
    )


def find_fresh_answer(sample: Sample, name: str | None) -> ChronySource | None:
    source = next((source for source in sample.sources or () if source.name == name), None)
    if source is None or source.reach == 0:
        return None
    return None if source.last_rx_s is not None and source.last_rx_s > FRESH_S else source


def second_opinion_series(evidence: Evidence) -> Points:
    return _against_second_opinion(evidence, lambda _sample, offset_ns: offset_ns)


def phc_minus_second_opinion(evidence: Evidence) -> Points:
    def value(sample: Sample, system_minus_ntp_ns: int) -> int | None:
        system_minus_phc_ns = sample_values.phc_offset(sample)
        return None if system_minus_phc_ns is None else system_minus_ntp_ns - system_minus_phc_ns

    return _against_second_opinion(evidence, value)


def _against_second_opinion(evidence: Evidence, value_of: Callable[[Sample, int], int | None]) -> Points:
    name, points, missing = second_opinion(evidence.facts), [], count_lost(evidence)
    for sample in evidence.samples or ():
        if sample.sources is None or name is None:
            missing += 1
            continue
        answer = find_fresh_answer(sample, name)
        if answer is None:
            continue
        value = value_of(sample, answer.offset_ns) if answer.last_rx_s is not None else None
        if value is None:
            missing += 1
        else:
            points.append((sample.mono_ns / 1e9, value))
    return tuple(points), missing


def slope(points: Sequence[tuple[float, float]], *, missing: int = 0) -> summary.Interval:
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2]
    pairs = missing * len(points) + missing * (missing - 1) // 2
    return summary.quantile(slopes, 0.5, missing=pairs)


def count_reads(evidence: Evidence) -> Reads | None:
    samples, published = evidence.samples or (), evidence.facts.counters_published if evidence.facts else None
    if published is None or not samples:
        return None
    all_sampled = evidence.samples_complete and not count_lost(evidence)
    if published:
        counters = [sample.counters for sample in samples if sample.counters is not None]
        return _count_by_counters(counters, complete=all_sampled and len(counters) == len(samples))
    bursts = [sample for sample in samples if sample.reads is not None and sample.read_errors is not None]
    return Reads(
        served=sum(len(sample.reads or ()) for sample in bursts),
        refused=sum(sample.read_errors or 0 for sample in bursts),
        counted_by="our own readings",
        complete=all_sampled and len(bursts) == len(samples),
    )


def _count_by_counters(samples: Sequence[PhcCounters], *, complete: bool) -> Reads:
    cnt, exp, skp, err_dv, err_ts, err_eb = (
        _growth([getattr(counters, name) or 0 for counters in samples])
        for name in ("cnt", "exp", "skp", "err_dv", "err_ts", "err_eb")
    )
    refused = exp + skp + err_dv + max(err_ts, err_eb)
    return Reads(served=cnt, refused=refused, counted_by="the driver's counters", complete=complete)


def _growth(counters: Sequence[int]) -> int:
    return sum(after - before if after >= before else after for before, after in pairwise(counters))


def check_samples(evidence: Evidence) -> BoundCheck:
    samples, name = evidence.samples or (), second_opinion(evidence.facts)
    compared, exclusions = 0, []
    for before, sample in pairwise([None, *samples]):
        if sample is None:
            continue
        bound_ns = sample_values.larger_bound(sample, before)
        if sample.reads == () and sample.read_errors:
            compared += 1
        if not sample.reads or bound_ns is None:
            continue
        compared += 1
        reading = sample_values.fastest(sample.reads)
        if sample_values.least_distance_ns(reading) > bound_ns:
            answer = find_fresh_answer(sample, name)
            exclusions.append(
                Exclusion(
                    offset_ns=sample_values.middle_offset_ns(reading),
                    window_ns=reading.window_ns,
                    bound_ns=bound_ns,
                    ntp_offset_ns=None if answer is None or answer.last_rx_s is None else answer.offset_ns,
                )
            )
    slots = count_slots(evidence)
    return BoundCheck(slots=slots, uncompared=slots - compared, exclusions=tuple(exclusions))


def compute_sampler_share(samples: Sequence[Sample]) -> float | None:
    told = [(sample.boot, sample.mono_ns, sample.cpu_ns) for sample in samples if sample.cpu_ns is not None]
    pairs = [(first, second) for first, second in pairwise(told) if first[0] == second[0]]
    passed_ns = sum(second[1] - first[1] for first, second in pairs)
    if passed_ns <= 0 or any(second[2] < first[2] for first, second in pairs):
        return None
    return sum(second[2] - first[2] for first, second in pairs) / passed_ns


def list_readings(samples: Sequence[Sample]) -> list[tuple[int, int, int, int, int | None]]:
    """List slot, offset, delay, the PHC's time and the oscillator's of the fastest reading of each slot."""
    readings = []
    for sample in samples:
        if sample.reads:
            fastest = sample_values.fastest(sample.reads)
            offset_ns, raw_ns = sample_values.middle_offset_ns(fastest), sample.raw_ns
            if abs(offset_ns) < 1 << 60 and fastest.window_ns < 1 << 60:
                oscillator_ns = None if raw_ns is None else raw_ns + fastest.phc_ns + offset_ns - sample.utc_ns
                readings.append((sample.slot, offset_ns, fastest.window_ns, fastest.phc_ns, oscillator_ns))
    return readings
