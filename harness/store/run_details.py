"""Read a run with its hosts for one page, without their whole records: verdicts, figures, stages and states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql

from harness.model import HostState, Outcome
from harness.store.host_progress import select_latest_steps
from harness.store.ledger import Ledger
from harness.store.ledger_lines import StepLine
from harness.store.ledger_reader import LAST, make_step_line
from harness.store.run_pages import SUMMARY_LINES, TYPES_SHOWN, RunSummary, make_summary
from harness.store.tables import HOSTS, RUNS

_RUN = SUMMARY_LINES.add_columns(RUNS.c.events, RUNS.c.record).where(RUNS.c.run == sql.bindparam("of_run"))
_HOSTS = (
    sql.select(
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
    )
    .where(HOSTS.c.run == sql.bindparam("of_run"))
    .order_by(HOSTS.c.position)
)
_STEPS = select_latest_steps(HOSTS.c.run == sql.bindparam("of_run"))


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

    `record`: what was recorded of the run at its end, without its hosts; None before. `steps`: the latest of each
    host, by the host's name, of a run that has not ended.
    """

    summary: RunSummary
    events: int
    record: Mapping[str, Any] | None
    hosts: Sequence[HostOverview]
    steps: Mapping[str, StepLine] = field(default_factory=dict)


def read_details(ledger: Ledger, name: str) -> RunDetails:
    """Read a run by its name, or the newest as `last`. Raises UnknownRunError."""
    run = ledger.find(name).run if name == LAST else name

    def read(db: sql.Connection) -> tuple[Any, list[HostOverview], list[StepLine]] | None:
        row = db.execute(_RUN, {"of_run": run}).first()
        if row is None:
            return None
        steps = [] if row.record is not None else db.execute(_STEPS, {"of_run": run}).all()
        return row, _read_hosts(db, run), [make_step_line(step) for step in steps]

    found = ledger.database.read(read)
    if found is None:
        ledger.find(run)  # raises the error that tells the latest names
        raise LookupError(f"run {run} was put into the ledger this moment")
    row, hosts, steps = found
    kept = [host for host in hosts if host.state is HostState.KEPT]
    summary = make_summary(
        row,
        hosts=len(hosts),
        kept=len(kept),
        kept_until_ns=min((host.kept_until_ns for host in kept if host.kept_until_ns is not None), default=None),
        types=(host.instance_type for host in hosts[:TYPES_SHOWN]),
    )
    return RunDetails(
        summary=summary, events=row.events, record=row.record, hosts=hosts, steps={step.host: step for step in steps}
    )


def _read_hosts(db: sql.Connection, run: str) -> list[HostOverview]:
    return [
        HostOverview(
            **{
                **row,
                "state": HostState(row["state"]) if row["state"] else None,
                "outcome": Outcome(row["outcome"]) if row["outcome"] else None,
            }
        )
        for row in db.execute(_HOSTS, {"of_run": run}).mappings().all()
    ]
