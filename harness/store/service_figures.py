"""Read what the figures of a service are made from: steps, hosts and tasks of the latest days, each bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.model import Outcome
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.tables import HOSTS, RUNS, SCHEDULES, STEPS, TASKS

MOST_STEPS = 10_000
MOST_TASKS = 5000
MOST_TYPES = 200
_RESULT_CHARACTERS = 200
_MOST_NAMES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStep:
    """A step that has ended. `result`: the beginning of it; `bench` and `instance_type`: of its host."""

    token: str
    stage: str
    seconds: float
    result: str
    bench: str
    instance_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTask:
    """A task that was begun and has ended. `site`: None: the service itself."""

    site: str | None
    state: str
    outcome: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFigures:
    """The rows of a moment. `tasks`: how many have a state and outcome, of all times; `types`: by bench and type.

    `oldest_waiting_s`: None where no task waits. `retaken_hosts`: how many hosts were begun more than once, lately.
    """

    tasks: Mapping[tuple[str, str | None], int]
    oldest_waiting_s: float | None
    steps: Sequence[EndedStep]
    ended: Sequence[EndedTask]
    types: Mapping[tuple[str, str], Mapping[Outcome, int]]
    retaken_hosts: int
    kept_hosts: int
    schedules: int
    paused_schedules: int
    troubled_schedules: int
    missed: int


def read_figures(database: Database, *, window_s: float) -> ServiceFigures:
    """Read the figures of the latest `window_s`."""
    return database.read(lambda db: _read(db, window_s))


def _read(db: sql.Connection, window_s: float) -> ServiceFigures:
    now_ns = read_now(db)
    since_ns = now_ns - round(window_s * 1e9)
    count = sql.func.count()
    tasks = db.execute(sql.select(TASKS.c.state, TASKS.c.outcome, count).group_by(TASKS.c.state, TASKS.c.outcome))
    oldest = db.execute(sql.select(sql.func.min(TASKS.c.submitted_ns)).where(TASKS.c.state == "queued")).scalar()
    lately = RUNS.c.started_ns >= since_ns
    hosts = sql.select(count).select_from(HOSTS).join(RUNS, RUNS.c.run == HOSTS.c.run)
    schedules = db.execute(
        sql.select(
            count,
            sql.func.coalesce(sql.func.sum(sql.cast(SCHEDULES.c.paused, sql.Integer)), 0),
            sql.func.count(SCHEDULES.c.last_problem),
            sql.func.coalesce(sql.func.sum(SCHEDULES.c.missed), 0),
        )
    ).one()
    return ServiceFigures(
        tasks={(state, outcome): number for state, outcome, number in tasks},
        oldest_waiting_s=None if oldest is None else max(0.0, (now_ns - oldest) / 1e9),
        steps=_read_steps(db, since_ns),
        ended=_read_tasks(db, since_ns),
        types=_read_types(db, lately),
        retaken_hosts=db.execute(hosts.where(lately, HOSTS.c.attempt > 1)).scalar_one(),
        kept_hosts=db.execute(sql.select(count).select_from(HOSTS).where(HOSTS.c.state == "kept")).scalar_one(),
        schedules=schedules[0],
        paused_schedules=schedules[1],
        troubled_schedules=schedules[2],
        missed=schedules[3],
    )


def _read_steps(db: sql.Connection, since_ns: int) -> list[EndedStep]:
    result = sql.func.substr(sql.func.coalesce(STEPS.c.result, ""), 1, _RESULT_CHARACTERS).label("result")
    newest = (
        sql.select(STEPS.c.token, STEPS.c.stage, STEPS.c.begun_ns, STEPS.c.ended_ns, result)
        .order_by(STEPS.c.id.desc())
        .limit(MOST_STEPS)
        .subquery()
    )
    rows = db.execute(sql.select(newest).where(newest.c.ended_ns >= since_ns)).all()
    types = _read_types_of_hosts(db, sorted({row.token.partition("/")[0] for row in rows}))
    steps = []
    for row in rows:
        run, _, rest = row.token.partition("/")
        bench, instance_type = types.get((run, rest.rpartition("/")[0]), ("", ""))
        seconds = max(0.0, (row.ended_ns - row.begun_ns) / 1e9)
        steps.append(
            EndedStep(
                token=row.token,
                stage=row.stage,
                seconds=seconds,
                result=row.result,
                bench=bench,
                instance_type=instance_type,
            )
        )
    return steps


def _read_types_of_hosts(db: sql.Connection, runs: Sequence[str]) -> dict[tuple[str, str], tuple[str, str]]:
    """Read the bench and the type of each host of runs, by run and host."""
    types: dict[tuple[str, str], tuple[str, str]] = {}
    for first in range(0, len(runs), _MOST_NAMES):
        query = (
            sql.select(HOSTS.c.run, HOSTS.c.host, RUNS.c.bench, HOSTS.c.instance_type)
            .join(RUNS, RUNS.c.run == HOSTS.c.run)
            .where(HOSTS.c.run.in_(runs[first : first + _MOST_NAMES]))
        )
        types |= {(row.run, row.host): (row.bench, row.instance_type) for row in db.execute(query)}
    return types


def _read_tasks(db: sql.Connection, since_ns: int) -> list[EndedTask]:
    columns = (TASKS.c.site, TASKS.c.state, TASKS.c.outcome, TASKS.c.begun_ns, TASKS.c.ended_ns)
    newest = sql.select(*columns).order_by(TASKS.c.submitted_ns.desc()).limit(MOST_TASKS).subquery()
    query = sql.select(newest).where(newest.c.ended_ns >= since_ns, newest.c.begun_ns.is_not(None))
    return [
        EndedTask(
            site=row.site, state=row.state, outcome=row.outcome, seconds=max(0.0, (row.ended_ns - row.begun_ns) / 1e9)
        )
        for row in db.execute(query)
    ]


def _read_types(db: sql.Connection, lately: sql.ColumnElement[bool]) -> dict[tuple[str, str], dict[Outcome, int]]:
    """Count the verdicts of each type, of the types with the most."""
    key = (RUNS.c.bench, HOSTS.c.instance_type)
    query = (
        sql.select(*key, HOSTS.c.outcome, sql.func.count().label("number"))
        .join(RUNS, RUNS.c.run == HOSTS.c.run)
        .where(lately, HOSTS.c.outcome.is_not(None))
        .group_by(*key, HOSTS.c.outcome)
    )
    types: dict[tuple[str, str], dict[Outcome, int]] = {}
    for row in db.execute(query):
        types.setdefault((row.bench, row.instance_type), {})[Outcome(row.outcome)] = row.number
    most = sorted(types, key=lambda name: (-sum(types[name].values()), name))[:MOST_TYPES]
    return {name: types[name] for name in sorted(most)}
