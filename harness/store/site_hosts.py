"""Keep the hosts that stayed at sites as the sites tell them: until when, and what became of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model import HostState
from harness.store.database import Database
from harness.store.tables import HOSTS, IS_KEPT, RUNS, TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNews:
    """What a site tells of a host. `kept_by`: None where the site names nobody, or the hub itself."""

    state: HostState
    kept_until_ns: int | None
    kept_by: str | None = None


def list_runs_with_kept(database: Database, site: str) -> list[str]:
    """List the runs of a site that keep hosts, by this ledger."""
    keep_some = RUNS.c.run.in_(sql.select(HOSTS.c.run).where(IS_KEPT))
    query = sql.select(RUNS.c.run).join(TASKS, TASKS.c.task == RUNS.c.task).where(TASKS.c.site == site, keep_some)
    return list(database.read(lambda db: db.execute(query).scalars().all()))


def record_news(database: Database, run: str, news: Mapping[str, HostNews]) -> None:
    """Record what a site tells of hosts of an imported run."""

    def record(db: sql.Connection) -> None:
        for row in db.execute(sql.select(HOSTS.c.host, HOSTS.c.record).where(HOSTS.c.run == run)).all():
            told = news.get(row.host)
            if told is None or row.record is None:
                continue
            values: dict[str, Any] = {"state": told.state, "record": {**row.record, "state": told.state}}
            values["kept_until_ns"] = told.kept_until_ns
            if told.kept_by is not None:
                values["kept_by"] = told.kept_by
            db.execute(HOSTS.update().where(HOSTS.c.run == run, HOSTS.c.host == row.host).values(values))

    database.write(record)
