"""Read what the ledger says of a watch now: each clock, the workers, and what was done of late. Made for metrics."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model.enums import Reason
from harness.model.watched import StreamState
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.tables import (
    WATCH_CHUNKS,
    WATCH_INCIDENTS,
    WATCH_LEADER,
    WATCH_LOG,
    WATCH_STATES,
    WATCH_STREAMS,
    WATCH_WORKERS,
)
from harness.store.watch_cursors import Lag, WatchCursors
from harness.store.watch_told import IncidentTellings
from harness.store.word_age import find_age_s, is_fresh

RECENT_S, LOG_S, SENDER_S = 300.0, 3600.0, 3600.0
_STREAM, _STATE, _CHUNK = WATCH_STREAMS.c, WATCH_STATES.c, WATCH_CHUNKS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockFigures:
    """The latest word about a clock. `age_s`: since it was stored, None: there is none.

    `state` is UNKNOWN and `figures` are empty where the word is old: a dead worker never reads as a good clock.
    """

    stream: str
    state: StreamState
    reason: Reason | None
    age_s: float | None
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFigures:
    """The figures of a watch. `workers`: how many are alive, draining, silent; `capacity`, `weight`: sums.

    `unassigned`: streams that no worker is to have; `unowned`: those that none has. `stored_ticks`: of the latest five
    minutes, by whether they were spooled; `log`: entries of the latest hour, by kind; `incidents`: those that go on, by
    kind; `oldest_chunk_s`: age of the oldest chunk that is not archived.
    """

    clocks: Sequence[ClockFigures]
    is_led: bool
    workers: Mapping[str, int]
    capacity: float
    weight: float
    most_load: float | None
    unassigned: int
    unowned: int
    stored_ticks: Mapping[bool, int]
    log: Mapping[str, int]
    incidents: Mapping[str, int]
    untold: int
    oldest_chunk_s: float | None
    lags: Sequence[Lag]


def read_watch_figures(database: Database) -> WatchFigures:
    """Read the figures of a watch."""
    figures = database.read(_read)
    lags = WatchCursors(database).read_lags(within_s=SENDER_S)
    return WatchFigures(**figures, lags=lags, untold=IncidentTellings(database).count_untold())


def _read(db: sql.Connection) -> dict[str, Any]:
    now = read_now(db)
    leads = sql.select(sql.func.count()).select_from(WATCH_LEADER).where(WATCH_LEADER.c.until_ns > now)
    streams = db.execute(
        sql.select(
            sql.func.coalesce(sql.func.sum(_STREAM.weight), 0.0),
            sql.func.count().filter(_STREAM.wanted.is_(None)),
            sql.func.count().filter(sql.or_(_STREAM.owner.is_(None), _STREAM.until_ns <= now)),
        )
    ).one()
    workers = db.execute(sql.select(WATCH_WORKERS)).all()
    alive = [row for row in workers if row.until_ns > now]
    recent = _CHUNK.stored_ns > now - round(RECENT_S * 1e9)
    ticks = sql.func.sum(_CHUNK.last_tick - _CHUNK.first_tick + 1)
    log = sql.select(WATCH_LOG.c.kind, sql.func.count()).where(WATCH_LOG.c.logged_ns > now - round(LOG_S * 1e9))
    open_ones = sql.select(WATCH_INCIDENTS.c.kind, sql.func.count()).where(WATCH_INCIDENTS.c.ended_ns.is_(None))
    oldest = db.execute(sql.select(sql.func.min(_CHUNK.stored_ns))).scalar()
    return {
        "clocks": _read_clocks(db, now),
        "is_led": bool(db.execute(leads).scalar_one()),
        "workers": Counter(_describe_worker(row, now) for row in workers),
        "capacity": math.fsum(row.capacity for row in alive if not row.draining),
        "weight": float(streams[0]),
        "most_load": max((row.load for row in alive), default=None),
        "unassigned": streams[1],
        "unowned": streams[2],
        "stored_ticks": {
            bool(replayed): int(number)
            for replayed, number in db.execute(sql.select(_CHUNK.replayed, ticks).where(recent).group_by("replayed"))
        },
        "log": _count(db, log.group_by(WATCH_LOG.c.kind)),
        "incidents": _count(db, open_ones.group_by(WATCH_INCIDENTS.c.kind)),
        "oldest_chunk_s": None if oldest is None else max(0.0, (now - oldest) / 1e9),
    }


def _count(db: sql.Connection, query: sql.Select[Any]) -> dict[str, int]:
    return {f"{name}": int(number) for name, number in db.execute(query).all()}


def _describe_worker(row: Any, now: int) -> str:
    if row.until_ns <= now:
        return "silent"
    return "draining" if row.draining else "alive"


def _read_clocks(db: sql.Connection, now: int) -> list[ClockFigures]:
    of_state = (_STATE.state, _STATE.reason, _STATE.sampled_ns, _STATE.tick, _STATE.latest)
    columns = (_STREAM.stream, _STREAM.interval_s, *of_state)
    joined = WATCH_STREAMS.outerjoin(WATCH_STATES, _STATE.stream == _STREAM.stream)
    query = sql.select(*columns).select_from(joined).order_by(_STREAM.stream)
    return [_make_clock(row, now) for row in db.execute(query).all()]


def _make_clock(row: Any, now: int) -> ClockFigures:
    """Make the figures of a clock; an old word says nothing."""
    age_s = None
    if row.sampled_ns is not None:
        age_s = find_age_s(now, sampled_ns=row.sampled_ns, tick=row.tick, interval_s=row.interval_s)
    fresh = age_s is not None and is_fresh(age_s, row.interval_s) and row.state in {*StreamState}
    return ClockFigures(
        stream=row.stream,
        state=StreamState(row.state) if fresh else StreamState.UNKNOWN,
        reason=Reason(row.reason) if fresh and row.reason in {*Reason} else None,
        age_s=None if age_s is None else max(0.0, age_s),
        figures=row.latest if fresh and isinstance(row.latest, dict) else {},
    )
