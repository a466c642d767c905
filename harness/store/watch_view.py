"""Read all that the ledger says of a watch at one moment: leader, workers, streams, and what was sampled of late."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sql

from harness.store.database import Database, now_ns
from harness.store.tables import WATCH_CHUNKS, WATCH_LEADER, WATCH_LOG, WATCH_STATES, WATCH_STREAMS
from harness.store.watch_log import LogKind
from harness.store.watch_streams import LEASE_S, WatchStreams, WorkerLine, goes_on

LATE_S = 120.0
"""How far back chunks are looked at: they come once a minute and stream."""

_MOST_STRANGE = 10_000
_OF, _STATE, _CHUNK = WATCH_STREAMS.c, WATCH_STATES.c, WATCH_CHUNKS.c


class WatchedStream(NamedTuple):
    """A stream and the latest word about its clock. Times in ns, of the database; None: never, or nothing.

    `until_ns`: the end of the owner's lease. `tick`: the latest that the word speaks of; `sampled_ns`: when it came.
    """

    stream: str
    interval_s: float
    weight: float
    wanted: str | None
    wanted_ns: int | None
    owner: str | None
    epoch: int
    until_ns: int | None
    added_ns: int
    state: str | None
    reason: str | None
    tick: int | None
    sampled_ns: int | None


class StrangeSamples(NamedTuple):
    """Samples of late that are not of the owner and epoch that the ledger has of their stream, in so many chunks.

    `owner`, `owner_epoch`: of the ledger. `owner_from_tick`: the first that the owner stored with that epoch, if any.
    """

    stream: str
    worker: str
    epoch: int
    first_tick: int
    last_tick: int
    chunks: int
    interval_s: float
    owner: str | None
    owner_epoch: int
    owner_from_tick: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderLine:
    """The process that leads, or led until `until_ns`."""

    process: str
    epoch: int
    until_ns: int
    leads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchView:
    """The content of the ledger at `at_ns`. `names_taken`: the names with which a second process came of late."""

    at_ns: int
    lease_s: float
    leader: LeaderLine | None
    workers: Sequence[WorkerLine]
    streams: Sequence[WatchedStream]
    strange: Sequence[StrangeSamples]
    names_taken: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayLine:
    """Chunks that a worker had spooled and stored of late, and when the latest of them came."""

    worker: str
    chunks: int
    latest_ns: int


class WatchViews:
    """Reads views of a ledger's watch. `lease_s`: that of its `WatchStreams`."""

    def __init__(self, database: Database, *, lease_s: float = LEASE_S) -> None:
        self._database, self._lease_s = database, lease_s
        self._lease_ns = round(lease_s * 1e9)
        self._streams = WatchStreams(database, lease_s=lease_s)

    def read(self) -> WatchView:
        """Read a view. Its parts are read one after the other: what changes meanwhile may not fit together."""
        return WatchView(
            at_ns=self.read_now(),
            lease_s=self._lease_s,
            leader=self.read_leader(),
            workers=self._streams.list_workers(),
            streams=self.list_streams(),
            strange=self._list_strange(),
            names_taken=self._list_names_taken(),
        )

    def read_now(self) -> int:
        """Return the database's time, ns."""
        return self._database.read(lambda db: int(db.execute(sql.select(now_ns())).scalar_one()))

    def read_leader(self) -> LeaderLine | None:
        """Return who leads, or led last; None where nobody ever did."""
        query = sql.select(WATCH_LEADER, goes_on(WATCH_LEADER.c.until_ns, self._lease_ns).label("leads"))
        row = self._database.read(lambda db: db.execute(query).first())
        if row is None:
            return None
        return LeaderLine(process=row.process, epoch=row.epoch, until_ns=row.until_ns, leads=bool(row.leads))

    def list_streams(
        self, *, after: str = "", most: int | None = None, worker: str | None = None, state: str | None = None
    ) -> list[WatchedStream]:
        """List streams by name: those behind `after`, of a worker that has them, or is to have them, in a state."""
        columns = [*(_OF[name] for name in WatchedStream._fields[:9])]
        columns += [_STATE[name] for name in WatchedStream._fields[9:]]
        joined = WATCH_STREAMS.outerjoin(WATCH_STATES, _STATE.stream == _OF.stream)
        query = sql.select(*columns).select_from(joined).where(_OF.stream > after).order_by(_OF.stream).limit(most)
        if worker is not None:
            query = query.where(sql.or_(_OF.owner == worker, _OF.wanted == worker))
        if state is not None:
            query = query.where(_STATE.state == state)
        rows = self._database.read(lambda db: db.execute(query).all())
        return [WatchedStream._make(row) for row in rows]

    def find_stream(self, stream: str) -> WatchedStream | None:
        """Find a stream by its name."""
        columns = [*(_OF[name] for name in WatchedStream._fields[:9])]
        columns += [_STATE[name] for name in WatchedStream._fields[9:]]
        joined = WATCH_STREAMS.outerjoin(WATCH_STATES, _STATE.stream == _OF.stream)
        query = sql.select(*columns).select_from(joined).where(_OF.stream == stream)
        row = self._database.read(lambda db: db.execute(query).first())
        return None if row is None else WatchedStream._make(row)

    def list_replays(self) -> list[ReplayLine]:
        """List what workers replayed in the latest hour, by worker."""
        late = (_CHUNK.stored_ns > now_ns() - round(3600e9)) & _CHUNK.replayed
        query = sql.select(_CHUNK.worker, sql.func.count(), sql.func.max(_CHUNK.stored_ns)).where(late)
        rows = self._database.read(lambda db: db.execute(query.group_by(_CHUNK.worker).order_by(_CHUNK.worker)).all())
        return [ReplayLine(worker=worker, chunks=chunks, latest_ns=latest_ns) for worker, chunks, latest_ns in rows]

    def _list_strange(self) -> list[StrangeSamples]:
        """List the samples of late that are not of their stream's owner and epoch, the latest of each worker."""
        columns = (_CHUNK.stream, _CHUNK.worker, _CHUNK.epoch, _OF.interval_s, _OF.owner, _OF.epoch.label("now"))
        late = (_CHUNK.stored_ns > now_ns() - round(LATE_S * 1e9)) & sql.not_(_CHUNK.replayed)
        strange = sql.or_(_OF.epoch != _CHUNK.epoch, _OF.owner != _CHUNK.worker)
        first, last = sql.func.min(_CHUNK.first_tick), sql.func.max(_CHUNK.last_tick)
        latest = (
            sql.select(*columns, first.label("first"), last.label("last"), sql.func.count().label("chunks"))
            .select_from(WATCH_CHUNKS.join(WATCH_STREAMS, _OF.stream == _CHUNK.stream))
            .where(late, strange)
            .group_by(*columns)
            .limit(_MOST_STRANGE)
            .subquery()
        )
        of, owners = latest.c, WATCH_CHUNKS.alias()
        begun = sql.select(sql.func.min(owners.c.first_tick)).where(
            owners.c.stream == of.stream, owners.c.epoch == of.now, owners.c.worker == of.owner
        )
        sampled = (of.stream, of.worker, of.epoch, of["first"], of["last"], of.chunks)
        row = (*sampled, of.interval_s, of.owner, of.now, begun.scalar_subquery())
        query = sql.select(*row).order_by(of.stream, of.worker, of.epoch)
        return [StrangeSamples._make(each) for each in self._database.read(lambda db: db.execute(query).all())]

    def _list_names_taken(self) -> list[str]:
        late = (WATCH_LOG.c.logged_ns > now_ns() - round(LATE_S * 1e9)) & (WATCH_LOG.c.kind == LogKind.NAME_TAKEN.value)
        query = sql.select(WATCH_LOG.c.worker).where(late).distinct().order_by(WATCH_LOG.c.worker)
        return [*self._database.read(lambda db: db.execute(query).scalars().all())]
