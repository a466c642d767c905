"""Assign streams of samples to workers, in the ledger's database: who is there, who is to have what, and who has it.

The protocol follows the Kinesis Client Library 3: a leader writes which worker is to have a stream (`wanted`), and that
worker takes it with the next epoch. It takes it from an owner that lives only when its own sampler of the host answers,
and the owner samples until it learns of that by its next heartbeat: no tick is lost, and a few are sampled twice. Every
sample carries its epoch, and of two of one tick the later epoch counts. All times are the database's. A worker that
lost its lease loses its streams only once another one takes them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.errors import ConflictError
from harness.store.database import Database, now_ns
from harness.store.owners import name_user
from harness.store.tables import WATCH_CHUNKS, WATCH_LEADER, WATCH_STATES, WATCH_STREAMS, WATCH_WORKERS
from harness.store.watch_findings import WorkerFinding, read_findings
from harness.store.watch_log import LogEntry, LogKind, WatchLog

LEASE_S, HEARTBEAT_S = 6.0, 2.0
_LEADER = "watch"
_OF = WATCH_STREAMS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStream:
    """A stream to add. `source`: how its host is reached; `limits`: what its clock is held against."""

    stream: str
    source: Mapping[str, Any]
    limits: Mapping[str, Any]
    interval_s: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """A worker. `lives`: its lease has not ended; `silent_s`: since its last heartbeat; `findings`: its own."""

    worker: str
    registration: int
    process: str
    version: str
    capacity: float
    score: float
    load: float
    draining: bool
    lives: bool
    silent_s: float
    findings: Sequence[WorkerFinding] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLine:
    """A stream: who is to have it, who has it, with which epoch, and whether that lease goes on."""

    stream: str
    weight: float
    wanted: str | None
    owner: str | None
    epoch: int
    leased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSums:
    """Sums that change whenever streams are added, removed, given another weight, or are to go elsewhere."""

    streams: int
    wanted: int
    weight: float
    squared_weight: float
    latest_added_ns: int
    latest_wanted_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The answer to a heartbeat: the epoch of each stream that it has, and the streams that it is to have.

    `left_out`: of those that it has, the ones that nobody is to have: they are beyond all capacity. `mark`: what
    `read_mark` says as long as it is to have the same streams.
    """

    held: Mapping[str, int]
    wanted: frozenset[str]
    left_out: frozenset[str]
    mark: tuple[int, int]


class NameTakenError(ConflictError):
    """A worker whose name another process has, which lives."""


class WatchStreams:
    """The streams and workers of a ledger. `lease_s`: of workers, streams and the leader."""

    def __init__(self, database: Database, *, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._lease_ns = round(lease_s * 1e9)

    # -- streams

    def add(self, streams: Sequence[NewStream], *, by: str | None = None) -> list[str]:
        """Add streams; return the names of those that were there already, which stay as they are.

        One that was removed before goes on with later epochs, and without the word that was told about it then.
        """

        def add(db: sql.Connection) -> list[str]:
            names = [stream.stream for stream in streams]
            there = {*db.execute(sql.select(_OF.stream).where(_OF.stream.in_(names))).scalars()}
            rows = [
                {
                    "stream": stream.stream,
                    "source": dict(stream.source),
                    "limits": dict(stream.limits),
                    "interval_s": stream.interval_s,
                    "weight": stream.weight,
                    "added_by": by or name_user(),
                }
                for stream in streams
                if stream.stream not in there
            ]
            epochs = _end_earlier(db, [str(row["stream"]) for row in rows])
            if rows:
                new = [{**row, "epoch": epochs.get(str(row["stream"]), 0)} for row in rows]
                db.execute(WATCH_STREAMS.insert().values(added_ns=now_ns()), new)
            return sorted(there)

        return self._database.write(add)

    def remove(self, streams: Collection[str]) -> list[str]:
        """Remove streams; return the names of those that were there. Their owners learn it by their next heartbeat."""

        def remove(db: sql.Connection) -> list[str]:
            gone = sql.delete(WATCH_STREAMS).where(_OF.stream.in_([*streams])).returning(_OF.stream)
            return sorted(db.execute(gone).scalars())

        return self._database.write(remove)

    def list_streams(self) -> list[StreamLine]:
        """List the streams, by name."""
        columns = ("stream", "weight", "wanted", "owner", "epoch")
        leased = sql.func.coalesce(self._goes_on(_OF.until_ns), sql.false()).label("leased")
        query = sql.select(*(WATCH_STREAMS.c[name] for name in columns), leased).order_by(_OF.stream)
        return [
            StreamLine(**dict(zip((*columns, "leased"), row, strict=True)))
            for row in self._database.read(lambda db: db.execute(query).all())
        ]

    def sum_streams(self) -> StreamSums:
        """Sum the streams up, by one statement: a leader lists them all only where a sum has changed."""
        query = sql.select(
            sql.func.count(),
            sql.func.count(_OF.wanted),
            *(sql.func.coalesce(sql.func.sum(weight), 0.0) for weight in (_OF.weight, _OF.weight * _OF.weight)),
            *(sql.func.coalesce(sql.func.max(at_ns), 0) for at_ns in (_OF.added_ns, _OF.wanted_ns)),
        )
        row = self._database.read(lambda db: db.execute(query).one())
        streams, wanted, weight, squared_weight, added_ns, wanted_ns = row
        return StreamSums(
            streams=streams,
            wanted=wanted,
            weight=round(weight, 6),
            squared_weight=round(squared_weight, 6),
            latest_added_ns=added_ns,
            latest_wanted_ns=wanted_ns,
        )

    def is_used(self) -> bool:
        """Whether there is any stream or worker: without one, nobody has to lead."""
        tables = (WATCH_STREAMS, WATCH_WORKERS)
        query = sql.select(sql.or_(*(sql.exists(sql.select(1).select_from(table)) for table in tables)))
        return bool(self._database.read(lambda db: db.execute(query).scalar()))

    # -- workers

    def register(self, worker: str, *, capacity: float, score: float, process: str, version: str) -> int:
        """Register a worker; return the number of its registration, which all that it writes names.

        A process that registers anew keeps its streams, with new epochs; those of an earlier process are free.

        Raises ConflictError where another process that lives has this name.
        """
        values = {"capacity": capacity, "score": score, "process": process, "version": version, "load": 0.0}
        values |= {"findings": None}

        def register(db: sql.Connection) -> int:
            there = db.execute(self._workers().where(WATCH_WORKERS.c.worker == worker).with_for_update()).first()
            if there is not None and there.lives and there.process != process:
                raise NameTakenError(
                    f"there is a worker {worker} already: {there.process}, heard {there.silent_ns / 1e9:.0f} s ago",
                    next_step="give this one another name, or end that one",
                )
            number = 1 if there is None else there.registration + 1
            alive = {**values, "draining": False, "registration": number, **self._renewed(), "registered_ns": now_ns()}
            if there is None:
                db.execute(WATCH_WORKERS.insert().values(worker=worker, **alive))
            else:
                db.execute(WATCH_WORKERS.update().where(WATCH_WORKERS.c.worker == worker).values(**alive))
            # The same process goes on with its streams in other epochs; what an earlier one had is free.
            goes_on = there is not None and there.process == process
            kept = {"epoch": _OF.epoch + 1, "until_ns": now_ns() + self._lease_ns}
            free = {"owner": None, "until_ns": None}
            db.execute(WATCH_STREAMS.update().where(_OF.owner == worker).values(**(kept if goes_on else free)))
            return number

        try:
            return self._database.write(register)
        except NameTakenError as error:
            entry = LogEntry(kind=LogKind.NAME_TAKEN, worker=worker, sentence=f"{process}: {error.message}")
            WatchLog(self._database).add([entry])
            raise

    def beat(self, worker: str, registration: int, *, load: float, score: float) -> Heartbeat | None:
        """Renew the leases of a worker and of all its streams; None where it has to register anew."""

        def beat(db: sql.Connection) -> Heartbeat | None:
            renewed = {**self._renewed(), "load": load, "score": score}
            if not db.execute(_registered(worker, registration).values(**renewed)).rowcount:
                return None
            held = db.execute(
                WATCH_STREAMS.update()
                .where(_OF.owner == worker)
                .values(until_ns=now_ns() + self._lease_ns)
                .returning(_OF.stream, _OF.epoch, _OF.wanted)
            ).all()
            wanted = db.execute(sql.select(_OF.stream, _OF.wanted_ns).where(_OF.wanted == worker)).all()
            return Heartbeat(
                held={row.stream: row.epoch for row in held},
                wanted=frozenset(row.stream for row in wanted),
                left_out=frozenset(row.stream for row in held if row.wanted is None),
                mark=(len(wanted), max((row.wanted_ns or 0 for row in wanted), default=0)),
            )

        return self._database.write(beat)

    def read_mark(self, worker: str) -> tuple[int, int]:
        """Read how many streams a worker is to have, and when one was given to it last, ns: a cheap question."""
        latest_ns = sql.func.coalesce(sql.func.max(_OF.wanted_ns), 0)
        query = sql.select(sql.func.count(), latest_ns).where(_OF.wanted == worker)
        streams, at_ns = self._database.read(lambda db: db.execute(query).one())
        return streams, at_ns

    def claim(
        self, worker: str, registration: int, streams: Collection[str], *, ready: Collection[str] = ()
    ) -> dict[str, int]:
        """Take streams that this worker is to have and nobody has; return their new epochs by their names.

        Those of `ready`, which this worker can sample from now on, are also taken from an owner that lives.
        """

        def claim(db: sql.Connection) -> dict[str, int]:
            fence = sql.select(WATCH_WORKERS.c.worker).where(*_is_registered(worker, registration))
            if db.execute(fence.with_for_update(read=True)).first() is None:
                return {}
            is_free = sql.or_(_OF.owner.is_(None), sql.not_(self._goes_on(_OF.until_ns)), _OF.stream.in_(sorted(ready)))
            # Rows are locked in one order: workers that claim at once wait for one another, without a deadlock.
            free = sql.select(_OF.stream).where(_OF.stream.in_([*streams]), _OF.wanted == worker, is_free)
            names = db.execute(free.order_by(_OF.stream).with_for_update()).scalars().all()
            taken = db.execute(
                WATCH_STREAMS.update()
                .where(_OF.stream.in_(names), is_free)
                .values(owner=worker, epoch=_OF.epoch + 1, until_ns=now_ns() + self._lease_ns)
                .returning(_OF.stream, _OF.epoch)
            ).all()
            return {row.stream: row.epoch for row in taken}

        return self._database.write(claim)

    def release(self, worker: str, epochs: Mapping[str, int]) -> None:
        """Give streams back, those whose epoch is still the worker's."""
        ours = (_OF.owner == worker) & (_OF.stream == sql.bindparam("of")) & (_OF.epoch == sql.bindparam("at"))
        free = WATCH_STREAMS.update().where(ours).values(owner=None, until_ns=None)
        rows = [{"of": stream, "at": epoch} for stream, epoch in sorted(epochs.items())]
        if rows:
            self._execute(free, rows)

    def drain(self, worker: str, registration: int) -> None:
        """Have a worker get no more streams: those that it has go to others."""
        self._execute(_registered(worker, registration).values(draining=True))

    def leave(self, worker: str, registration: int) -> None:
        """Remove a worker that has given back its streams."""
        gone = sql.delete(WATCH_WORKERS).where(*_is_registered(worker, registration))
        self._execute(gone)

    def list_workers(self) -> list[WorkerLine]:
        """List the workers, by name."""
        rows = self._database.read(lambda db: db.execute(self._workers().order_by(WATCH_WORKERS.c.worker)).all())
        return [
            WorkerLine(
                worker=row.worker,
                registration=row.registration,
                process=row.process,
                version=row.version,
                capacity=row.capacity,
                score=row.score,
                load=row.load,
                draining=row.draining,
                lives=bool(row.lives),
                silent_s=row.silent_ns / 1e9,
                findings=read_findings(row.findings),
            )
            for row in rows
        ]

    # -- the leader

    def lead(self, process: str) -> int | None:
        """Lead, or go on to lead; return the epoch of this leadership, None while another process leads."""

        def lead(db: sql.Connection) -> int | None:
            until = {"until_ns": now_ns() + self._lease_ns}
            place = WATCH_LEADER.c.leader == _LEADER
            ours = WATCH_LEADER.update().where(
                place, WATCH_LEADER.c.process == process, self._goes_on(WATCH_LEADER.c.until_ns)
            )
            epoch = db.execute(ours.values(**until).returning(WATCH_LEADER.c.epoch)).scalar()
            if epoch is not None:
                return int(epoch)
            over = WATCH_LEADER.update().where(place, sql.not_(self._goes_on(WATCH_LEADER.c.until_ns)))
            values = {**until, "process": process, "epoch": WATCH_LEADER.c.epoch + 1}
            epoch = db.execute(over.values(**values).returning(WATCH_LEADER.c.epoch)).scalar()
            if epoch is None:
                insert = self._database.insert(WATCH_LEADER)
                first = insert.values(leader=_LEADER, epoch=1, process=process, **until).on_conflict_do_nothing()
                epoch = db.execute(first.returning(WATCH_LEADER.c.epoch)).scalar()
            return None if epoch is None else int(epoch)

        return self._database.write(lead)

    def resign(self, process: str) -> None:
        """Give up to lead: another process may lead at once."""
        ours = WATCH_LEADER.update().where(WATCH_LEADER.c.leader == _LEADER, WATCH_LEADER.c.process == process)
        self._execute(ours.values(until_ns=0))

    def write_plan(self, epoch: int, moves: Mapping[str, str | None]) -> bool:
        """Write which worker is to have each stream that moves; False where this leadership is over."""

        def write(db: sql.Connection) -> bool:
            held = (WATCH_LEADER.c.epoch == epoch) & self._goes_on(WATCH_LEADER.c.until_ns)
            if db.execute(sql.select(WATCH_LEADER.c.epoch).where(held).with_for_update()).first() is None:
                return False
            rows = [{"of": stream, "to": worker} for stream, worker in sorted(moves.items())]
            if rows:
                move = WATCH_STREAMS.update().where(_OF.stream == sql.bindparam("of"))
                db.execute(move.values(wanted=sql.bindparam("to"), wanted_ns=now_ns()), rows)
            return True

        return self._database.write(write)

    def _goes_on(self, until_ns: sql.ColumnElement[Any]) -> sql.ColumnElement[bool]:
        return goes_on(until_ns, self._lease_ns)

    def _workers(self) -> sql.Select[Any]:
        return sql.select(
            WATCH_WORKERS,
            self._goes_on(WATCH_WORKERS.c.until_ns).label("lives"),
            (now_ns() - WATCH_WORKERS.c.beat_ns).label("silent_ns"),
        )

    def _execute(self, statement: Any, rows: Sequence[Mapping[str, object]] | None = None) -> None:
        def execute(db: sql.Connection) -> None:
            db.execute(statement, rows)

        self._database.write(execute)

    def _renewed(self) -> dict[str, Any]:
        return {"beat_ns": now_ns(), "until_ns": now_ns() + self._lease_ns}


def _end_earlier(db: sql.Connection, names: Sequence[str]) -> dict[str, int]:
    """Remove the words about streams that were removed and are added again; return the latest epoch of each."""
    epochs = dict[str, int]()
    for of in (WATCH_STATES.c, WATCH_CHUNKS.c):
        latest = sql.select(of.stream, sql.func.max(of.epoch).label("epoch")).where(of.stream.in_(names))
        for row in db.execute(latest.group_by(of.stream)).all():
            epochs[row.stream] = max(epochs.get(row.stream, 0), row.epoch)
    db.execute(sql.delete(WATCH_STATES).where(WATCH_STATES.c.stream.in_(names)))
    return epochs


def goes_on(until_ns: sql.ColumnElement[Any], lease_ns: int) -> sql.ColumnElement[bool]:
    """Whether a lease goes on. One that ends much later than any may is of before the database's clock was set."""
    return (until_ns > now_ns()) & (until_ns <= now_ns() + 2 * lease_ns)


def _is_registered(worker: str, registration: int) -> tuple[sql.ColumnElement[bool], ...]:
    return WATCH_WORKERS.c.worker == worker, WATCH_WORKERS.c.registration == registration


def _registered(worker: str, registration: int) -> Any:
    return WATCH_WORKERS.update().where(*_is_registered(worker, registration))
