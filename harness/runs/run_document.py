"""Build what is known of a run and of its hosts, also before its end, as JSON-ready data."""

import datetime
from collections.abc import Iterable
from typing import Any

from harness import units
from harness.model import HostState
from harness.report.document import SCHEMA, host_document
from harness.store.ledger_lines import HostLine, StepLine
from harness.store.run_overview import RunOverview


def build_document(overview: RunOverview, hosts: Iterable[HostLine], steps: Iterable[StepLine]) -> dict[str, Any]:
    """Build a run with these hosts and steps of it."""
    until = overview.kept_until
    return {
        "schema": SCHEMA,
        "run": overview.line.run,
        "bench": overview.line.bench,
        "started": overview.started.isoformat(),
        "state": overview.state,
        "kept_until": None if until is None else until.isoformat(),
        "kept_cost_usd": overview.kept_cost_usd,
        "hosts": [build_host_document(line) for line in hosts],
        "steps": [build_step_document(step) for step in steps],
    }


def build_host_document(line: HostLine) -> dict[str, Any]:
    """Build a host; before its verdict, what the campaign asked for."""
    if line.record is None:
        return {"name": line.host, "instance_type": line.instance_type, "outcome": None, "state": line.state}
    kept = {
        "kept_until": None if line.kept_until_ns is None else units.utc(line.kept_until_ns),
        "kept_by": line.kept_by,
    }
    return {**host_document(line.record), "state": line.state, **(kept if line.state is HostState.KEPT else {})}


def build_step_document(step: StepLine) -> dict[str, Any]:
    """Build a step."""
    seconds = None if step.ended_ns is None else round((step.ended_ns - step.begun_ns) / 1e9, 3)
    begun = datetime.datetime.fromtimestamp(step.begun_ns / 1e9, datetime.UTC)
    return {
        "token": step.token,
        "stage": step.stage,
        "begun": begun.isoformat(timespec="milliseconds"),
        "seconds": seconds,
        "result": step.result,
    }
