"""Read a run with its hosts for one page, without their whole records: verdicts, figures, stages and states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql

from harness.model import HostState, Outcome
from harness.store.ledger import Ledger
from harness.store.ledger_lines import StepLine
from harness.store.run_pages import RunSummary, find_summary
from harness.store.tables import HOSTS, RUNS

_LINES = sql.select(
    HOSTS.c.host,
    HOSTS.c.instance_type,
    HOSTS.c.attempt,
    HOSTS.c.state,
    HOSTS.c.outcome,
    HOSTS.c.record[("verdict", "reason")].as_string().label("reason"),
    HOSTS.c.record[("verdict", "sentence")].as_string().label("sentence"),
    HOSTS.c.region,
    HOSTS.c.offset_p99_ns,
    HOSTS.c.bound_p99_ns,
    HOSTS.c.kept_until_ns,
    HOSTS.c.kept_by,
).order_by(HOSTS.c.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOverview:
    """A host as the page of its run shows it. Without a verdict, `outcome`, `reason` and `sentence` are None."""

    host: str
    instance_type: str
    attempt: int
    state: HostState | None
    outcome: Outcome | None
    reason: str | None
    sentence: str | None
    region: str | None
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    kept_until_ns: int | None
    kept_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """A run with its hosts in the order of its campaign. `events`: how many there are so far.

    `record`: what was recorded of the run at its end, without its hosts; None before. `steps`: of a run that has not
    ended, in the order in which they were begun.
    """

    summary: RunSummary
    events: int
    record: Mapping[str, Any] | None
    hosts: Sequence[HostOverview]
    steps: Sequence[StepLine] = field(default_factory=tuple)


def read_details(ledger: Ledger, name: str) -> RunDetails:
    """Read a run by its name, or the newest as `last`. Raises UnknownRunError."""
    run = ledger.find(name).run
    summary = find_summary(ledger.database, run)
    if summary is None:
        raise LookupError(f"run {run} is in the ledger and was not read")
    of_run = sql.select(RUNS.c.events, RUNS.c.record).where(RUNS.c.run == run)
    head = ledger.database.read(lambda db: db.execute(of_run).one())
    return RunDetails(
        summary=summary,
        events=head.events,
        record=head.record,
        hosts=list_hosts(ledger, run),
        steps=() if summary.line.ended else ledger.steps(run),
    )


def list_hosts(ledger: Ledger, run: str) -> list[HostOverview]:
    """List the hosts of a run in the order of its campaign."""
    rows = ledger.database.read(lambda db: db.execute(_LINES.where(HOSTS.c.run == run)).mappings().all())
    return [
        HostOverview(
            **{
                **row,
                "state": HostState(row["state"]) if row["state"] else None,
                "outcome": Outcome(row["outcome"]) if row["outcome"] else None,
            }
        )
        for row in rows
    ]
