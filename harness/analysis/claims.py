"""Join the API's claim about each type's clock with the measurements, and find contradictions between the two."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness import units
from harness.model import Claim, HostRecord, Outcome, Reason, RungName, RungStatus
from harness.model.quality import Distribution

ENA = "ena"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A verdict, with its circumstances. None: not in the record, which an earlier version may have written."""

    instance_type: str
    region: str | None
    zone: str | None
    image: str | None
    run: str
    date: str  # start of the run, UTC, ISO 8601
    outcome: Outcome
    reason: Reason
    clock: bool | None  # whether the host has a clock; None: not determined
    kernel: str | None
    driver: str | None
    chrony: str | None
    claim: Claim | None  # at the time of the run
    offset_p99_ns: float | None = None  # of the size of system clock minus PHC; this and the following: its figures
    bound_p99_ns: float | None = None  # chrony's bound
    error_bound_p99_ns: float | None = None  # with the device's

    @property
    def widest_bound_p99_ns(self) -> float | None:
        """The bound with the device's; chrony's own where the device publishes none."""
        return self.bound_p99_ns if self.error_bound_p99_ns is None else self.error_bound_p99_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeKnowledge:
    """A type: the current claim, the most informative measurement, and a sentence where the two disagree."""

    instance_type: str
    claim: bool | None
    measured: Measurement | None
    contradiction: str | None


def to_measurement(
    record: HostRecord, *, run: str, started_ns: int, region: str | None, image: str | None
) -> Measurement:
    """Convert a host's record. `region` and `image`, of the campaign, are used where the record has none."""
    facts = record.facts
    drivers = [driver for driver in (facts.drivers if facts else None) or () if driver.name == ENA]
    return Measurement(
        instance_type=record.instance_type,
        region=record.region or region,
        zone=record.zone,
        image=record.image or image,
        run=run,
        date=units.utc(started_ns),
        outcome=record.verdict.outcome,
        reason=record.verdict.reason,
        clock=has_clock(record),
        kernel=facts.kernel if facts else None,
        driver=next((driver.version for driver in drivers if driver.version), None),
        chrony=facts.chrony_version if facts else None,
        claim=record.claim,
        offset_p99_ns=record.quality.offset_ns.p99_abs if record.quality else None,
        bound_p99_ns=_find_p99(record.quality.bound_ns if record.quality else None),
        error_bound_p99_ns=_find_p99(record.quality.error_bound_ns if record.quality else None),
    )


def _find_p99(distribution: Distribution | None) -> float | None:
    return distribution.p99_abs if distribution else None


def has_clock(record: HostRecord) -> bool | None:
    """True: the host is proven to have a clock. False: its driver reported that it has none. None: not determined."""
    present = [rung for rung in record.verdict.rungs if rung.name is RungName.CLOCK_PRESENT]
    if any(rung.status is RungStatus.PROVEN for rung in present):
        return True
    return False if (record.verdict.outcome, record.verdict.reason) == (Outcome.UNSUPPORTED, Reason.NO_PHC) else None


def choose_newest(measurements: Iterable[Measurement]) -> Mapping[str, Measurement]:
    """Choose one measurement per type: the newest that determined whether there is a clock, else the newest."""
    best: dict[str, Measurement] = {}
    for measurement in sorted(measurements, key=lambda measurement: (measurement.clock is not None, measurement.date)):
        best[measurement.instance_type] = measurement
    return best


def join_measurements(
    claims: Mapping[str, bool | None], measurements: Iterable[Measurement]
) -> tuple[TypeKnowledge, ...]:
    """List every type of `claims`, in its order, then the measured types that are no longer in `claims`."""
    best = choose_newest(measurements)
    unlisted = {name: None for name in best if name not in claims}
    return tuple(
        TypeKnowledge(
            instance_type=name,
            claim=claim,
            measured=best.get(name),
            contradiction=describe_contradiction(claim, best.get(name)),
        )
        for name, claim in {**claims, **unlisted}.items()
    )


def find_last_claims(names: Iterable[str], measurements: Iterable[Measurement]) -> dict[str, bool | None]:
    """Find the claim about each type at its last measurement, for use without a catalogue. None: no recorded claim."""
    newest = {
        measurement.instance_type: measurement.claim
        for measurement in sorted(measurements, key=lambda measurement: measurement.date)
        if measurement.claim
    }
    return {name: newest[name].phc_supported if name in newest else None for name in names}


def describe_contradiction(claim: bool | None, measurement: Measurement | None) -> str | None:
    """Describe the disagreement of claim and measurement. None: no disagreement, or one of the two is unknown."""
    if claim is None or measurement is None or measurement.clock is None or measurement.clock is claim:
        return None
    where = (
        f"on {measurement.date[:10]}"
        + (f" in {measurement.zone}" if measurement.zone else "")
        + f" (run {measurement.run})"
    )
    if measurement.clock:
        return f"the API says unsupported, and a clock was there {where}"
    return f"the API says supported, and the driver said that the device has none {where}"


COLUMNS = (
    "region",
    "instance_type",
    "claim",
    "claim_date",
    "outcome",
    "reason",
    "clock",
    "date",
    "zone",
    "image",
    "kernel",
    "driver",
    "chrony",
    "offset_p99_ns",
    "bound_p99_ns",
    "error_bound_p99_ns",
    "claim_then",
    "claim_then_date",
    "contradiction",
    "run",
)
"""Columns of the export. The export has a row for every verdict, and a row for every type without a verdict."""


def build_export_rows(
    claims: Mapping[str, bool | None],
    measurements: Sequence[Measurement],
    *,
    region: str,
    taken: datetime.datetime | None,
) -> list[dict[str, str]]:
    """Build the rows of the export, the oldest verdict of a type first. An empty string means unknown."""
    names = [
        *claims,
        *(measurement.instance_type for measurement in measurements if measurement.instance_type not in claims),
    ]
    by_type: dict[str, list[Measurement | None]] = {name: [] for name in names}
    for measurement in sorted(measurements, key=lambda measurement: measurement.date):
        by_type[measurement.instance_type].append(measurement)
    date = taken.date().isoformat() if taken else ""
    return [
        _row(name, claims.get(name), measurement, region, date)
        for name, recorded in by_type.items()
        for measurement in recorded or [None]
    ]


def _row(name: str, claim: bool | None, measurement: Measurement | None, region: str, date: str) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row |= {"region": region, "instance_type": name, "claim": _claim_text(claim)}
    row |= {"claim_date": date if claim is not None else ""}
    if measurement is None:
        return row
    recorded_claim = measurement.claim
    return row | {
        "region": measurement.region or region,
        "outcome": measurement.outcome.value,
        "reason": measurement.reason.value,
        "clock": "" if measurement.clock is None else "yes" if measurement.clock else "no",
        "date": measurement.date,
        "zone": measurement.zone or "",
        "image": measurement.image or "",
        "kernel": measurement.kernel or "",
        "driver": measurement.driver or "",
        "chrony": measurement.chrony or "",
        "offset_p99_ns": _number_text(measurement.offset_p99_ns),
        "bound_p99_ns": _number_text(measurement.bound_p99_ns),
        "error_bound_p99_ns": _number_text(measurement.error_bound_p99_ns),
        "claim_then": _claim_text(recorded_claim.phc_supported if recorded_claim else None),
        "claim_then_date": recorded_claim.date if recorded_claim else "",
        "contradiction": describe_contradiction(claim, measurement) or "",
        "run": measurement.run,
    }


def _number_text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _claim_text(claim: bool | None) -> str:
    return "" if claim is None else "supported" if claim else "unsupported"
