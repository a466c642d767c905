"""Keep the incidents of the watch in the ledger, and the days of its streams, which outlive their samples."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from harness.model.incidents import Incident
from harness.store.database import Database, now_ns
from harness.store.tables import WATCH_DAYS, WATCH_INCIDENTS, WATCH_LEADER
from harness.untrusted.plain_text import one_line

_OF = WATCH_INCIDENTS.c
_DAY = WATCH_DAYS.c
_MOST_CAUSE, _MOST_SENTENCE = 200, 2000


class WatchIncidents:
    """The incidents of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, incidents: Sequence[Incident], *, leadership: int | None = None) -> bool:
        """Write incidents that began, grew or ended; whom they were told to stays.

        False, and nothing is written, where `leadership` is the epoch of one that is over.
        """

        def write(db: sql.Connection) -> bool:
            if leadership is not None:
                leads = sql.select(WATCH_LEADER.c.epoch).where(WATCH_LEADER.c.epoch == leadership)
                if db.execute(leads.with_for_update(read=True)).first() is None:
                    return False
            if incidents:
                db.execute(self._upsert(), [_to_row(each) for each in sorted(incidents, key=_name)])
            return True

        return self._database.write(write) if incidents else True

    def _upsert(self) -> Any:
        insert = self._database.insert(WATCH_INCIDENTS)
        changing = ("cause", "streams", "sentence", "recommendation", "ended_ns")
        return insert.on_conflict_do_update(
            index_elements=["incident"], set_={name: insert.excluded[name] for name in changing}
        )

    def list(
        self, *, ended: bool = False, most: int = 1000, before: tuple[int, str] | None = None
    ) -> Sequence[Incident]:
        """List the incidents that go on, the newest first; with `ended` those that have ended, too.

        `before`: those behind the one that began then and has this name.
        """
        query = sql.select(*(column for column in WATCH_INCIDENTS.columns if column.name != "told"))
        query = query.order_by(_OF.began_ns.desc(), _OF.incident.desc()).limit(most)
        if before is not None:
            query = query.where(sql.tuple_(_OF.began_ns, _OF.incident) < before)
        if not ended:
            query = query.where(_OF.ended_ns.is_(None))
        return [_to_incident(row) for row in self._database.read(lambda db: db.execute(query).all())]

    def prune(self, *, days: int) -> int:
        """Remove the incidents that ended longer ago; return how many."""
        old = sql.delete(WATCH_INCIDENTS).where(_OF.ended_ns < now_ns() - days * 86_400_000_000_000)
        return self._database.write(lambda db: int(db.execute(old).rowcount))


class WatchDays:
    """The figures of streams by day (UTC, as 2026-11-30), as JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, stream: str, day: str, figures: Mapping[str, Any]) -> None:
        """Write the figures of a day, in the place of earlier ones; the file of its samples stays named."""
        insert = self._database.insert(WATCH_DAYS)
        upsert = insert.values(stored_ns=now_ns()).on_conflict_do_update(
            index_elements=["stream", "day"], set_={"figures": insert.excluded.figures, "stored_ns": now_ns()}
        )
        row = {"stream": stream, "day": day, "figures": dict(figures)}
        self._database.write(lambda db: db.execute(upsert, [row]) and None)

    def read(self, stream: str, first: str, last: str) -> dict[str, Mapping[str, Any]]:
        """Read the figures of a stream's days, both ends included, in their order."""
        query = sql.select(_DAY.day, _DAY.figures).where(_DAY.stream == stream, _DAY.day.between(first, last))
        rows = self._database.read(lambda db: db.execute(query.order_by(_DAY.day)).all())
        return {row.day: row.figures for row in rows if isinstance(row.figures, dict)}

    def list_streams(self, day: str) -> Collection[str]:
        """List the streams that have figures of a day; the archive may have named its file before."""
        query = sql.select(_DAY.stream, _DAY.figures).where(_DAY.day == day)
        return frozenset(row.stream for row in self._database.read(lambda db: db.execute(query).all()) if row.figures)


def _name(incident: Incident) -> str:
    return incident.incident


def _to_row(incident: Incident) -> dict[str, Any]:
    return {
        "incident": incident.incident,
        "kind": incident.kind,
        "cause": one_line(incident.cause, _MOST_CAUSE),
        "streams": [*incident.streams],
        "sentence": one_line(incident.sentence, _MOST_SENTENCE),
        "recommendation": one_line(incident.recommendation, _MOST_SENTENCE),
        "began_ns": incident.began_ns,
        "ended_ns": incident.ended_ns,
        "told": {},
    }


def _to_incident(row: Any) -> Incident:
    streams = row.streams if isinstance(row.streams, list) else []
    return Incident(
        incident=row.incident,
        kind=row.kind,
        cause=row.cause,
        streams=tuple(str(stream) for stream in streams),
        sentence=row.sentence,
        recommendation=row.recommendation,
        began_ns=row.began_ns,
        ended_ns=row.ended_ns,
    )
