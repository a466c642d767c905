"""Keep the latest word about each watched clock, and each change of it; nobody reads an old word as a state.

A worker writes the word about a stream with its epoch. A word of an epoch that is over is refused, and the stream is
named to the worker; changes are history and are kept for every epoch. The times of words are the database's, and who
reads them compares with its time: a worker that died never leaves a good clock behind.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState
from harness.store.database import Database, now_ns
from harness.store.tables import WATCH_CHANGES, WATCH_STATES, WATCH_STREAMS
from harness.store.word_age import GRID_APART_S, SILENT_INTERVALS, SILENT_S, STORE_S, find_age_s, is_fresh
from harness.untrusted.plain_text import one_line

_MOST_SENTENCE = 1000
_AT_ONCE = 500
_OF = WATCH_STATES.c


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLine:
    """The word of a worker about a stream: its state up to `tick`, with what figures and another judge need, as JSON.

    `host`: its kernel, driver, type, zone, by which incidents are grouped.
    """

    stream: str
    epoch: int
    tick: int
    state: StreamState
    reason: Reason | None
    sentence: str
    since_tick: int
    latest: Mapping[str, Any]
    judging: Mapping[str, Any]
    host: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamWord:
    """The word about a stream as of the database's time. Times in ns; None: there was none.

    `old_s`: so long ago a word that says nothing any more was told; None for one that counts.
    """

    stream: str
    state: StreamState
    reason: Reason | None
    sentence: str
    since_ns: int | None
    tick: int | None
    sampled_ns: int | None
    old_s: float | None
    interval_s: float
    added_ns: int
    wanted: str | None
    owner: str | None
    epoch: int
    latest: Mapping[str, Any]
    host: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLine:
    """A change of a stream's state as it was told. `replayed`: only after the ledger was away."""

    stream: str
    epoch: int
    change: StateChange
    replayed: bool
    stored_ns: int


class WatchStates:
    """The states of the streams of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make_line(self, **values: Any) -> StateLine:
        """Make the line of a stream's state, for `write`."""
        return StateLine(**values)

    # -- a worker writes

    def write(
        self,
        lines: Sequence[StateLine],
        changes: Sequence[tuple[str, int, StateChange]],
        *,
        worker: str,
        replayed: bool,
    ) -> set[str]:
        """Write words and changes, each with its stream and epoch; return the streams whose epoch is over.

        Of these no word is written. Changes are written once, however often they come.
        """

        def write(db: sql.Connection) -> set[str]:
            self._write_changes(db, changes, replayed=replayed)
            epochs = dict[str, int]()
            for names in _split([line.stream for line in lines]):
                query = sql.select(WATCH_STREAMS.c.stream, WATCH_STREAMS.c.epoch, WATCH_STREAMS.c.owner)
                rows = db.execute(query.where(WATCH_STREAMS.c.stream.in_(names))).all()
                epochs |= {row.stream: row.epoch for row in rows if row.owner in (worker, None)}
            ours = [line for line in lines if epochs.get(line.stream) == line.epoch]
            if ours:
                db.execute(self._upsert(), [_to_row(line) for line in sorted(ours, key=_name)])
            return {line.stream for line in lines} - {line.stream for line in ours}

        return self._database.write(write) if lines or changes else set()

    def _upsert(self) -> Any:
        """Write a word unless a later epoch, or this epoch of a later tick, has spoken."""
        insert = self._database.insert(WATCH_STATES).values(sampled_ns=now_ns())
        new = insert.excluded
        is_later = sql.or_(_OF.epoch < new.epoch, sql.and_(_OF.epoch == new.epoch, _OF.tick <= new.tick))
        names = [column.name for column in WATCH_STATES.columns if column.name not in ("stream", "sampled_ns")]
        values = {**{name: new[name] for name in names}, "sampled_ns": now_ns()}
        return insert.on_conflict_do_update(index_elements=["stream"], set_=values, where=is_later)

    def _write_changes(
        self, db: sql.Connection, changes: Sequence[tuple[str, int, StateChange]], *, replayed: bool
    ) -> None:
        rows = [
            {
                "stream": stream,
                "tick": change.tick,
                "interval_ns": change.interval_ns,
                "epoch": epoch,
                "state": change.state.value,
                "reason": change.reason and change.reason.value,
                "sentence": one_line(change.sentence, _MOST_SENTENCE),
                "replayed": replayed,
            }
            for stream, epoch, change in changes
        ]
        if rows:
            insert = self._database.insert(WATCH_CHANGES).values(stored_ns=now_ns()).on_conflict_do_nothing()
            db.execute(insert, rows)

    def read_saved(self, streams: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Read what the latest judge of each stream saved, for the next; none of those that have none."""
        saved = dict[str, Mapping[str, Any]]()
        for names in _split([*streams]):
            query = sql.select(_OF.stream, _OF.judging).where(_OF.stream.in_(names))
            rows = self._database.read(lambda db, query=query: db.execute(query).all())  # type: ignore[misc]
            saved |= {row.stream: row.judging for row in rows if isinstance(row.judging, dict) and row.judging}
        return saved

    # -- whoever reads

    def read(self, streams: Collection[str], *, figures: bool = True) -> dict[str, StreamWord]:
        """Read the words about some streams; those that are not watched are left out. `figures`: as for `list`."""
        words = [word for names in _split([*streams]) for word in self._read_words(names, figures=figures)]
        return {word.stream: word for word in words}

    def list_doubtful(self) -> Sequence[StreamWord]:
        """List the words about streams that are not OK, or are old; without figures, and without untold streams."""
        return self._read_words(None, figures=False, doubtful=True)

    def _read_words(
        self, streams: Sequence[str] | None, *, figures: bool = True, doubtful: bool = False
    ) -> Sequence[StreamWord]:
        stream, others = WATCH_STREAMS.c, ("stream", "epoch", "judging", "latest")
        columns: list[Any] = [column for column in WATCH_STATES.columns if column.name not in others]
        columns.append(_OF.latest if figures else sql.null().label("latest"))
        query = (
            sql.select(
                stream.stream,
                stream.interval_s,
                stream.added_ns,
                stream.wanted,
                stream.owner,
                stream.epoch,
                *columns,
                now_ns().label("now"),
            )
            .select_from(WATCH_STREAMS.outerjoin(WATCH_STATES, _OF.stream == stream.stream))
            .order_by(stream.stream)
        )
        if streams is not None:
            query = query.where(stream.stream.in_(streams))
        if doubtful:
            query = query.where(sql.or_(_OF.state != StreamState.OK.value, sql.not_(_is_recent())))
        return [_to_word(row) for row in self._database.read(lambda db: db.execute(query).all())]

    def list_changes(
        self, streams: Collection[str] | None = None, *, since_ns: int | None = None, most: int = 1000
    ) -> Sequence[ChangeLine]:
        """List changes, the newest first by their moments within a stream: of some streams, stored since a moment."""
        of = WATCH_CHANGES.c
        query = sql.select(WATCH_CHANGES).order_by(of.stored_ns.desc(), of.tick.desc(), of.epoch.desc()).limit(most)
        if streams is not None:
            query = query.where(of.stream.in_([*streams]))
            query = query.order_by(None).order_by((of.tick * of.interval_ns).desc(), of.epoch.desc())
        if since_ns is not None:
            query = query.where(of.stored_ns >= since_ns)
        return [_to_change(row) for row in self._database.read(lambda db: db.execute(query).all())]

    def list_changes_between(
        self, stream: str, first_tick: int, last_tick: int, *, interval_ns: int
    ) -> Sequence[ChangeLine]:
        """List the changes of a stream within ticks, and the last one before them, in the order of their ticks.

        `interval_ns`: of the grid of these ticks; changes on another one are left out.
        """
        of = WATCH_CHANGES.c
        ours = sql.select(WATCH_CHANGES).where(of.stream == stream, of.interval_ns == interval_ns)
        within = ours.where(of.tick.between(first_tick, last_tick)).order_by(of.tick, of.epoch)
        before = ours.where(of.tick < first_tick).order_by(of.tick.desc(), of.epoch.desc()).limit(1)
        rows = self._database.read(lambda db: [*db.execute(before).all(), *db.execute(within).all()])
        return [_to_change(row) for row in rows]

    def prune(self, *, days: int) -> int:
        """Remove the changes that are older, and the words about streams that are watched no more; return how many."""
        old = sql.delete(WATCH_CHANGES).where(WATCH_CHANGES.c.stored_ns < now_ns() - days * 86_400_000_000_000)
        gone = sql.delete(WATCH_STATES).where(_OF.stream.not_in(sql.select(WATCH_STREAMS.c.stream)))
        return self._database.write(lambda db: int(db.execute(old).rowcount) + int(db.execute(gone).rowcount))

    def list(self, *, figures: bool = True) -> Sequence[StreamWord]:
        """List the words about all streams that are watched, by name; UNKNOWN for those without a word that counts.

        Without `figures` the latest ones are left out, which are most of what there is to read.
        """
        return self._read_words(None, figures=figures)


def _name(line: StateLine) -> str:
    return line.stream


def _split(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))


def _to_row(line: StateLine) -> dict[str, Any]:
    return {
        "stream": line.stream,
        "epoch": line.epoch,
        "tick": line.tick,
        "state": line.state.value,
        "reason": line.reason and line.reason.value,
        "sentence": one_line(line.sentence, _MOST_SENTENCE),
        "since_tick": line.since_tick,
        "latest": dict(line.latest),
        "judging": dict(line.judging),
        "host": dict(line.host),
    }


def _is_recent() -> sql.ColumnElement[bool]:
    """Whether `is_fresh` holds for a word, in SQL."""
    interval_s = WATCH_STREAMS.c.interval_s
    silent_s = sql.case((interval_s * SILENT_INTERVALS > SILENT_S, interval_s * SILENT_INTERVALS), else_=SILENT_S)
    longest_ns = (silent_s + STORE_S) * 1e9
    tick_ended_ns = (sql.cast(_OF.tick, sql.Float) + 1) * interval_s * 1e9 + GRID_APART_S * 1e9
    ages_ns = (now_ns() - _OF.sampled_ns, now_ns() - tick_ended_ns)
    return sql.and_(
        *(age_ns <= longest_ns for age_ns in ages_ns), sql.or_(*(age_ns >= -longest_ns for age_ns in ages_ns))
    )


def _to_word(row: Any) -> StreamWord:
    """Make the word about a stream; an old one, or one about ticks long ago, is UNKNOWN whatever it says."""
    word = {
        "stream": row.stream,
        "interval_s": row.interval_s,
        "added_ns": row.added_ns,
        "wanted": row.wanted,
        "owner": row.owner,
        "epoch": row.epoch,
        "tick": row.tick,
        "sampled_ns": row.sampled_ns,
    }
    if row.sampled_ns is None:
        nothing: dict[str, Any] = {"latest": {}, "host": {}, "since_ns": None, "old_s": None}
        return StreamWord(
            **word, **nothing, state=StreamState.UNKNOWN, reason=None, sentence="no worker has told its state"
        )
    interval_ns = row.interval_s * 1e9
    word |= {"latest": _to_object(row.latest), "host": _to_object(row.host)}
    age_s = find_age_s(row.now, sampled_ns=row.sampled_ns, tick=row.tick, interval_s=row.interval_s)
    if not is_fresh(age_s, row.interval_s):
        when = f"no sample for {age_s:.0f} s" if age_s > 0 else f"its latest word is {-age_s:.0f} s ahead of the ledger"
        sentence = f"{when}; before that, it was {row.state}: {row.sentence}"
        since_ns = round(min(row.sampled_ns, (row.tick + 1) * interval_ns))
        return StreamWord(
            **word,
            state=StreamState.UNKNOWN,
            reason=None,
            sentence=sentence,
            since_ns=since_ns,
            old_s=age_s,
        )
    return StreamWord(
        **word,
        state=_to_state(row.state),
        reason=_to_reason(row.reason),
        sentence=row.sentence,
        since_ns=round(row.since_tick * interval_ns),
        old_s=None,
    )


def _to_change(row: Any) -> ChangeLine:
    change = StateChange(
        tick=row.tick,
        interval_ns=row.interval_ns,
        state=_to_state(row.state),
        reason=_to_reason(row.reason),
        sentence=row.sentence,
    )
    return ChangeLine(
        stream=row.stream, epoch=row.epoch, change=change, replayed=bool(row.replayed), stored_ns=row.stored_ns
    )


def _to_object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _to_state(text: str) -> StreamState:
    """Read a state; a word of another version is UNKNOWN."""
    return StreamState(text) if text in set(StreamState) else StreamState.UNKNOWN


def _to_reason(text: str | None) -> Reason | None:
    return Reason(text) if text in set(Reason) else None
