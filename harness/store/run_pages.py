"""Read lists of runs page by page, in a few statements for a page: verdicts, figures, kept hosts, and the task."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sql

from harness.model import HostState, Outcome
from harness.model.bench_traits import traits_of_recorded
from harness.store.database import Database
from harness.store.ledger_lines import RunLine
from harness.store.ledger_reader import RUN_LINES, find_living_leaders, make_run_line
from harness.store.run_query import RunOrder, RunPlace, RunQuery, apply_query
from harness.store.run_sums import VERDICTS
from harness.store.tables import HOSTS, RUNS, TASKS

TYPES_SHOWN = 20
FEW_HOSTS = 5000

# Statements that each request needs are made once: SQLAlchemy takes longer to make one than to run it.
_SUMS = (*VERDICTS.values(), RUNS.c.offset_p99_ns, RUNS.c.bound_p99_ns)
SUMMARY_LINES = RUN_LINES.add_columns(RUNS.c.task, TASKS.c.submitter, *_SUMS).outerjoin(
    TASKS, TASKS.c.task == RUNS.c.task
)
"""What a run itself tells of its summary."""

_LINE_COLUMNS = len(RUN_LINES.selected_columns)
_NAMED = SUMMARY_LINES.where(RUNS.c.run == sql.bindparam("of_run"))
_OF_RUNS = HOSTS.c.run.in_(sql.bindparam("runs", expanding=True))
_IS_KEPT = HOSTS.c.state == HostState.KEPT
_HOSTS = (
    sql.select(
        HOSTS.c.run,
        sql.func.count().label("hosts"),
        sql.func.count(sql.case((_IS_KEPT, 1))).label("kept"),
        sql.func.min(sql.case((_IS_KEPT, HOSTS.c.kept_until_ns))).label("kept_until_ns"),
    )
    .where(_OF_RUNS)
    .group_by(HOSTS.c.run)
)
_FIRST_TYPES = (
    sql.select(HOSTS.c.run, HOSTS.c.instance_type)
    .where(_OF_RUNS, HOSTS.c.position < TYPES_SHOWN)
    .order_by(HOSTS.c.run, HOSTS.c.position)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run as a page of the list shows it.

    `task`, `submitter`: of the submitted campaign whose run it is. `verdicts`: the number of hosts for each outcome
    that occurs, the best outcome first. `offset_p99_ns`, `bound_p99_ns`: the worst of its hosts. `kept_until_ns`: when
    the first of its kept hosts ends by its lease. `instance_types`: those of its first hosts, each once.
    """

    line: RunLine
    task: str | None
    submitter: str | None
    hosts: int
    verdicts: Mapping[Outcome, int]
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    kept: int
    kept_until_ns: int | None
    instance_types: tuple[str, ...]

    def place(self, order: RunOrder) -> RunPlace:
        """Return its place in a list of this order."""
        figures = {RunOrder.NEWEST: None, RunOrder.OFFSET: self.offset_p99_ns, RunOrder.BOUND: self.bound_p99_ns}
        return RunPlace(run=self.line.run, started_ns=self.line.started_ns, figure=figures[order])


def list_page(
    database: Database,
    query: RunQuery,
    *,
    types: Collection[str] = (),
    after: RunPlace | None = None,
    most: int = 50,
) -> list[RunSummary]:
    """List the runs that `query` chooses, in its order, at most so many; `after`: only those behind this place.

    `types`: patterns such as `m7i.*`, of which the type of one host must match one. The outcome of the query is then
    demanded of such a host.
    """

    def read(db: sql.Connection) -> list[RunSummary]:
        conditions = [_match_hosts(db, types, query.outcome)] if types else []
        alive = find_living_leaders(db) if query.state is not None else ()
        lines = apply_query(SUMMARY_LINES, query, after, alive=alive, most=most, conditions=conditions)
        return _summarise(db, db.execute(lines).all())

    return database.read(read)


def find_summary(database: Database, run: str) -> RunSummary | None:
    """Find a run by its name; None where no run has it."""
    summaries = database.read(lambda db: _summarise(db, db.execute(_NAMED, {"of_run": run}).all()))
    return summaries[0] if summaries else None


def _match_hosts(db: sql.Connection, patterns: Collection[str], outcome: Outcome | None) -> sql.ColumnElement[bool]:
    """Make the condition that a run has a host of such a type, with this verdict where one is demanded."""
    of_host: list[sql.ColumnElement[bool]] = [HOSTS.c.instance_type.in_(_match_types(db, patterns))]
    if outcome is not None:
        of_host.append(HOSTS.c.outcome == outcome)
    chosen = sql.select(HOSTS.c.run).where(*of_host)
    count = sql.select(sql.func.count()).select_from(chosen.limit(FEW_HOSTS + 1).subquery())
    if db.execute(count).scalar_one() <= FEW_HOSTS:
        return RUNS.c.run.in_(chosen)
    return sql.exists().where(HOSTS.c.run == RUNS.c.run, *of_host)  # many: a page of runs is full soon


def _match_types(db: sql.Connection, patterns: Collection[str]) -> list[str]:
    """List the types of hosts that match a pattern. Each type is one step in the index, however many hosts it has."""
    if not any(sign in pattern for pattern in patterns for sign in "*?["):
        return [*patterns]
    first = sql.select(sql.func.min(HOSTS.c.instance_type).label("name")).cte("types", recursive=True)
    larger = sql.select(sql.func.min(HOSTS.c.instance_type)).where(HOSTS.c.instance_type > first.c.name)
    types = first.union_all(sql.select(larger.scalar_subquery()).where(first.c.name.is_not(None)))
    names = db.execute(sql.select(types.c.name).where(types.c.name.is_not(None))).scalars()
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _summarise(db: sql.Connection, rows: Sequence[Any]) -> list[RunSummary]:
    """Add what the hosts of runs tell."""
    chosen = {"runs": [row.run for row in rows]}
    if not rows:
        return []
    hosts = {row.run: row for row in db.execute(_HOSTS, chosen).all()}
    types: dict[str, list[str]] = {}
    for run, instance_type in db.execute(_FIRST_TYPES, chosen).all():
        types.setdefault(run, []).append(instance_type)
    return [_add_hosts(row, hosts.get(row.run), types.get(row.run, ())) for row in rows]


def _add_hosts(row: Any, hosts: Any, types: Sequence[str]) -> RunSummary:
    if hosts is None:
        return make_summary(row, hosts=0, kept=0, kept_until_ns=None, types=types)
    return make_summary(row, hosts=hosts.hosts, kept=hosts.kept, kept_until_ns=hosts.kept_until_ns, types=types)


def make_summary(row: Any, *, hosts: int, kept: int, kept_until_ns: int | None, types: Iterable[str]) -> RunSummary:
    """Make the summary of a run from its row of SUMMARY_LINES, and what its hosts tell."""
    counts = zip(VERDICTS, (row.passed, row.unsupported, row.inconclusive, row.failed), strict=True)
    makes_hosts = traits_of_recorded(row.bench).makes_hosts
    return RunSummary(
        line=make_run_line(row[:_LINE_COLUMNS]),
        task=row.task,
        submitter=row.submitter,
        hosts=hosts,
        verdicts={outcome: count for outcome, count in counts if count},
        offset_p99_ns=row.offset_p99_ns,
        bound_p99_ns=row.bound_p99_ns,
        kept=kept if makes_hosts else 0,
        kept_until_ns=kept_until_ns if makes_hosts else None,
        instance_types=tuple(dict.fromkeys(types)),
    )
