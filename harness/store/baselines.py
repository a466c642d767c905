"""Keep baselines in the ledger: named groups of ended runs that later runs are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.errors import ConflictError
from harness.store.database import Database, now_ns
from harness.store.owners import name_user
from harness.store.tables import BASELINES, RUNS

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineLine:
    """A run of a baseline: when it was added, and by whom."""

    name: str
    run: str
    bench: str
    started_ns: int
    added_ns: int
    added_by: str


class Baselines:
    """The baselines of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_lines(self, name: str | None = None) -> list[BaselineLine]:
        """List the runs of a baseline, or of all, the oldest first."""
        query = (
            sql.select(BASELINES.c.name, RUNS.c.run, RUNS.c.bench, RUNS.c.started_ns, BASELINES.c.added_ns)
            .add_columns(BASELINES.c.added_by)
            .join_from(BASELINES, RUNS)
            .order_by(BASELINES.c.name, RUNS.c.started_ns, RUNS.c.run)
        )
        if name is not None:
            query = query.where(BASELINES.c.name == name)
        rows = self._database.read(lambda db: db.execute(query).all())
        fields = ("name", "run", "bench", "started_ns", "added_ns", "added_by")
        return [BaselineLine(**dict(zip(fields, row, strict=True))) for row in rows]

    def add(self, name: str, runs: Sequence[str], *, by: str | None = None) -> None:
        """Add ended runs to a baseline; one that is in it already stays as it was.

        `by`: who adds them; None: the user of this process. Raises ConflictError for a run of another bench than the
        others of the baseline.
        """

        def add(db: sql.Connection) -> None:
            there = {row.run: row.bench for row in db.execute(_OF_BASELINE, {"name": name})}
            benches = {**there, **{row.run: row.bench for row in db.execute(_OF_RUNS, {"runs": [*runs]})}}
            if len({*benches.values()}) > 1:
                listed = ", ".join(f"{run} ({bench})" for run, bench in benches.items())
                raise ConflictError(
                    f"a baseline has runs of one bench: {listed}", next_step="take another baseline: --name NAME"
                )
            person = by or name_user()
            new = [run for run in dict.fromkeys(runs) if run not in there]
            if new:
                rows = [{"name": name, "run": run, "added_by": person} for run in new]
                db.execute(BASELINES.insert().values(added_ns=now_ns()), rows)

        self._database.write(add)

    def remove(self, name: str, runs: Sequence[str]) -> list[str]:
        """Remove runs from a baseline, or all without `runs`; return the names of those that were in it."""

        def remove(db: sql.Connection) -> list[str]:
            there = [row.run for row in db.execute(_OF_BASELINE, {"name": name}) if not runs or row.run in runs]
            chosen = (BASELINES.c.name == name) & BASELINES.c.run.in_(there)
            db.execute(sql.delete(BASELINES).where(chosen))
            return there

        return self._database.write(remove)


_OF_BASELINE = (
    sql.select(RUNS.c.run, RUNS.c.bench).join_from(BASELINES, RUNS).where(BASELINES.c.name == sql.bindparam("name"))
)
_OF_RUNS = sql.select(RUNS.c.run, RUNS.c.bench).where(RUNS.c.run.in_(sql.bindparam("runs", expanding=True)))
