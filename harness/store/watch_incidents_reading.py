"""Read the incidents of a watch in pages, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.store.database import Database
from harness.store.tables import WATCH_INCIDENTS

_OF = WATCH_INCIDENTS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentLine:
    """Streams that one cause has broken. Times in ns, of the database; `ended_ns`: None while it goes on."""

    incident: str
    kind: str
    cause: str
    streams: Sequence[str]
    sentence: str
    recommendation: str
    began_ns: int
    ended_ns: int | None


def list_incidents(
    database: Database, *, before: tuple[int, str] | None = None, most: int = 100, goes_on: bool = False
) -> list[IncidentLine]:
    """List incidents. `before`: those behind the one that began then and has this name; `goes_on`: no ended ones."""
    columns = [_OF[name] for name in IncidentLine.__dataclass_fields__]
    query = sql.select(*columns).order_by(_OF.began_ns.desc(), _OF.incident.desc()).limit(most)
    if before is not None:
        query = query.where(sql.tuple_(_OF.began_ns, _OF.incident) < before)
    if goes_on:
        query = query.where(_OF.ended_ns.is_(None))
    return [IncidentLine(**row._mapping) for row in database.read(lambda db: db.execute(query).all())]
