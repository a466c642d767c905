"""Hold chrony's error bound against our own readings of the PHC: the two must not exclude each other.

A reading is a proof: the system clock's time of the reading lies between its two stamps. So system clock minus PHC lies
between `before - phc` and `after - phc`, whatever chronyd estimates.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import units
from harness.analysis import sample_values, summary
from harness.ladder import quantities
from harness.model import Evidence, Facts

if TYPE_CHECKING:
    from harness.analysis.sample_arrays import Flags, Observed


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
    slots = quantities.count_slots(evidence)
    if not evidence.samples:
        return BoundCheck(slots=slots, uncompared=slots, exclusions=())
    from harness.analysis import sample_arrays

    arrays = quantities.to_arrays(evidence)
    bounds, distance = sample_arrays.larger_bounds(arrays.chrony_bound), arrays.least_distance
    # Refusals are compared by the share of served readings.
    refused = arrays.read_count.known & (arrays.read_count.values == 0) & (arrays.read_errors.values != 0)
    compared = distance.known & bounds.known
    excluding = compared & (distance.values > bounds.values)
    return BoundCheck(
        slots=slots,
        uncompared=slots - int(refused.sum()) - int(compared.sum()),
        exclusions=_list_exclusions(evidence, excluding, bounds) if excluding.any() else (),
    )


def _list_exclusions(evidence: Evidence, excluding: "Flags", bounds: "Observed") -> tuple[Exclusion, ...]:
    arrays, name = quantities.to_arrays(evidence), quantities.second_opinion(evidence.facts)
    _, answers = arrays.find_answers(name, fresh_s=quantities.FRESH_S)
    columns = (arrays.phc_offset.values, arrays.window_ns.values, bounds.values, answers.values, answers.known)
    return tuple(
        Exclusion(
            offset_ns=offset_ns, window_ns=window_ns, bound_ns=bound_ns, ntp_offset_ns=ntp_offset_ns if known else None
        )
        for offset_ns, window_ns, bound_ns, ntp_offset_ns, known in zip(
            *(column[excluding].tolist() for column in columns), strict=True
        )
    )


def check_collection(facts: Facts | None) -> BoundCheck:
    """Compare the burst of one collection with the bound in it."""
    tracking, reads = (facts.tracking, facts.reads) if facts else (None, None)
    if not tracking or not reads:
        return BoundCheck(slots=1, uncompared=1, exclusions=())
    reading, bound_ns = sample_values.fastest(reads), sample_values.root_distance_bound(tracking)
    if sample_values.least_distance_ns(reading) <= bound_ns:
        return BoundCheck(slots=1, uncompared=0, exclusions=())
    exclusion = Exclusion(
        offset_ns=sample_values.middle_offset_ns(reading),
        window_ns=reading.window_ns,
        bound_ns=bound_ns,
        ntp_offset_ns=None,
    )
    return BoundCheck(slots=1, uncompared=0, exclusions=(exclusion,))


def describe_slow_readings(evidence: Evidence) -> str | None:
    """Say by how much chrony's bound is too small where most readings take longer than chrony assumes.

    Only where the selected source is a refclock, whose assumed delay is the root delay.
    """
    if not evidence.samples:
        return None
    arrays = quantities.to_arrays(evidence)
    windows, delays = arrays.window_ns, arrays.tracking("root_delay_ns")
    compared = windows.known & delays.known & arrays.has_source(mode="#", state="*")
    if not compared.any():
        return None
    window_ns, delay_ns = (summary.median(each.values[compared].tolist()) for each in (windows, delays))
    if window_ns <= delay_ns:
        return None
    return (
        f"half of the readings took more than {units.ns(window_ns)}, and chrony assumes {units.ns(delay_ns)}: "
        f"its bound is up to {units.ns((window_ns - delay_ns) / 2)} too small (chrony_phc_delay_s)"
    )
