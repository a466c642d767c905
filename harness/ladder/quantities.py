"""Compute each quantity from the samples: signed values, and how many values are missing.

Offsets are positive when the system clock is ahead of the clock that it is compared with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis import summary
from harness.analysis.sample_values import phc_offset
from harness.model import ChronySource, Evidence, Facts, PhcCounters, Sample

FRESH_S = 1
"""A source's last answer is fresh up to this age: with one sample a second each answer is sampled at least once."""

MOST_POINTS = 1000
"""A longer series is thinned out to this many points before its slope is computed over all pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A quantity over the samples: observed pairs (monotonic seconds, value), and the number of missing values."""

    points: tuple[tuple[float, float], ...]
    missing: int

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(value for _time_s, value in self.points)


def count_slots(evidence: Evidence) -> int:
    """Count the slots, the intervals that were to be sampled, up to the last sample where their number is unknown."""
    last = max((sample.slot for sample in evidence.samples or ()), default=-1)
    return max(last + 1, evidence.slots or 0)


def count_lost(evidence: Evidence) -> int:
    """Count the slots without a sample."""
    return count_slots(evidence) - len({sample.slot for sample in evidence.samples or ()})


def collect_series(evidence: Evidence, value_of: Callable[[Sample], float | None]) -> Series:
    """Collect a quantity that every sample should have: None and every lost sample count as missing."""
    values = [(sample.mono_ns / 1e9, value_of(sample)) for sample in evidence.samples or ()]
    points = tuple((time_s, value) for time_s, value in values if value is not None)
    return Series(points=points, missing=len(values) - len(points) + count_lost(evidence))


def offset_series(evidence: Evidence) -> Series:
    """Chrony's offset at each of its clock updates, in nanoseconds.

    A sample without a new update repeats the last one (same reference time): no point, and not missing.
    """
    points: list[tuple[float, float]] = []
    missing, update_s = count_lost(evidence), None
    for sample in evidence.samples or ():
        if sample.tracking is None:
            missing += 1
        elif sample.tracking.reference_time_s != update_s:
            update_s = sample.tracking.reference_time_s
            points.append((sample.mono_ns / 1e9, sample.tracking.last_offset_ns))
    return Series(points=tuple(points), missing=missing)


LEAP_SECOND = "not judged near a leap second, which AWS's NTP servers smear over a day and the PHC does not"

_LEAPS = ("Insert second", "Delete second")


def leap_second_is_near(evidence: Evidence) -> bool:
    """Whether chronyd or the kernel announces a leap second: NTP and PHC may then differ by design."""
    collections = [facts for facts in (evidence.facts, evidence.final_facts) if facts is not None]
    trackings = [facts.tracking for facts in collections] + [sample.tracking for sample in evidence.samples or ()]
    return any(facts.leap_announced for facts in collections) or any(
        tracking is not None and tracking.leap in _LEAPS for tracking in trackings
    )


def second_opinion(facts: Facts | None) -> str | None:
    """Name the NTP source that serves as second opinion: the first one of the collection; None when not observed."""
    return next((source.name for source in (facts.sources if facts else None) or () if source.mode == "^"), None)


def find_fresh_answer(sample: Sample, name: str | None) -> ChronySource | None:
    """Find a source that has answered, and whose last answer is not known to be stale."""
    source = next((source for source in sample.sources or () if source.name == name), None)
    if source is None or source.reach == 0:
        return None
    return None if source.last_rx_s is not None and source.last_rx_s > FRESH_S else source


def second_opinion_series(evidence: Evidence) -> Series:
    """System clock minus second opinion, by fresh answers. A stale answer gives no point and is not missing.

    The value compares chronyd's NTP clock, from which the system clock differs by tracking's system offset.
    """
    return _against_second_opinion(evidence, lambda _sample, offset_ns: offset_ns)


def phc_minus_second_opinion(evidence: Evidence) -> Series:
    """PHC minus NTP: (system clock minus NTP) less (system clock minus PHC)."""

    def value(sample: Sample, system_minus_ntp_ns: int) -> int | None:
        system_minus_phc_ns = phc_offset(sample)
        return None if system_minus_phc_ns is None else system_minus_ntp_ns - system_minus_phc_ns

    return _against_second_opinion(evidence, value)


def _against_second_opinion(evidence: Evidence, value_of: Callable[[Sample, int], int | None]) -> Series:
    samples, name = evidence.samples or (), second_opinion(evidence.facts)
    points: list[tuple[float, float]] = []
    missing = count_lost(evidence)
    for sample in samples:
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
    return Series(points=tuple(points), missing=missing)


def compute_drift(series: Series) -> summary.Interval | None:
    """Compute the slope of a series of nanoseconds, in ppb; None with fewer than two points in time.

    Thinning out divides the points and the number of missing values alike, rounded up.
    """
    step = -(-len(series.points) // MOST_POINTS) or 1
    points, missing = series.points[::step], -(-series.missing // step)
    return summary.slope(points, missing=missing) if len({time_s for time_s, _value in points}) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Readings of the PHC: numbers served and refused, the source of the count, and whether the count is complete."""

    served: int
    refused: int
    counted_by: str
    complete: bool

    @property
    def requests(self) -> int:
        return self.served + self.refused


def count_reads(evidence: Evidence) -> Reads | None:
    """Count readings by the driver's counters, which include every reader's requests, else by our own readings.

    None when it was not observed whether the driver has counters.
    """
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
    """Count readings by the growth of the counters, which return to 0 when the device is reset.

    One refusal can be counted in err_ts and in err_eb at once, so the larger of the two counts. An answer that came too
    late (exp) and a request skipped while the clock was blocked (skp) also gave the reader no time
    (ena_com_phc_get_timestamp in ena_com.c).
    """
    exp, skp, err_dv = (
        summary.growth(getattr(counters, name) for counters in samples) for name in ("exp", "skp", "err_dv")
    )
    err_ts, err_eb = (
        summary.growth(counters.err_ts for counters in samples),
        summary.growth(counters.err_eb or 0 for counters in samples),
    )
    return Reads(
        served=summary.growth(counters.cnt for counters in samples),
        refused=exp + skp + err_dv + max(err_ts, err_eb),
        counted_by="the driver's counters",
        complete=complete,
    )
