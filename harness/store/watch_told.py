"""Remember in the ledger to whom the beginning and the end of each incident was told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.owners import read_now
from harness.store.tables import WATCH_INCIDENTS

TOLD_WITHIN_S = 86400.0
"""What could not be told for a day is told no more."""

_OF = WATCH_INCIDENTS.c


class Moment(StrEnum):
    """A moment of an incident that is told."""

    BEGAN = "began"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """The tries to tell a moment. `told_ns`: None: not yet; `next_ns`: not to be tried before."""

    told_ns: int | None = None
    tries: int = 0
    next_ns: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """A moment of an incident that is to be told. `now_ns`: of the database. `at_ns`: when it was."""

    incident: str
    kind: str
    cause: str
    streams: Sequence[str]
    sentence: str
    recommendation: str
    began_ns: int
    ended_ns: int | None
    moment: Moment
    telling: Telling
    now_ns: int

    @property
    def at_ns(self) -> int:
        return self.began_ns if self.moment is Moment.BEGAN or self.ended_ns is None else self.ended_ns


class IncidentTellings:
    """The record of who was told what of a ledger's incidents. `receiver` names who is told."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_untold(self, receiver: str) -> list[Untold]:
        """List the first moment of each incident that is not told, the oldest first; none that is a day old."""

        def read(db: sql.Connection) -> list[Untold]:
            now = read_now(db)
            oldest_ns = now - round(TOLD_WITHIN_S * 1e9)
            recent = sql.or_(_OF.ended_ns.is_(None), _OF.ended_ns > oldest_ns)
            rows = db.execute(sql.select(WATCH_INCIDENTS).where(recent).order_by(_OF.began_ns, _OF.incident)).all()
            found = [_find_untold(row, _read_tellings(row.told, receiver), now, oldest_ns) for row in rows]
            return [untold for untold in found if untold is not None]

        return self._database.read(read)

    def record(self, untold: Untold, receiver: str, *, problem: str | None, pause_s: float = 0.0) -> None:
        """Record that a moment was told; with a problem, that it was not, and is to be tried again after a pause."""

        def record(db: sql.Connection) -> None:
            place = _OF.incident == untold.incident
            told = db.execute(sql.select(_OF.told).where(place).with_for_update()).scalar()
            now = read_now(db)
            entry = {
                "told_ns": now if problem is None else None,
                "tries": untold.telling.tries + 1,
                "next_ns": now + round(pause_s * 1e9),
                "problem": problem,
            }
            known = told if isinstance(told, dict) else {}
            ours = {**known.get(receiver, {}), untold.moment.value: entry}
            db.execute(WATCH_INCIDENTS.update().where(place).values(told={**known, receiver: ours}))

        self._database.write(record)

    def count_untold(self) -> int:
        """Count the moments of which a try has failed, and that were not told yet."""
        oldest_ns = now_ns() - round(TOLD_WITHIN_S * 1e9)
        query = sql.select(_OF.told).where(_OF.began_ns > oldest_ns)
        documents = self._database.read(lambda db: db.execute(query).scalars().all())
        tellings = (
            telling
            for told in documents
            if isinstance(told, dict)
            for receiver in told
            for telling in _read_tellings(told, receiver).values()
        )
        return sum(telling.told_ns is None for telling in tellings)


def _find_untold(row: Any, tellings: Mapping[Moment, Telling], now: int, oldest_ns: int) -> Untold | None:
    for moment in Moment:
        at_ns = row.began_ns if moment is Moment.BEGAN else row.ended_ns
        telling = tellings.get(moment, Telling())
        if at_ns is not None and at_ns > oldest_ns and telling.told_ns is None:
            values = {name: value for name, value in row._mapping.items() if name != "told"}
            return Untold(**values, moment=moment, telling=telling, now_ns=now)
    return None


def _read_tellings(told: Any, receiver: str) -> dict[Moment, Telling]:
    entries = told.get(receiver, {}) if isinstance(told, dict) else {}
    return {Moment(name): Telling(**entry) for name, entry in entries.items() if name in {*Moment}}
