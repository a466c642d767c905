"""Define the limits that a clock must meet: a table for each bench, and the changes by a campaign."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import RequestError
from harness.model.bench_traits import traits_of
from harness.untrusted.nearest import format_suggestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A limit: `quantity`'s `statistic` must be `comparison` `value`. Not judged below `min_samples`.

    `valid_for`: the conditions under which the limit is valid. `source`: where the number comes from.
    """

    quantity: str
    statistic: str
    comparison: str  # "<=" or ">="
    value: float
    unit: str  # "ns", "ppb", "s" or "ratio"
    min_samples: int
    valid_for: str
    source: str

    def is_met_by(self, observed: float) -> bool:
        """Whether a value is within the limit. A value equal to the limit is within."""
        return observed <= self.value if self.comparison == "<=" else observed >= self.value


STATISTICS: Mapping[str, tuple[str, ...]] = {
    "offset_ns": ("p99_abs", "median_abs", "max"),
    "chrony_bound_ns": ("p99", "max"),
    "error_bound_ns": ("max", "p99"),
    "phc_read_success": ("min",),
    "phc_offset_ns": ("median_abs", "p99_abs"),
    "second_opinion_offset_ns": ("median_abs", "p99_abs"),
    "second_opinion_drift_ppb": ("max",),
    "convergence_s": ("max",),
}
"""The statistics that make sense for each quantity. `max` of a signed quantity is its largest absolute value."""

UNITS: Mapping[str, str] = {
    "offset_ns": "ns",
    "chrony_bound_ns": "ns",
    "error_bound_ns": "ns",
    "phc_read_success": "ratio",
    "phc_offset_ns": "ns",
    "second_opinion_offset_ns": "ns",
    "second_opinion_drift_ppb": "ppb",
    "convergence_s": "s",
}
"""The unit of each quantity's limits: "ns", "ppb", "s" or "ratio"."""


def _limit(quantity: str, statistic: str, value: float, min_samples: int, valid_for: str, source: str) -> Requirement:
    return Requirement(
        quantity=quantity,
        statistic=statistic,
        comparison=">=" if statistic == "min" else "<=",
        value=value,
        unit=UNITS[quantity],
        min_samples=min_samples,
        valid_for=valid_for,
        source=source,
    )


_EVERY_SECOND = "chronyd reads the PHC at least once a second, sampled once a second"
_EVERY_UPDATE = "chronyd corrects the clock about once a second; a sample without a new correction does not count"
_AWS = "default for EC2: "
_LAB = "lab default; emulation noise was "
_NTP = "NTP through user-mode networking"
_READS = "ENA driver: errors must stay below 1 % of requests (amzn-drivers, PHC section of README)"

EC2: tuple[Requirement, ...] = (
    _limit("phc_read_success", "min", 0.99, 100, "at most 125 readings a second in all", _READS),
    _limit("offset_ns", "p99_abs", 1_000, 45, _EVERY_UPDATE, _AWS + "public runs show 24-100 ns RMS"),
    _limit("chrony_bound_ns", "p99", 25_000, 60, _EVERY_SECOND, _AWS + "half of the error bound's limit"),
    _limit("error_bound_ns", "max", 50_000, 60, _EVERY_SECOND, _AWS + "public runs show 20-30 us"),
    _limit("phc_offset_ns", "median_abs", 5_000, 60, "the fastest reading of each burst", _AWS + "half of delay 10 us"),
    _limit(
        "second_opinion_offset_ns",
        "median_abs",
        1_000_000,
        5,
        "NTP inside the Region",
        _AWS + "NTP is good to some 100 us",
    ),
    _limit(
        "second_opinion_drift_ppb",
        "max",
        1_000,
        10,
        "NTP inside the Region, over minutes",
        _AWS + "100 us of NTP noise in 5 min",
    ),
    _limit("convergence_s", "max", 120, 1, "from chronyd's start", _AWS + "AWS's settings converge in some 10 s"),
)

LAB: tuple[Requirement, ...] = (
    _limit("phc_read_success", "min", 0.99, 100, "at most 125 readings a second in all", _READS),
    _limit("offset_ns", "p99_abs", 3_000_000, 20, _EVERY_UPDATE, _LAB + "40-575 us"),
    _limit("chrony_bound_ns", "p99", 6_000_000, 20, _EVERY_SECOND, _LAB + "75-1,700 us"),
    _limit("error_bound_ns", "max", 10_000_000, 20, _EVERY_SECOND, "lab default: chrony's bound, and the device's"),
    _limit("phc_offset_ns", "median_abs", 2_000_000, 20, "the fastest reading of each burst", _LAB + "35-335 us"),
    _limit(
        "second_opinion_offset_ns", "median_abs", 5_000_000, 5, _NTP, _LAB + "160-365 us seen, single answers to 2 ms"
    ),
    _limit("second_opinion_drift_ppb", "max", 50_000, 8, _NTP + ", over a minute", _LAB + "3-15 ppm"),
    _limit("convergence_s", "max", 120, 1, "from chronyd's start", _LAB + "3-7 s"),
)
"""From lab runs on two cores, idle to six guests. The clock is at fault where values are far outside."""

TABLES: Mapping[str, tuple[Requirement, ...]] = {"ec2": EC2, "lab": LAB}


def requirements(bench: str, overrides: Mapping[str, Mapping[str, float]] | None = None) -> tuple[Requirement, ...]:
    """Return the bench's limits, changed by a campaign's `limits: {quantity: {statistic: value}}`.

    A campaign's limits for a quantity replace all limits of the table for this quantity. Raises RequestError that
    names every unknown quantity and statistic, with the nearest known one.
    """
    table, changes = TABLES[traits_of(bench).limits], overrides or {}
    messages = find_limit_mistakes(changes)
    if messages:
        raise RequestError("; ".join(messages), next_step=f"quantities are {', '.join(STATISTICS)}")
    unchanged = [limit for limit in table if limit.quantity not in changes]
    changed = [
        _override(next(limit for limit in table if limit.quantity == quantity), statistic, value)
        for quantity, limits in changes.items()
        for statistic, value in limits.items()
    ]
    order = list(STATISTICS)
    return tuple(sorted([*unchanged, *changed], key=lambda limit: order.index(limit.quantity)))


def find_limit_mistakes(overrides: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Describe every unknown quantity and statistic, one message for each."""
    return [mistake for quantity, limits in overrides.items() for mistake in _quantity_mistakes(quantity, limits)]


def _override(limit: Requirement, statistic: str, value: float) -> Requirement:
    return _limit(limit.quantity, statistic, value, limit.min_samples, limit.valid_for, "the campaign")


def _quantity_mistakes(quantity: str, statistic_limits: Mapping[str, object]) -> list[str]:
    statistics = STATISTICS.get(quantity)
    if statistics is None:
        return [f"unknown limit {quantity!r}{format_suggestion(quantity, tuple(STATISTICS))}"]
    if not statistic_limits:
        return [f"limit {quantity} names no statistic: {', '.join(statistics)}"]
    valid = ", ".join(statistics)
    return [
        f"unknown statistic {statistic!r} of {quantity}{format_suggestion(statistic, statistics)}: {valid}"
        for statistic in statistic_limits
        if statistic not in statistics
    ]
