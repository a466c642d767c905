"""Keep sites in the ledger: the registry of a hub that has no other one."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.errors import RequestError
from harness.model.sites import Site
from harness.store.database import Database, now_ns
from harness.store.owners import name_user
from harness.store.tables import SITES


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLine:
    """A site of the ledger: when it was added, ns since the epoch, and by whom."""

    site: Site
    added_ns: int
    added_by: str


class SiteTable:
    """The sites of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_lines(self) -> list[SiteLine]:
        """List the sites by their names."""
        query = SITES.select().order_by(SITES.c.name)
        return [_line(row) for row in self._database.read(lambda db: db.execute(query).all())]

    def add(self, site: Site) -> SiteLine:
        """Add a site; one of the same name gets the new URL and benches."""
        here = SITES.c.name == site.name
        values = {"url": site.url, "benches": list(site.benches), "added_ns": now_ns(), "added_by": name_user()}

        def add(db: sql.Connection) -> SiteLine:
            if not db.execute(SITES.update().where(here).values(values)).rowcount:
                db.execute(SITES.insert().values(name=site.name, **values))
            return _line(db.execute(SITES.select().where(here)).one())

        return self._database.write(add)

    def remove(self, name: str) -> None:
        """Remove a site. Raises RequestError for one that is not there."""
        here = SITES.c.name == name
        tries: list[int] = []

        def remove(db: sql.Connection) -> bool:
            removed = db.execute(SITES.delete().where(here)).rowcount > 0 or bool(tries)
            tries.append(1)
            return removed

        if not self._database.write(remove):
            raise RequestError(f"there is no site {name!r} in the ledger", next_step="`ptp-harness site list`")


def _line(row: Any) -> SiteLine:
    site = Site(name=row.name, url=row.url, benches=tuple(row.benches))
    return SiteLine(site=site, added_ns=row.added_ns, added_by=row.added_by)
