"""Read how far each host of a run is: its latest step, and of its verdict what a list shows, without whole records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model import HostState, Outcome, Stage, Token
from harness.model.cloud import HostInUse
from harness.store.database import Database
from harness.store.ledger_lines import StepLine
from harness.store.ledger_reader import make_step_line
from harness.store.tables import HOST_TOKEN, HOSTS, RUNS, STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProgress:
    """A host of a run. `step`: the latest of its present attempt. `rungs`: (name, status) of its ladder.

    `outcome` is None before its verdict, and so is what belongs to that. `attempt` is 0 before it was begun.
    """

    host: str
    instance_type: str
    attempt: int
    state: HostState | None
    step: StepLine | None
    outcome: Outcome | None
    reason: str | None
    sentence: str | None
    rungs: Sequence[tuple[str, str]]
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    kept_until_ns: int | None


_VERDICT = HOSTS.c.record["verdict"].label("verdict")
_COLUMNS = (
    HOSTS.c.host, HOSTS.c.instance_type, HOSTS.c.attempt, HOSTS.c.state, HOSTS.c.outcome, HOSTS.c.offset_p99_ns,
    HOSTS.c.bound_p99_ns, HOSTS.c.kept_until_ns, HOSTS.c.position,
)  # fmt: skip


def list_progress(database: Database, run: str, *, after: int = -1, most: int = 200) -> list[HostProgress]:
    """List the hosts of a run behind a position, in the order of its campaign, at most so many."""
    chosen = sql.and_(HOSTS.c.run == run, HOSTS.c.position > after)
    hosts = sql.select(*_COLUMNS, _VERDICT).where(chosen).order_by(HOSTS.c.position).limit(most)
    steps = select_latest_steps(chosen)

    def read(db: sql.Connection) -> list[HostProgress]:
        lines = [make_step_line(row) for row in db.execute(steps).all()]
        by_host = {line.host: line for line in lines}
        return [_make_progress(row, by_host) for row in db.execute(hosts).all()]

    return database.read(read)


def list_hosts_in_use(database: Database, bench: str) -> list[HostInUse]:
    """List the hosts of a bench that processes work on, of all runs."""
    launched = sql.exists().where(STEPS.c.token == HOST_TOKEN, STEPS.c.stage != Stage.PROVISION)
    query = (
        sql.select(HOSTS.c.run, HOSTS.c.host, HOSTS.c.attempt, HOSTS.c.instance_type)
        .add_columns(RUNS.c.campaign["region"].as_string().label("region"), launched.label("launched"))
        .join(RUNS, RUNS.c.run == HOSTS.c.run)
        .where(RUNS.c.bench == bench, RUNS.c.record.is_(None), HOSTS.c.owner.is_not(None), HOSTS.c.state.is_(None))
    )
    return [
        HostInUse(
            token=Token(run=row.run, host=row.host, attempt=row.attempt),
            instance_type=row.instance_type,
            region=row.region,
            launched=row.launched,
        )
        for row in database.read(lambda db: db.execute(query).all())
    ]


def select_latest_steps(chosen: sql.ColumnElement[bool]) -> sql.Select[Any]:
    """Select the latest step of the present attempt at each host that a condition on HOSTS chooses."""
    latest = sql.select(sql.func.max(STEPS.c.id)).join(HOSTS, STEPS.c.token == HOST_TOKEN).where(chosen)
    return STEPS.select().where(STEPS.c.id.in_(latest.group_by(STEPS.c.token)))


def _make_progress(row: Any, latest: Mapping[str, StepLine]) -> HostProgress:
    verdict = row.verdict if isinstance(row.verdict, dict) else {}
    return HostProgress(
        host=row.host,
        instance_type=row.instance_type,
        attempt=row.attempt,
        state=HostState(row.state) if row.state else None,
        step=latest.get(row.host),
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=verdict.get("reason"),
        sentence=verdict.get("sentence"),
        rungs=[(str(rung["name"]), str(rung["status"])) for rung in verdict.get("rungs", ())],
        offset_p99_ns=row.offset_p99_ns,
        bound_p99_ns=row.bound_p99_ns,
        kept_until_ns=row.kept_until_ns,
    )
