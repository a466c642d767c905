"""Read runs with their hosts, without the hosts' whole records: verdicts, figures, stages and states."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model import HostState, Outcome
from harness.store.host_progress import select_latest_steps
from harness.store.ledger import Ledger
from harness.store.ledger_lines import StepLine
from harness.store.ledger_reader import make_step_line
from harness.store.run_pages import SUMMARY_LINES, TYPES_SHOWN, RunSummary, make_summary
from harness.store.tables import HOSTS, RUNS

_NAMES: sql.BindParameter[Any] = sql.bindparam("of_runs", expanding=True)
_OF_RUNS = HOSTS.c.run.in_(_NAMES)
_RUNS = SUMMARY_LINES.add_columns(RUNS.c.events, RUNS.c.record).where(RUNS.c.run.in_(_NAMES))
_HOSTS = (
    sql.select(
        HOSTS.c.run,
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
    .where(_OF_RUNS)
    .order_by(HOSTS.c.run, HOSTS.c.position)
)
_STEPS = select_latest_steps(_OF_RUNS)


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
    steps: Mapping[str, StepLine]


def read_details(ledger: Ledger, names: Collection[str]) -> dict[str, RunDetails]:
    """Read the runs that have these names, with so many queries as for one. A name that no run has is left out."""

    def read(db: sql.Connection) -> tuple[list[Any], list[Any], list[StepLine]]:
        runs = db.execute(_RUNS, {"of_runs": [*names]}).all()
        under_way = [row.run for row in runs if row.record is None]
        steps = db.execute(_STEPS, {"of_runs": under_way}).all() if under_way else ()
        hosts = db.execute(_HOSTS, {"of_runs": [row.run for row in runs]}).all() if runs else ()
        return [*runs], [*hosts], [make_step_line(step) for step in steps]

    runs, host_rows, lines = ledger.database.read(read)
    hosts: dict[str, list[HostOverview]] = {row.run: [] for row in runs}
    for row in host_rows:
        hosts[row.run].append(_make_overview(row))
    steps: dict[str, dict[str, StepLine]] = {row.run: {} for row in runs}
    for line in lines:
        steps[line.run][line.host] = line
    return {row.run: _make_details(row, hosts[row.run], steps[row.run]) for row in runs}


def _make_overview(row: Any) -> HostOverview:
    _, host, instance_type, attempt, state, outcome, *others = row
    reason, sentence, region, offset_p99_ns, bound_p99_ns, kept_until_ns, kept_by = others
    return HostOverview(
        host=host,
        instance_type=instance_type,
        attempt=attempt,
        state=HostState(state) if state else None,
        outcome=Outcome(outcome) if outcome else None,
        reason=reason,
        sentence=sentence,
        region=region,
        offset_p99_ns=offset_p99_ns,
        bound_p99_ns=bound_p99_ns,
        kept_until_ns=kept_until_ns,
        kept_by=kept_by,
    )


def _make_details(row: Any, hosts: Sequence[HostOverview], steps: Mapping[str, StepLine]) -> RunDetails:
    kept = [host for host in hosts if host.state is HostState.KEPT]
    summary = make_summary(
        row,
        hosts=len(hosts),
        kept=len(kept),
        kept_until_ns=min((host.kept_until_ns for host in kept if host.kept_until_ns is not None), default=None),
        types=(host.instance_type for host in hosts[:TYPES_SHOWN]),
    )
    return RunDetails(summary=summary, events=row.events, record=row.record, hosts=hosts, steps=steps)
