"""Check that the content of a ledger agrees with itself."""

from dataclasses import dataclass

import sqlalchemy as sql

from harness import __version__
from harness.model import HostState
from harness.store.database import SQLITE
from harness.store.ledger import Ledger
from harness.store.run_sums import VERDICTS
from harness.store.schema import NEWEST
from harness.store.tables import EVENTS, HOSTS, OWNERS, RUNS, STEPS

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLedger:
    """The content of a ledger, in lines, and a sentence for each contradiction in it."""

    lines: tuple[str, ...]
    faults: tuple[str, ...]


def check(ledger: Ledger) -> CheckedLedger:
    """Count what a ledger holds and look for contradictions. Raises SetupError when it cannot be reached."""
    return ledger.database.read(lambda db: CheckedLedger(lines=_describe(db, ledger), faults=_find_faults(db, ledger)))


def _describe(db: sql.Connection, ledger: Ledger) -> tuple[str, ...]:
    counts = {
        table.name: db.execute(sql.select(sql.func.count()).select_from(table)).scalar_one() for table in _COUNTED
    }
    return (
        f"ledger    {ledger.url}",
        f"revision  {NEWEST}, of this version {__version__}",
        "content   " + ", ".join(f"{count} {name}" for name, count in counts.items()),
    )


_COUNTED = (RUNS, HOSTS, STEPS, EVENTS, OWNERS)


def _find_faults(db: sql.Connection, ledger: Ledger) -> tuple[str, ...]:
    faults: list[str] = []
    if ledger.database.kind == SQLITE:
        answers = [str(answer) for answer in db.execute(sql.text("PRAGMA integrity_check(5)")).scalars()]
        faults += [f"the file is damaged: {answer}" for answer in answers if answer != "ok"]
    for sentence, query in _QUERIES.items():
        found = [str(name) for name in db.execute(query.limit(_MOST_NAMED + 1)).scalars()]
        if found:
            more = " and more" if len(found) > _MOST_NAMED else ""
            faults.append(f"{sentence}: {', '.join(found[:_MOST_NAMED])}{more}")
    return tuple(faults)


_LATEST = sql.select(sql.func.coalesce(sql.func.max(EVENTS.c.number), 0)).where(EVENTS.c.run == RUNS.c.run)
_FINAL = HOSTS.c.state.is_not(None) & (HOSTS.c.state != HostState.UNDECIDED)
_SUMS = [sql.func.count(sql.case((HOSTS.c.outcome == outcome, 1))) == column for outcome, column in VERDICTS.items()]
_QUERIES = {
    "an ended run has hosts without a verdict or a final state": sql.select(RUNS.c.run)
    .where(
        RUNS.c.record.is_not(None), sql.exists().where(HOSTS.c.run == RUNS.c.run, HOSTS.c.record.is_(None) | ~_FINAL)
    )
    .order_by(RUNS.c.run),
    "a run's number of events is not that of its latest event": sql.select(RUNS.c.run)
    .where(RUNS.c.events != _LATEST.scalar_subquery())
    .order_by(RUNS.c.run),
    "a run's numbers of verdicts are not those of its hosts": sql.select(RUNS.c.run)
    .join(HOSTS, HOSTS.c.run == RUNS.c.run)
    .group_by(RUNS.c.run)
    .having(~sql.and_(*_SUMS))
    .order_by(RUNS.c.run),
    # Somebody may own a kept host, or one that could not be removed, while it is kept or removed.
    "a host that was removed has an owner": sql.select(HOSTS.c.run + "/" + HOSTS.c.host)
    .where(HOSTS.c.state == HostState.RELEASED, HOSTS.c.owner.is_not(None))
    .order_by(HOSTS.c.run, HOSTS.c.host),
}
