"""Sum up the hosts of a run beside it: its verdicts and worst figures, by which lists of many runs are chosen."""

from collections.abc import Mapping

import sqlalchemy as sql

from harness.model import Outcome
from harness.store.database import find_part
from harness.store.tables import HOSTS, RUNS

VERDICTS: Mapping[Outcome, sql.Column[int]] = {
    Outcome.PASS: RUNS.c.passed,
    Outcome.UNSUPPORTED: RUNS.c.unsupported,
    Outcome.INCONCLUSIVE: RUNS.c.inconclusive,
    Outcome.FAIL: RUNS.c.failed,
}
"""The column that counts the hosts of a run with each outcome."""

_FIGURES = (sql.func.max(HOSTS.c.offset_p99_ns), sql.func.max(HOSTS.c.bound_p99_ns))
_OF_HOSTS = (
    sql.select(HOSTS.c.outcome, sql.func.count(), *_FIGURES)
    .where(HOSTS.c.run == sql.bindparam("of_run"))
    .group_by(HOSTS.c.outcome)
)
_UPDATE = RUNS.update().where(RUNS.c.run == sql.bindparam("of_run"))


def sum_up(db: sql.Connection, run: str) -> None:
    """Sum up the hosts of a run before the transaction is committed, once for all works in it."""
    find_part(db, ("sums", run), lambda: _SumsOfRun(run))


class _SumsOfRun:
    """The sums of a run whose hosts a transaction changes."""

    def __init__(self, run: str) -> None:
        self._run = run

    def write(self, db: sql.Connection) -> None:
        """Write the sums."""
        rows = db.execute(_OF_HOSTS, {"of_run": self._run}).all()
        counts = {outcome: count for outcome, count, _, _ in rows}
        values = {column.name: counts.get(outcome, 0) for outcome, column in VERDICTS.items()}
        values["offset_p99_ns"] = max((offset for _, _, offset, _ in rows if offset is not None), default=None)
        values["bound_p99_ns"] = max((bound for _, _, _, bound in rows if bound is not None), default=None)
        db.execute(_UPDATE, {"of_run": self._run, **values})
