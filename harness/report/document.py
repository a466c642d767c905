"""Build the report as plain data, as `--json` prints it. Stable within one schema number."""

from dataclasses import asdict
from typing import Any

from harness.model import HostRecord, RunRecord
from harness.model.outcomes import is_as_expected, worst_outcome
from harness.report.exit_codes import exit_code_of

SCHEMA = 1


def document(record: RunRecord) -> dict[str, Any]:
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


def host_document(host: HostRecord) -> dict[str, Any]:
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
        "stages": {stage.value: seconds for stage, seconds in host.stages.items()},
        "state": host.state,
        "address": host.address,
        "zone": host.zone,
        "region": host.region,
        "image": host.image,
        "claim": None if host.claim is None else asdict(host.claim),
        "api_calls": host.api_calls,
        "cost_usd": host.cost_usd,
    }
