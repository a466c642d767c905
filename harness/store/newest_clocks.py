"""Read the newest measurement of each type of host: its verdict, offset and bound, and how long ago it was."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.model import Outcome
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.tables import HOSTS, RUNS

WINDOW_S = 90 * 86400.0
MOST_TYPES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestClock:
    """The newest verdict of a type on a bench, in a Region; `age_s`: since its run began.

    `offset_p99_ns` and `bound_p99_ns`: None where that host has no figures.
    """

    bench: str
    instance_type: str
    region: str | None
    outcome: Outcome
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    age_s: float


def read_newest_clocks(database: Database) -> Sequence[NewestClock]:
    """Read the newest verdict of each type of the latest 90 days."""
    return database.read(_read)


def _read(db: sql.Connection) -> list[NewestClock]:
    now_ns = read_now(db)
    kind = (RUNS.c.bench, HOSTS.c.instance_type, HOSTS.c.region)
    newest_first = (RUNS.c.started_ns.desc(), HOSTS.c.position)
    number = sql.func.row_number().over(partition_by=kind, order_by=newest_first).label("number")
    figures = (HOSTS.c.outcome, HOSTS.c.offset_p99_ns, HOSTS.c.bound_p99_ns, RUNS.c.started_ns)
    judged = (
        sql.select(*kind, *figures, number)
        .join(RUNS, RUNS.c.run == HOSTS.c.run)
        .where(RUNS.c.started_ns >= now_ns - round(WINDOW_S * 1e9), HOSTS.c.outcome.is_not(None))
        .subquery()
    )
    columns = [column for column in judged.c if column.name != "number"]
    newest = sql.select(*columns).where(judged.c.number == 1).order_by(judged.c.started_ns.desc()).limit(MOST_TYPES)
    return [
        NewestClock(
            bench=row.bench,
            instance_type=row.instance_type,
            region=row.region,
            outcome=Outcome(row.outcome),
            offset_p99_ns=row.offset_p99_ns,
            bound_p99_ns=row.bound_p99_ns,
            age_s=max(0.0, (now_ns - row.started_ns) / 1e9),
        )
        for row in db.execute(newest)
    ]
