"""What is known of each type's clock: the API's claim, what was measured, and where the two contradict each other?"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.model import Claim, HostRecord, Outcome, Reason, RungName, RungStatus

ENA = "ena"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One verdict with what it stands for. None: not known, in the words of the version that recorded it."""

    instance_type: str
    region: str | None
    zone: str | None
    image: str | None
    run: str
    date: str  # UTC, ISO 8601, of the run's beginning
    outcome: Outcome
    reason: Reason
    clock: bool | None  # whether it has one; None: that was not found out
    kernel: str | None
    driver: str | None
    chrony: str | None
    claim: Claim | None  # as it was then


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeKnowledge:
    """One type: the claim of now, the measurement that says most, and the sentence when they do not agree."""

    instance_type: str
    claim: bool | None
    measured: Measurement | None
    contradiction: str | None


def measurement_of(
    record: HostRecord, *, run: str, started_ns: int, region: str | None, image: str | None
) -> Measurement:
    """A host's record in these words; Region and image of the campaign stand in where it has none itself."""
    facts = record.facts
    drivers = [one for one in (facts.drivers if facts else None) or () if one.name == ENA]
    began = datetime.datetime.fromtimestamp(started_ns // 10**9, datetime.UTC)
    return Measurement(
        instance_type=record.instance_type,
        region=record.region or region,
        zone=record.zone,
        image=record.image or image,
        run=run,
        date=began.isoformat(timespec="seconds"),
        outcome=record.verdict.outcome,
        reason=record.verdict.reason,
        clock=_clock(record),
        kernel=facts.kernel if facts else None,
        driver=next((one.version for one in drivers if one.version), None),
        chrony=facts.chrony_version if facts else None,
        claim=record.claim,
    )


def _clock(record: HostRecord) -> bool | None:
    """Whether it was proven that the host has a clock, or by the driver's own word that it has none."""
    present = [rung for rung in record.verdict.rungs if rung.name is RungName.CLOCK_PRESENT]
    if any(rung.status is RungStatus.PROVEN for rung in present):
        return True
    return False if (record.verdict.outcome, record.verdict.reason) == (Outcome.UNSUPPORTED, Reason.NO_PHC) else None


def newest_by_type(found: Iterable[Measurement]) -> Mapping[str, Measurement]:
    """The measurement of each type that counts: the newest that found out whether there is a clock, else the newest."""
    best: dict[str, Measurement] = {}
    for one in sorted(found, key=lambda one: (one.clock is not None, one.date)):
        best[one.instance_type] = one
    return best


def join_measurements(claims: Mapping[str, bool | None], found: Iterable[Measurement]) -> tuple[TypeKnowledge, ...]:
    """Every type of `claims`, in its order, then those that were measured and are claimed nothing about any more."""
    best = newest_by_type(found)
    gone = {name: None for name in best if name not in claims}
    return tuple(
        TypeKnowledge(
            instance_type=name,
            claim=claim,
            measured=best.get(name),
            contradiction=contradiction(claim, best.get(name)),
        )
        for name, claim in {**claims, **gone}.items()
    )


def last_claims(names: Iterable[str], found: Iterable[Measurement]) -> dict[str, bool | None]:
    """Where no catalogue tells: what was claimed of each type when it was measured last."""
    last = {one.instance_type: one.claim for one in sorted(found, key=lambda one: one.date) if one.claim}
    return {name: last[name].phc_supported if name in last else None for name in names}


def contradiction(claim: bool | None, seen: Measurement | None) -> str | None:
    """Where claim and measurement do not agree. What was not found out, or is not claimed, contradicts nothing."""
    if claim is None or seen is None or seen.clock is None or seen.clock is claim:
        return None
    where = f"on {seen.date[:10]}" + (f" in {seen.zone}" if seen.zone else "") + f" (run {seen.run})"
    if seen.clock:
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
    "claim_then",
    "claim_then_date",
    "contradiction",
    "run",
)
"""Of the exported knowledge: a row for every verdict, and one for every type that has none."""


def export_rows(
    claims: Mapping[str, bool | None], found: Sequence[Measurement], *, region: str, taken: datetime.datetime | None
) -> list[dict[str, str]]:
    """The rows, oldest verdict of a type first; an empty word is what nobody knows."""
    names = [*claims, *(one.instance_type for one in found if one.instance_type not in claims)]
    of_type: dict[str, list[Measurement | None]] = {name: [] for name in names}
    for one in sorted(found, key=lambda one: one.date):
        of_type[one.instance_type].append(one)
    date = taken.date().isoformat() if taken else ""
    return [_row(name, claims.get(name), one, region, date) for name, its in of_type.items() for one in its or [None]]


def _row(name: str, claim: bool | None, one: Measurement | None, region: str, date: str) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row |= {"region": region, "instance_type": name, "claim": _claimed(claim)}
    row |= {"claim_date": date if claim is not None else ""}
    if one is None:
        return row
    then = one.claim
    return row | {
        "region": one.region or region,
        "outcome": one.outcome.value,
        "reason": one.reason.value,
        "clock": "" if one.clock is None else "yes" if one.clock else "no",
        "date": one.date,
        "zone": one.zone or "",
        "image": one.image or "",
        "kernel": one.kernel or "",
        "driver": one.driver or "",
        "chrony": one.chrony or "",
        "claim_then": _claimed(then.phc_supported if then else None),
        "claim_then_date": then.date if then else "",
        "contradiction": contradiction(claim, one) or "",
        "run": one.run,
    }


def _claimed(claim: bool | None) -> str:
    return "" if claim is None else "supported" if claim else "unsupported"
