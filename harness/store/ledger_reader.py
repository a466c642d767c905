"""Read the ledger: runs, their hosts, steps and verdicts."""

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sql

from harness.errors import ConflictError, UnknownNameError
from harness.model import HostState, Outcome, RunRecord, Stage
from harness.store.database import Database, now_ns
from harness.store.event_log import NumberedEvent, read_events, read_latest_events
from harness.store.ledger_lines import (
    HostLine,
    HostSummary,
    RunLine,
    StepLine,
    VerdictLine,
    host_adapter,
    run_adapter,
)
from harness.store.owners import describe_owner, make_owner_line, read_now
from harness.store.run_query import (
    NEWEST_FIRST,
    RunOrder,
    RunPlace,
    RunQuery,
    apply_query,
    begun_before,
    figure_of_order,
)
from harness.store.tables import HOST_TOKEN, HOSTS, OWNERS, RUNS, STEPS

LAST = "last"
"""The name of the newest run, accepted wherever a run is named. No run can have this name: names have no "l"."""

RUN_LINES = sql.select(
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
_OF_TOKENS = STEPS.select().where(STEPS.c.token.in_(sql.bindparam("tokens", expanding=True)))
_MOST_NAMES = 500  # in one statement: SQLite takes 32,766 values, and a long statement is slow to parse
_TYPICAL_OF = 5  # latest runs of a type


class UnknownRunError(UnknownNameError):
    """A name that no run has."""


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

    def runs(
        self,
        *,
        most: int | None = None,
        before: str | None = None,
        after: str | None = None,
        query: RunQuery = RunQuery(),  # noqa: B008 (it is frozen)
    ) -> list[RunLine]:
        """List the runs that `query` chooses, in its order; at most so many.

        `before`: those that were begun before this run; `after`: those that come after this run in the order of the
        list. Raises RequestError when there is no run of that name.
        """
        place = None if after is None else self._find_place(after, query.order)
        older = [] if before is None else [begun_before(self._find_place(before, RunOrder.NEWEST))]
        alive = self._find_living_leaders() if query.state is not None else ()
        return self._run_lines(apply_query(RUN_LINES, query, place, alive=alive, most=most, conditions=older))

    def _find_place(self, name: str, order: RunOrder) -> RunPlace:
        line, column = self.find(name), figure_of_order(order)
        figure = None
        if column is not None:
            query = sql.select(column).where(RUNS.c.run == line.run)
            figure = self.database.read(lambda db: db.execute(query).scalar())
        return RunPlace(run=line.run, started_ns=line.started_ns, figure=figure)

    def _find_living_leaders(self) -> list[str]:
        return self.database.read(find_living_leaders)

    def open_runs(self, bench: str) -> list[RunLine]:
        """List the runs of a bench that have not ended, newest first."""
        query = RUN_LINES.where(RUNS.c.bench == bench, RUNS.c.record.is_(None))
        return self._run_lines(query.order_by(*NEWEST_FIRST))

    def runs_that_keep(self, bench: str) -> list[RunLine]:
        """List the runs of a bench that have kept hosts, newest first."""
        keeps = sql.exists().where(HOSTS.c.run == RUNS.c.run, HOSTS.c.state == HostState.KEPT)
        return self._run_lines(RUN_LINES.where(RUNS.c.bench == bench, keeps).order_by(*NEWEST_FIRST))

    def regions(self, bench: str) -> list[str]:
        """List the Regions that the hosts and campaigns of a bench name, by name."""
        return self._find_regions(RUNS.c.bench == bench)

    def regions_of_run(self, run: str) -> list[str]:
        """List the Regions that a run's hosts and its campaign name, by name."""
        return self._find_regions(RUNS.c.run == run)

    def _find_regions(self, runs: sql.ColumnElement[bool]) -> list[str]:
        of_campaigns = sql.select(RUNS.c.campaign["region"].as_string()).where(runs)
        of_hosts = sql.select(HOSTS.c.region).join(RUNS, RUNS.c.run == HOSTS.c.run).where(runs)
        found = self.database.read(lambda db: {*db.execute(of_campaigns).scalars(), *db.execute(of_hosts).scalars()})
        return sorted(region for region in found if region)

    def knows_bench(self, bench: str) -> bool:
        """Whether a run of this bench was ever recorded."""
        query = sql.select(RUNS.c.run).where(RUNS.c.bench == bench).limit(1)
        return self.database.read(lambda db: db.execute(query).first()) is not None

    def runs_named(self, names: Collection[str]) -> dict[str, RunLine]:
        """Find runs by name. Unknown names lack."""
        found: dict[str, RunLine] = {}
        for some in _in_parts(sorted(names)):
            found |= {line.run: line for line in self._run_lines(RUN_LINES.where(RUNS.c.run.in_(some)))}
        return found

    def find(self, run: str) -> RunLine:
        """Find a run by its name, or the newest as `last`. Raises RequestError, with the latest names, without one."""
        query = RUN_LINES.order_by(*NEWEST_FIRST).limit(1) if run == LAST else RUN_LINES.where(RUNS.c.run == run)
        lines = self._run_lines(query)
        if lines:
            return lines[0]
        if run == LAST:
            raise UnknownRunError("there is no run yet", next_step="`ptp-harness run lab.phc` makes one")
        newest = sql.select(RUNS.c.run).order_by(*NEWEST_FIRST).limit(5)
        latest = ", ".join(self.database.read(lambda db: [*db.execute(newest).scalars()])) or "none yet"
        raise UnknownRunError(
            f"there is no run {run!r}", next_step=f"latest runs: {latest}; `ptp-harness runs` lists all"
        )

    def find_dead_run(self, run: str) -> RunLine:
        """Find a run whose owner died before it closed the run. Raises ConflictError for any other run."""
        line = self.find(run)
        if line.ended:
            raise ConflictError(f"run {run} has ended", next_step=f"`ptp-harness show {run}` shows it")
        if line.alive():
            raise ConflictError(f"run {run} is under way: {describe_owner(line.owner)}", next_step="wait for its end")
        return line

    def campaign(self, run: str) -> Mapping[str, Any]:
        """Return the campaign of a run as it was recorded. Raises RequestError when there is no such run."""
        self.find(run)
        query = sql.select(RUNS.c.campaign).where(RUNS.c.run == run)
        return dict(self.database.read(lambda db: db.execute(query).scalar_one()))

    def hosts(self, run: str, names: Collection[str] | None = None) -> list[HostLine]:
        """List the hosts of a run, or those of these names, in the order of the campaign."""
        query = HOSTS.select().where(HOSTS.c.run == run).order_by(HOSTS.c.position)
        if names is not None:
            query = query.where(HOSTS.c.host.in_(names))
        return [make_host_line(row) for row in self.database.read(lambda db: db.execute(query).all())]

    def host_summaries(self, runs: Collection[str]) -> list[HostSummary]:
        """List the hosts of runs in the order of each campaign, without reading their whole records."""
        provision = (STEPS.c.token == HOST_TOKEN) & (STEPS.c.stage == Stage.PROVISION)
        begun_ns = sql.select(sql.func.max(STEPS.c.begun_ns)).where(provision).scalar_subquery()
        host, kept = (HOSTS.c.run, HOSTS.c.host, HOSTS.c.instance_type), (HOSTS.c.kept_until_ns, HOSTS.c.kept_by)
        figures = HOSTS.c.offset_p99_ns, HOSTS.c.bound_p99_ns
        query = (
            sql.select(*host, HOSTS.c.state, HOSTS.c.outcome, begun_ns, *kept, *figures)
            .where(HOSTS.c.run.in_(runs))
            .order_by(HOSTS.c.run, HOSTS.c.position)
        )
        return [
            HostSummary(
                run=run,
                host=host,
                instance_type=instance_type,
                state=HostState(state) if state else None,
                outcome=Outcome(outcome) if outcome else None,
                begun_ns=begun_ns,
                kept_until_ns=kept_until_ns,
                kept_by=kept_by,
                offset_p99_ns=offset_p99_ns,
                bound_p99_ns=bound_p99_ns,
            )
            for (
                run, host, instance_type, state, outcome, begun_ns, kept_until_ns, kept_by, offset_p99_ns, bound_p99_ns,
            ) in self.database.read(lambda db: db.execute(query).all())
        ]  # fmt: skip

    def latest_verdicts(self, bench: str, region: str | None = None) -> list[VerdictLine]:
        """List one verdict for each type of a bench, newest run first: the latest that tells whether there is a clock.

        Else the latest of all. `region`: only of hosts there. Records of early versions have fewer fields.
        """
        region_of_host = sql.func.coalesce(HOSTS.c.region, RUNS.c.campaign["region"].as_string())
        informative_first = (HOSTS.c.has_clock.is_(None), RUNS.c.started_ns.desc(), RUNS.c.run)
        rank = sql.func.row_number().over(partition_by=HOSTS.c.instance_type, order_by=informative_first)
        ranked = (
            sql.select(HOSTS.c.run, HOSTS.c.host, rank.label("rank"))
            .join(RUNS, RUNS.c.run == HOSTS.c.run)
            .where(RUNS.c.bench == bench, HOSTS.c.outcome.is_not(None))
            .where(sql.true() if region is None else region_of_host == region)
            .subquery()
        )
        query = (
            sql.select(RUNS.c.run, RUNS.c.started_ns, RUNS.c.campaign, HOSTS.c.record)
            .join(HOSTS, HOSTS.c.run == RUNS.c.run)
            .join(ranked, (ranked.c.run == HOSTS.c.run) & (ranked.c.host == HOSTS.c.host))
            .where(ranked.c.rank == 1)
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
        seconds: dict[str, list[float]] = {}
        for types in _in_parts(sorted(instance_types)):
            ranked = (
                sql.select(HOSTS.c.run, HOSTS.c.host, latest.label("rank"))
                .join(RUNS, RUNS.c.run == HOSTS.c.run)
                .where(RUNS.c.bench == bench, HOSTS.c.instance_type.in_(types), HOSTS.c.outcome.is_not(None))
                .subquery()
            )
            here = (ranked.c.run == HOSTS.c.run) & (ranked.c.host == HOSTS.c.host)
            query = sql.select(HOSTS.c.instance_type, HOSTS.c.record["stages"]).join(ranked, here)
            latest_ones = query.where(ranked.c.rank <= _TYPICAL_OF)
            for instance_type, stages in self.database.read(partial(_fetch_all, query=latest_ones)):
                seconds.setdefault(instance_type, []).append(sum((stages or {}).values()))
        return {instance_type: statistics.median(each) for instance_type, each in seconds.items()}

    def steps(self, run: str) -> list[StepLine]:
        """List all steps of a run in the order in which they were begun."""

        def read(db: sql.Connection) -> list[Any]:
            hosts = db.execute(sql.select(HOSTS.c.host, HOSTS.c.attempt).where(HOSTS.c.run == run)).all()
            tokens = [f"{run}/{host}/{attempt}" for host, last in hosts for attempt in range(1, max(1, last) + 1)]
            return [row for some in _in_parts(tokens) for row in db.execute(_OF_TOKENS, {"tokens": some}).all()]

        return [make_step_line(row) for row in sorted(self.database.read(read), key=lambda row: int(row.id))]

    def events(self, run: str, *, after: int = 0, most: int = 1000) -> list[NumberedEvent]:
        """List the events of a run behind a number, in order, at most so many."""
        return self.database.read(lambda db: read_events(db, run, after=after, most=most))

    def latest_events(
        self, run: str, *, host: str | None = None, before: int | None = None, most: int = 200
    ) -> list[NumberedEvent]:
        """List the latest events of a run, or of one host, in order, at most so many; `before`: this number."""
        return self.database.read(lambda db: read_latest_events(db, run, host=host, before=before, most=most))

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

    def record_without_hosts(self, run: str) -> RunRecord | None:
        """Return the record of a run that has ended, without its hosts; None before, or without such a run."""
        query = sql.select(RUNS.c.record).where(RUNS.c.run == run)
        record = self.database.read(lambda db: db.execute(query).scalar())
        return None if record is None else run_adapter().validate_python({**record, "hosts": []})

    def _run_lines(self, query: sql.Select[Any]) -> list[RunLine]:
        return [make_run_line(row) for row in self.database.read(lambda db: db.execute(query).all())]


def find_living_leaders(db: sql.Connection) -> list[str]:
    """List the living owners among those of runs that have not ended."""
    leaders = sql.select(RUNS.c.owner).where(RUNS.c.record.is_(None)).distinct()
    rows = db.execute(sql.select(*OWNERS.c, now_ns()).where(OWNERS.c.owner.in_(leaders))).all()
    return [owner.owner for owner in map(make_owner_line, rows) if owner.alive()]


def _fetch_all(db: sql.Connection, query: sql.Select[Any]) -> Sequence[Any]:
    return db.execute(query).all()


def _in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split names into parts that one statement can take."""
    for first in range(0, len(names), _MOST_NAMES):
        yield names[first : first + _MOST_NAMES]


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


def make_step_line(row: Any) -> StepLine:
    """Make the line of a row of STEPS."""
    return StepLine(
        token=row.token, stage=Stage(row.stage), begun_ns=row.begun_ns, ended_ns=row.ended_ns, result=row.result
    )


def make_run_line(row: Any) -> RunLine:
    """Make the line of a row of RUN_LINES."""
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
