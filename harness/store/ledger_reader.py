"""Read the ledger: runs, their hosts, steps and verdicts."""

import statistics
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sql

from harness.errors import RequestError
from harness.model import HostState, Outcome, RunRecord, Stage
from harness.store.database import Database, now_ns
from harness.store.event_log import NumberedEvent, read_events
from harness.store.ledger_lines import (
    HostLine,
    HostSummary,
    RunLine,
    StepLine,
    VerdictLine,
    host_adapter,
    run_adapter,
)
from harness.store.owners import make_owner_line, read_now
from harness.store.tables import HOSTS, OWNERS, RUNS, STEPS

LAST = "last"
"""The name of the newest run, accepted wherever a run is named. No run can have this name: names have no "l"."""

_RUN_LINES = sql.select(
    RUNS.c.run,
    RUNS.c.bench,
    RUNS.c.started_ns,
    RUNS.c.attempt,
    RUNS.c.record.is_not(None),
    RUNS.c.holds_passed,
    RUNS.c.stopping,
    *OWNERS.c,
    now_ns(),
).join(OWNERS, OWNERS.c.owner == RUNS.c.owner)
_TYPICAL_OF = 5  # latest runs of a type
_NEWEST_FIRST = (RUNS.c.started_ns.desc(), RUNS.c.run)


class LedgerReader:
    """The questions that a ledger answers. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def url(self) -> str:
        """The URL of the database, without its password."""
        return self.database.label

    def now_ns(self) -> int:
        """The database's time, ns since the epoch: all times in the ledger are of it."""
        return self.database.read(read_now)

    def runs(self) -> list[RunLine]:
        """List all runs, newest first."""
        return self._run_lines(_RUN_LINES.order_by(*_NEWEST_FIRST))

    def find(self, run: str) -> RunLine:
        """Find a run by its name, or the newest as `last`. Raises RequestError, with the latest names, without one."""
        query = _RUN_LINES.order_by(*_NEWEST_FIRST).limit(1) if run == LAST else _RUN_LINES.where(RUNS.c.run == run)
        lines = self._run_lines(query)
        if lines:
            return lines[0]
        if run == LAST:
            raise RequestError("there is no run yet", next_step="`ptp-harness run lab.phc` makes one")
        newest = sql.select(RUNS.c.run).order_by(*_NEWEST_FIRST).limit(5)
        latest = ", ".join(self.database.read(lambda db: [*db.execute(newest).scalars()])) or "none yet"
        raise RequestError(f"there is no run {run!r}", next_step=f"latest runs: {latest}; `ptp-harness runs` lists all")

    def campaign(self, run: str) -> Mapping[str, Any]:
        """Return the campaign of a run as it was recorded. Raises RequestError when there is no such run."""
        self.find(run)
        query = sql.select(RUNS.c.campaign).where(RUNS.c.run == run)
        return dict(self.database.read(lambda db: db.execute(query).scalar_one()))

    def hosts(self, run: str) -> list[HostLine]:
        """List the hosts of a run, in the order of the campaign."""
        query = HOSTS.select().where(HOSTS.c.run == run).order_by(HOSTS.c.position)
        return [make_host_line(row) for row in self.database.read(lambda db: db.execute(query).all())]

    def host_summaries(self) -> list[HostSummary]:
        """List the hosts of all runs in the order of each campaign, without reading their whole records."""
        token = HOSTS.c.run + "/" + HOSTS.c.host + "/" + sql.cast(HOSTS.c.attempt, sql.String)
        provision = (STEPS.c.token == token) & (STEPS.c.stage == Stage.PROVISION)
        begun_ns = sql.select(sql.func.max(STEPS.c.begun_ns)).where(provision).scalar_subquery()
        outcome, lease_s = HOSTS.c.record["verdict"]["outcome"].as_string(), RUNS.c.campaign["lease_s"].as_float()
        columns = (HOSTS.c.run, HOSTS.c.host, HOSTS.c.instance_type, HOSTS.c.state, outcome, begun_ns, lease_s)
        query = sql.select(*columns).join(RUNS, RUNS.c.run == HOSTS.c.run).order_by(HOSTS.c.run, HOSTS.c.position)
        return [
            HostSummary(
                run=run,
                host=host,
                instance_type=instance_type,
                state=HostState(state) if state else None,
                outcome=Outcome(outcome) if outcome else None,
                begun_ns=begun_ns,
                lease_s=lease_s,
            )
            for run, host, instance_type, state, outcome, begun_ns, lease_s in self.database.read(
                lambda db: db.execute(query).all()
            )
        ]

    def verdicts(self, bench: str) -> list[VerdictLine]:
        """List all verdicts of a bench, newest run first. Records of early versions have fewer fields."""
        columns = (RUNS.c.run, RUNS.c.started_ns, RUNS.c.campaign, HOSTS.c.record)
        query = (
            sql.select(*columns)
            .join(HOSTS, HOSTS.c.run == RUNS.c.run)
            .where(RUNS.c.bench == bench, HOSTS.c.record.is_not(None))
            .order_by(RUNS.c.started_ns.desc(), HOSTS.c.position)
        )
        return [
            VerdictLine(
                run=row.run,
                bench=bench,
                started_ns=row.started_ns,
                region=row.campaign.get("region"),
                image=row.campaign.get("image"),
                record=host_adapter().validate_python(row.record),
            )
            for row in self.database.read(lambda db: db.execute(query).all())
            if row.record is not None
        ]

    def typical_durations_s(self, bench: str, instance_types: Collection[str]) -> dict[str, float]:
        """Find how long a host of each type took, s: the median of its latest runs. Types that were never run lack."""
        latest = sql.func.row_number().over(partition_by=HOSTS.c.instance_type, order_by=RUNS.c.started_ns.desc())
        ranked = (
            sql.select(HOSTS.c.instance_type, HOSTS.c.record["stages"].label("stages"), latest.label("rank"))
            .join(RUNS, RUNS.c.run == HOSTS.c.run)
            .where(RUNS.c.bench == bench, HOSTS.c.instance_type.in_(instance_types), HOSTS.c.record.is_not(None))
            .subquery()
        )
        query = sql.select(ranked.c.instance_type, ranked.c.stages).where(ranked.c.rank <= _TYPICAL_OF)
        seconds: dict[str, list[float]] = {}
        for instance_type, stages in self.database.read(lambda db: db.execute(query).all()):
            seconds.setdefault(instance_type, []).append(sum((stages or {}).values()))
        return {instance_type: statistics.median(each) for instance_type, each in seconds.items()}

    def steps(self, run: str) -> list[StepLine]:
        """List all steps of a run in the order in which they were begun."""
        query = STEPS.select().where(STEPS.c.token.startswith(f"{run}/", autoescape=True)).order_by(STEPS.c.id)
        return [
            StepLine(
                token=row.token, stage=Stage(row.stage), begun_ns=row.begun_ns, ended_ns=row.ended_ns, result=row.result
            )
            for row in self.database.read(lambda db: db.execute(query).all())
        ]

    def events(self, run: str, *, after: int = 0, most: int = 1000) -> list[NumberedEvent]:
        """List the events of a run behind a number, in order, at most so many."""
        return self.database.read(lambda db: read_events(db, run, after=after, most=most))

    def record(self, run: str) -> RunRecord | None:
        """Return the record of a run that has ended; None before. Raises RequestError when there is no such run."""
        self.find(run)
        query = sql.select(RUNS.c.record).where(RUNS.c.run == run)
        record = self.database.read(lambda db: db.execute(query).scalar_one())
        if record is None:
            return None
        hosts = [line.record for line in self.hosts(run) if line.record is not None]
        return run_adapter().validate_python(
            {**record, "hosts": [host_adapter().dump_python(host, mode="json") for host in hosts]}
        )

    def _run_lines(self, query: sql.Select[Any]) -> list[RunLine]:
        return [_make_run_line(row) for row in self.database.read(lambda db: db.execute(query).all())]


def make_host_line(row: Any) -> HostLine:
    """Make the line of a row of HOSTS."""
    return HostLine(
        run=row.run,
        host=row.host,
        instance_type=row.instance_type,
        attempt=row.attempt,
        state=HostState(row.state) if row.state else None,
        record=host_adapter().validate_python(row.record) if row.record else None,
        kept_until_ns=row.kept_until_ns,
        kept_by=row.kept_by,
    )


def _make_run_line(row: Any) -> RunLine:
    run, bench, started_ns, attempt, ended, holds_passed, stopping, *owner = row
    return RunLine(
        run=run,
        bench=bench,
        started_ns=started_ns,
        owner=make_owner_line(owner),
        attempt=attempt,
        ended=bool(ended),
        holds_passed=holds_passed,
        stopping=stopping,
    )
