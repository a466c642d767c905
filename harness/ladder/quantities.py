"""Compute each quantity from the samples: signed values, and how many values are missing.

Offsets are positive when the system clock is ahead of the clock that it is compared with. The values of samples are
arrays, and numpy is loaded by the first evidence with samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis import summary
from harness.model import Evidence, Facts

if TYPE_CHECKING:
    from harness.analysis.sample_arrays import Flags, Numbers, Observed, SampleArrays

FRESH_S = 1
"""A source's last answer is fresh up to this age: with one sample a second each answer is sampled at least once."""

MOST_POINTS = 1000
"""A longer series is thinned out to this many points before its slope is computed over all pairs."""


def to_arrays(evidence: Evidence) -> "SampleArrays":
    """Return the values of the samples as arrays."""
    from harness.analysis import sample_arrays

    return sample_arrays.to_arrays(evidence.samples or ())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """A quantity over the samples: observed values at monotonic seconds, and the number of missing values."""

    times_s: "Numbers"
    values: "Numbers"
    missing: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Pairs of a time in seconds and a value."""
        return tuple(zip(self.times_s.tolist(), self.values.tolist(), strict=True))

    @property
    def sizes(self) -> list[float]:
        """The sizes of the values in their order."""
        from harness.analysis import sample_arrays

        return sample_arrays.sort_sizes(self.values)


def count_slots(evidence: Evidence) -> int:
    """Count the slots, the intervals that were to be sampled, up to the last sample where their number is unknown."""
    last = int(to_arrays(evidence).slot.max()) if evidence.samples else -1
    return max(last + 1, evidence.slots or 0)


def count_lost(evidence: Evidence) -> int:
    """Count the slots without a sample."""
    return count_slots(evidence) - (to_arrays(evidence).slot_count if evidence.samples else 0)


def collect_series(evidence: Evidence, choose: Callable[["SampleArrays"], "Observed"]) -> Series:
    """Collect a quantity that every sample should have: None and every lost sample count as missing."""
    arrays = to_arrays(evidence)
    quantity = choose(arrays)
    missing = len(arrays) - int(quantity.known.sum()) + count_lost(evidence)
    return Series(times_s=arrays.mono_s[quantity.known], values=quantity.observed, missing=missing)


def offset_series(evidence: Evidence) -> Series:
    """Chrony's offset at each of its clock updates, in nanoseconds.

    A sample without a new update repeats the last one (same reference time): no point, and not missing.
    """
    arrays = to_arrays(evidence)
    update_s, offset = arrays.tracking("reference_time_s").observed, arrays.tracking("last_offset_ns")
    is_new = [True] * len(update_s)
    is_new[1:] = (update_s[1:] != update_s[:-1]).tolist()
    return Series(
        times_s=arrays.mono_s[offset.known][is_new],
        values=offset.observed[is_new],
        missing=count_lost(evidence) + len(arrays) - len(update_s),
    )


LEAP_SECOND = "not judged near a leap second, which AWS's NTP servers smear over a day and the PHC does not"

LEAPS = ("Insert second", "Delete second")


def leap_second_is_near(evidence: Evidence) -> bool:
    """Whether chronyd or the kernel announces a leap second: NTP and PHC may then differ by design."""
    collections = [facts for facts in (evidence.facts, evidence.final_facts) if facts is not None]
    if any(facts.leap_announced or (facts.tracking and facts.tracking.leap in LEAPS) for facts in collections):
        return True
    return bool(evidence.samples) and to_arrays(evidence).has_leap(LEAPS)


def second_opinion(facts: Facts | None) -> str | None:
    """Name the NTP source that serves as second opinion: the first one of the collection; None when not observed."""
    return next((source.name for source in (facts.sources if facts else None) or () if source.mode == "^"), None)


def second_opinion_series(evidence: Evidence) -> Series:
    """System clock minus second opinion, by fresh answers. A stale answer gives no point and is not missing.

    The value compares chronyd's NTP clock, from which the system clock differs by tracking's system offset.
    """
    arrays = to_arrays(evidence)
    fresh, answers = arrays.find_answers(second_opinion(evidence.facts), fresh_s=FRESH_S)
    return _against_second_opinion(evidence, fresh, answers.known, answers.values)


def phc_minus_second_opinion(evidence: Evidence) -> Series:
    """PHC minus NTP: (system clock minus NTP) less (system clock minus PHC)."""
    arrays = to_arrays(evidence)
    fresh, answers = arrays.find_answers(second_opinion(evidence.facts), fresh_s=FRESH_S)
    offset = arrays.phc_offset
    return _against_second_opinion(evidence, fresh, answers.known & offset.known, answers.values - offset.values)


def _against_second_opinion(evidence: Evidence, fresh: "Flags", known: "Flags", values: "Numbers") -> Series:
    """Make a series of the samples with a fresh answer. Without a second opinion every sample lacks its value."""
    arrays = to_arrays(evidence)
    named = second_opinion(evidence.facts) is not None
    unanswered = len(arrays) - (int(arrays.sourced.sum()) if named else 0)
    return Series(
        times_s=arrays.mono_s[known],
        values=values[known],
        missing=count_lost(evidence) + unanswered + int((fresh & ~known).sum()),
    )


def compute_drift(series: Series) -> summary.Interval | None:
    """Compute the slope of a series of nanoseconds, in ppb; None with fewer than two points in time.

    Thinning out divides the points and the number of missing values alike, rounded up.
    """
    step = -(-len(series) // MOST_POINTS) or 1
    times_s, values, missing = series.times_s[::step], series.values[::step], -(-series.missing // step)
    if len(times_s) < 2 or (times_s == times_s[0]).all():
        return None
    return summary.slope(times_s, values, missing=missing)


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
    published = evidence.facts.counters_published if evidence.facts else None
    if published is None or not evidence.samples:
        return None
    arrays, all_sampled = to_arrays(evidence), evidence.samples_complete and not count_lost(evidence)
    if published:
        return _count_by_counters(arrays, complete=all_sampled and bool(arrays.counted.all()))
    return _count_own_reads(arrays, all_sampled)


def _count_own_reads(arrays: "SampleArrays", all_sampled: bool) -> Reads:
    from harness.analysis import sample_arrays

    counted = arrays.read_count.known & arrays.read_errors.known
    return Reads(
        served=sample_arrays.add_up(arrays.read_count.values[counted]),
        refused=sample_arrays.add_up(arrays.read_errors.values[counted]),
        counted_by="our own readings",
        complete=all_sampled and bool(counted.all()),
    )


def _count_by_counters(arrays: "SampleArrays", *, complete: bool) -> Reads:
    """Count readings by the growth of the counters, which return to 0 when the device is reset.

    One refusal can be counted in err_ts and in err_eb at once, so the larger of the two counts. An answer that came too
    late (exp) and a request skipped while the clock was blocked (skp) also gave the reader no time
    (ena_com_phc_get_timestamp in ena_com.c).
    """
    from harness.analysis import sample_arrays

    cnt, exp, skp, err_dv, err_ts, err_eb = (
        sample_arrays.add_growth(arrays.counter(name)) for name in ("cnt", "exp", "skp", "err_dv", "err_ts", "err_eb")
    )
    return Reads(
        served=cnt,
        refused=exp + skp + err_dv + max(err_ts, err_eb),
        counted_by="the driver's counters",
        complete=complete,
    )
