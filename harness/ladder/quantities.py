"""What do the samples say about each quantity? Values with their signs, and how many could not be seen.

Offsets are positive when our clock is ahead of what it is compared with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis import summary
from harness.model import Evidence, Facts, PhcCounters, PhcRead, Sample, Tracking

FRESH_S = 1
"""A source's last answer is fresh up to this age: with one sample a second each answer is seen at least once."""

MOST_POINTS = 1000
"""More points than these are thinned out before a slope is taken over all their pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One quantity over the samples: (monotonic seconds, value) of what was seen, and how many values were not."""

    points: tuple[tuple[float, float], ...]
    missing: int

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(value for _time_s, value in self.points)


def count_lost(samples: Sequence[Sample]) -> int:
    """How many samples are missing between number 0 and the last one."""
    return max((sample.seq for sample in samples), default=-1) + 1 - len({sample.seq for sample in samples})


def series(samples: Sequence[Sample], value_of: Callable[[Sample], float | None]) -> Series:
    """A quantity that every sample should show: None, and every lost sample, is missing."""
    seen = [(sample.mono_ns / 1e9, value_of(sample)) for sample in samples]
    points = tuple((time_s, value) for time_s, value in seen if value is not None)
    return Series(points=points, missing=len(seen) - len(points) + count_lost(samples))


def last_offset(sample: Sample) -> int | None:
    """Chrony's offset at its last clock update."""
    return sample.tracking.last_offset_ns if sample.tracking else None


def chrony_bound(sample: Sample) -> int | None:
    """How far chronyd says the system clock can be from its reference's time, rounded up."""
    return root_distance_bound(sample.tracking) if sample.tracking else None


def root_distance_bound(tracking: Tracking) -> int:
    """|system time offset| + root dispersion + root delay / 2 (chronyc(1), Root dispersion), rounded up."""
    return abs(tracking.system_offset_ns) + tracking.root_dispersion_ns + (tracking.root_delay_ns + 1) // 2


def error_bound(sample: Sample) -> int | None:
    """Chrony's bound and the device's own. A bound of 0 is what the driver says before its first reading: unknown."""
    chrony = chrony_bound(sample)
    return chrony + sample.error_bound_ns if chrony is not None and sample.error_bound_ns else None


def phc_offset(sample: Sample) -> int | None:
    """System clock against PHC by the fastest reading of the sample's burst."""
    return against_phc(sample.reads or ())


def against_phc(reads: Sequence[PhcRead]) -> int | None:
    """The middle of the fastest reading minus what the PHC showed: the others were delayed on their way."""
    if not reads:
        return None
    fastest = min(reads, key=lambda read: read.after_ns - read.before_ns)
    return (fastest.before_ns + fastest.after_ns) // 2 - fastest.phc_ns


def second_opinion(facts: Facts | None) -> str | None:
    """The NTP source that serves as second opinion: the first one in the first collection; None when not observed."""
    return next((source.name for source in (facts.sources if facts else None) or () if source.mode == "^"), None)


def second_opinion_series(evidence: Evidence) -> Series:
    """Our clock against the second opinion, where its answer is fresh; one that is not is no value, not a missing one.

    It is chronyd's NTP clock that is compared; the system clock differs from it by tracking's system offset.
    """
    return _against_second_opinion(evidence, lambda _sample, ours: ours)


def phc_against_second_opinion(evidence: Evidence) -> Series:
    """PHC minus NTP: our clock against NTP, less our clock against the PHC."""

    def value(sample: Sample, ours: int) -> int | None:
        against = phc_offset(sample)
        return None if against is None else ours - against

    return _against_second_opinion(evidence, value)


def _against_second_opinion(evidence: Evidence, value_of: Callable[[Sample, int], int | None]) -> Series:
    samples, name = evidence.samples or (), second_opinion(evidence.facts)
    points: list[tuple[float, float]] = []
    missing = count_lost(samples)
    for sample in samples:
        if sample.sources is None or name is None:
            missing += 1
            continue
        answer = next((source for source in sample.sources if source.name == name), None)
        if answer is None or answer.reach == 0:
            continue
        if answer.last_rx_s is not None and answer.last_rx_s > FRESH_S:
            continue
        value = value_of(sample, answer.offset_ns) if answer.last_rx_s is not None else None
        if value is None:
            missing += 1
        else:
            points.append((sample.mono_ns / 1e9, value))
    return Series(points=tuple(points), missing=missing)


def drift(found: Series) -> summary.Interval | None:
    """The slope of a series of nanoseconds, in ppb; None with fewer than two points in time.

    Where the points are thinned out, so are the missing ones, rounded up.
    """
    step = -(-len(found.points) // MOST_POINTS) or 1
    points, missing = found.points[::step], -(-found.missing // step)
    return summary.slope(points, missing=missing) if len({time_s for time_s, _value in points}) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Readings of the PHC: how many came back, how many were refused, by whose count, and whether all was seen."""

    served: int
    refused: int
    counted_by: str
    complete: bool

    @property
    def requests(self) -> int:
        return self.served + self.refused


def count_reads(evidence: Evidence) -> Reads | None:
    """By the driver's counters where it has them, which hold every reader's requests; else by our own readings.

    None when it was not observed whether the driver has counters.
    """
    samples, published = evidence.samples or (), evidence.facts.counters_published if evidence.facts else None
    if published is None or not samples:
        return None
    whole = evidence.samples_complete and not count_lost(samples)
    if published:
        seen = [sample.counters for sample in samples if sample.counters is not None]
        return _by_counters(seen, complete=whole and len(seen) == len(samples))
    bursts = [sample for sample in samples if sample.reads is not None and sample.read_errors is not None]
    return Reads(
        served=sum(len(sample.reads or ()) for sample in bursts),
        refused=sum(sample.read_errors or 0 for sample in bursts),
        counted_by="our own readings",
        complete=whole and len(bursts) == len(samples),
    )


def _by_counters(seen: Sequence[PhcCounters], *, complete: bool) -> Reads:
    """Growth of the counters, which return to 0 when the device is reset.

    One refusal can be counted in err_ts and in err_eb at once, so the larger of both counts. An answer that came too
    late (exp) and a request skipped while the clock was blocked (skp) gave the reader nothing either
    (ena_com_phc_get_timestamp in ena_com.c).
    """
    exp, skp, err_dv = (summary.growth(getattr(one, name) for one in seen) for name in ("exp", "skp", "err_dv"))
    err_ts, err_eb = summary.growth(one.err_ts for one in seen), summary.growth(one.err_eb or 0 for one in seen)
    return Reads(
        served=summary.growth(one.cnt for one in seen),
        refused=exp + skp + err_dv + max(err_ts, err_eb),
        counted_by="the driver's counters",
        complete=complete,
    )
