"""Hold chrony's error bound against our own readings of the PHC: the two must not exclude each other.

A reading is a proof: the system clock's time of the reading lies between its two stamps. So system clock minus PHC lies
between `before - phc` and `after - phc`, whatever chronyd estimates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness import units
from harness.analysis import sample_values, summary
from harness.ladder import quantities
from harness.model import Evidence, Facts, PhcRead, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A second in which the fastest reading lies outside chrony's bound. All values are in nanoseconds."""

    offset_ns: int  # system clock minus PHC, by the middle of the reading
    window_ns: int
    bound_ns: int
    ntp_offset_ns: int | None  # system clock minus NTP, by an answer of this second


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundCheck:
    """The comparison over all slots. `uncompared`: number of slots without a reading or a bound, refusals excepted."""

    slots: int
    uncompared: int
    exclusions: tuple[Exclusion, ...]

    @property
    def refuted(self) -> bool:
        return bool(self.exclusions)

    def describe(self) -> str:
        """Say how far the readings are outside the bound, in how many seconds, and which of both NTP confirms."""
        worst = max(self.exclusions, key=lambda exclusion: abs(exclusion.offset_ns) - exclusion.bound_ns)
        text = (
            f"chrony's bound was refuted in {len(self.exclusions)} of {self.slots} seconds: "
            f"{units.ns(worst.bound_ns)}, while a reading of {units.ns(worst.window_ns)} puts the PHC "
            f"{units.ns(abs(worst.offset_ns))} from the system clock"
        )
        return f"{text}; {self._find_confirmed()}"

    def _find_confirmed(self) -> str:
        """Say which measurement NTP confirms: the one that is at least twice as near to it, by the median."""
        pairs = [(each.ntp_offset_ns, each.offset_ns) for each in self.exclusions if each.ntp_offset_ns is not None]
        if pairs:
            from_readings_ns = abs(summary.median([ntp_ns - offset_ns for ntp_ns, offset_ns in pairs]))
            from_chronyd_ns = abs(summary.median([ntp_ns for ntp_ns, _ in pairs]))
            if 2 * from_readings_ns <= from_chronyd_ns:
                return NTP_CONFIRMS_READINGS
            if 2 * from_chronyd_ns <= from_readings_ns:
                return NTP_CONFIRMS_CHRONYD
        return NTP_UNDECIDED


NTP_CONFIRMS_READINGS = "NTP agrees with the readings, so chronyd is wrong"
NTP_CONFIRMS_CHRONYD = "NTP agrees with chronyd, so the readings are wrong"
NTP_UNDECIDED = "NTP does not tell which is wrong"


def check_samples(evidence: Evidence) -> BoundCheck:
    """Compare every sample's fastest reading with chrony's bound.

    The bound is the larger one of this sample and the sample before it, since chronyd may have been corrected between
    the reading and its report.
    """
    samples, name = evidence.samples or (), quantities.second_opinion(evidence.facts)
    compared, exclusions = 0, []
    before: Sample | None = None
    for sample in samples:
        bound_ns = sample_values.larger_bound(sample, before)
        before = sample
        if sample.reads == () and sample.read_errors:
            compared += 1  # refused, which the share of served readings judges
            continue
        if not sample.reads or bound_ns is None:
            continue
        compared += 1
        reading = sample_values.fastest(sample.reads)
        if sample_values.least_distance_ns(reading) > bound_ns:
            exclusions.append(_make_exclusion(reading, bound_ns, _fresh_ntp_offset(sample, name)))
    slots = quantities.count_slots(evidence)
    return BoundCheck(slots=slots, uncompared=slots - compared, exclusions=tuple(exclusions))


def check_collection(facts: Facts | None) -> BoundCheck:
    """Compare the burst of one collection with the bound in it."""
    tracking, reads = (facts.tracking, facts.reads) if facts else (None, None)
    if not tracking or not reads:
        return BoundCheck(slots=1, uncompared=1, exclusions=())
    reading, bound_ns = sample_values.fastest(reads), sample_values.root_distance_bound(tracking)
    excluded = sample_values.least_distance_ns(reading) > bound_ns
    return BoundCheck(slots=1, uncompared=0, exclusions=(_make_exclusion(reading, bound_ns, None),) if excluded else ())


def describe_slow_readings(samples: Sequence[Sample]) -> str | None:
    """Say by how much chrony's bound is too small where most readings take longer than chrony assumes."""
    pairs = [
        (sample_values.fastest(sample.reads).window_ns, sample.tracking.root_delay_ns)
        for sample in samples
        if sample.reads and sample.tracking and _follows_phc(sample)
    ]
    if not pairs:
        return None
    window_ns, delay_ns = summary.median([window for window, _ in pairs]), summary.median([delay for _, delay in pairs])
    if window_ns <= delay_ns:
        return None
    return (
        f"half of the readings took more than {units.ns(window_ns)}, and chrony assumes {units.ns(delay_ns)}: "
        f"its bound is up to {units.ns((window_ns - delay_ns) / 2)} too small (chrony_phc_delay_s)"
    )


def _follows_phc(sample: Sample) -> bool:
    """Whether the selected source is a refclock, whose assumed delay is the root delay."""
    return any(source.mode == "#" and source.state == "*" for source in sample.sources or ())


def _fresh_ntp_offset(sample: Sample, name: str | None) -> int | None:
    """System clock minus NTP in nanoseconds, by an answer of this second."""
    answer = quantities.find_fresh_answer(sample, name)
    return None if answer is None or answer.last_rx_s is None else answer.offset_ns


def _make_exclusion(reading: PhcRead, bound_ns: int, ntp_offset_ns: int | None) -> Exclusion:
    return Exclusion(
        offset_ns=sample_values.middle_offset_ns(reading),
        window_ns=reading.window_ns,
        bound_ns=bound_ns,
        ntp_offset_ns=ntp_offset_ns,
    )
