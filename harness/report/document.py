"""Build the report as plain data, as `--json` prints it. Stable within one schema number.

The schema of the report is made of the types here (`report_schema.py`). Data that `asdict` makes is annotated with the
dataclass that it comes from.
"""

from dataclasses import asdict
from typing import Annotated, Any, Literal, TypedDict

from harness.model import (
    Claim,
    ClockQuality,
    Depth,
    Facts,
    Finding,
    HostRecord,
    HostState,
    Outcome,
    Reason,
    Resource,
    RungName,
    RungStatus,
    RunRecord,
    Stage,
)
from harness.model.disturbances import DisturbanceFigures
from harness.model.outcomes import is_as_expected, worst_outcome
from harness.report.exit_codes import exit_code_of

SCHEMA: Literal[1] = 1


class MeasureDocument(TypedDict):
    """How each host was measured."""

    duration_s: float | None
    interval_s: float | None


class RungDocument(TypedDict):
    """A rung of the ladder for one host."""

    rung: RungName
    status: RungStatus
    evidence: str
    reason: Reason | None


class HostDocument(TypedDict):
    """A host with its verdict."""

    name: str
    instance_type: str
    outcome: Outcome
    reason: Reason
    sentence: str
    remedy: str | None
    expected: str | None
    as_expected: bool | None
    rungs: list[RungDocument]
    findings: list[Annotated[dict[str, Any], Finding]]
    contradictions: list[str]
    unobserved: list[str]
    remarks: list[str]
    facts: Annotated[dict[str, Any], Facts] | None
    quality: Annotated[dict[str, Any], ClockQuality] | None
    disturbances: list[Annotated[dict[str, Any], DisturbanceFigures]]
    stages: dict[Stage, float]
    state: HostState
    address: str | None
    zone: str | None
    region: str | None
    image: str | None
    claim: Annotated[dict[str, Any], Claim] | None
    attempts: int
    api_calls: float | None
    cost_usd: float | None


class RunDocument(TypedDict):
    """The report of a run that has ended."""

    schema: Literal[1]
    run: str
    bench: str
    started: str
    seconds: float
    interrupted: bool
    version: str | None
    outcome: Outcome
    exit_code: int
    depth: Depth | None
    measure: MeasureDocument
    hosts: list[HostDocument]
    leftovers: list[Annotated[dict[str, Any], Resource]]
    api_calls: int | None
    cost_usd: float | None
    failures: list[str]
    evidence_unsent: str | None


def document(record: RunRecord) -> RunDocument:
    """Build the run as JSON-ready data. Members may be added within a schema number, never changed or removed."""
    return {
        "schema": SCHEMA,
        "run": record.run,
        "bench": record.bench,
        "started": record.started,
        "seconds": record.seconds,
        "interrupted": record.interrupted,
        "version": record.version,
        "outcome": worst_outcome(host.verdict.outcome for host in record.hosts),
        "exit_code": int(exit_code_of(record)),
        "depth": record.depth,
        "measure": {"duration_s": record.measure_duration_s, "interval_s": record.measure_interval_s},
        "hosts": [host_document(host) for host in record.hosts],
        "leftovers": [asdict(resource) for resource in record.leftovers],
        "api_calls": record.api_calls,
        "cost_usd": record.cost_usd,
        "failures": list(record.failures),
        "evidence_unsent": record.evidence_unsent,
    }


def host_document(host: HostRecord) -> HostDocument:
    """Build one host as JSON-ready data."""
    verdict = host.verdict
    return {
        "name": host.name,
        "instance_type": host.instance_type,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "sentence": verdict.sentence,
        "remedy": verdict.remedy,
        "expected": host.expected,
        "as_expected": is_as_expected(host),
        "rungs": [
            {"rung": rung.name, "status": rung.status, "evidence": rung.evidence, "reason": rung.reason}
            for rung in verdict.rungs
        ],
        "findings": [asdict(finding) for finding in verdict.findings],
        "contradictions": list(verdict.contradictions),
        "unobserved": list(verdict.unobserved),
        "remarks": list(verdict.remarks),
        "facts": None if host.facts is None else asdict(host.facts),
        "quality": None if host.quality is None else asdict(host.quality),
        "disturbances": [asdict(each) for each in host.disturbances],
        "stages": dict(host.stages),
        "state": host.state,
        "address": host.address,
        "zone": host.zone,
        "region": host.region,
        "image": host.image,
        "claim": None if host.claim is None else asdict(host.claim),
        "attempts": host.attempt,
        "api_calls": host.api_calls,
        "cost_usd": host.cost_usd,
    }
