"""View one watched clock: the word about it, its last hour minute by minute, its changes, and its days."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sql

from harness import units
from harness.campaign.limits import Requirement
from harness.errors import RequestError, UnknownNameError
from harness.model.watched import StateChange, StreamState, TickReading
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.tables import WATCH_STREAMS
from harness.store.watch_incidents import WatchDays
from harness.store.watch_samples import WatchSamples
from harness.store.watch_states import ChangeLine, StreamWord, WatchStates
from harness.untrusted.input_checks import shorten_value
from harness.watch.day_figures import find_day_ticks
from harness.watch.grid import to_interval_ns
from harness.watch.remedies import WATCH_REMEDIES
from harness.watch.service_level import (
    DAY_S,
    HOUR_S,
    ServiceLevel,
    find_first_tick,
    measure_service,
    sum_levels,
)
from harness.watch.stream_limits import read_limits

MINUTE_S, MOST_CHANGES, DAYS = 60, 20, 30
_BY_WEIGHT = (StreamState.OK, StreamState.DEGRADED, StreamState.UNKNOWN, StreamState.BROKEN)
"""Of the states of a minute, the last of these that it had is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteView:
    """A minute of a stream. `state`: the worst that it had; `samples` of `ticks`; the greatest values, ns, or None."""

    begin_s: int
    state: StreamState
    ticks: int
    samples: int
    offset_max_ns: int | None
    bound_max_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamView:
    """A stream as of `at_ns`, the database's time. `minutes`: of the interval from `begin_s` to `end_s`.

    `level`: of this interval. `month`: of the days with figures of the last 30, and today so far. `day_figures`: those
    that are kept of the day that was asked for; None where it has none. `notes`: what of its limits it cannot use.
    `watched_from_s`: the minute with which the stream begins, where that is within the interval; else its begin.
    """

    word: StreamWord
    at_ns: int
    begin_s: int
    end_s: int
    watched_from_s: int
    minutes: Sequence[MinuteView]
    changes: Sequence[ChangeLine]
    level: ServiceLevel
    month: ServiceLevel | None
    day: str | None
    day_figures: Mapping[str, Any] | None
    notes: Sequence[str]

    @property
    def remedy(self) -> str | None:
        """The next step, as the ladder says; None for a good clock."""
        return WATCH_REMEDIES[self.word.reason] if self.word.reason else None


def read_view(database: Database, stream: str, *, day: str | None = None) -> StreamView:
    """Read a stream's last hour, or a day (UTC, as 2026-11-30) of it.

    Raises UnknownNameError for a stream that is not watched, RequestError for what is no day.
    """
    states, word = WatchStates(database), find_stream(database, stream)
    at_ns = database.read(read_now)
    begin_s, end_s = _find_interval(day, at_ns)
    first, last = round(begin_s / word.interval_s), round(end_s / word.interval_s) - 1
    interval_ns = to_interval_ns(word.interval_s)
    readings = WatchSamples(database).read(stream, first, last, interval_ns=interval_ns)
    changes = states.list_changes_between(stream, first, last, interval_ns=interval_ns)
    requirements, notes = _read_limits(database, stream)
    told = [line.change for line in changes]
    level = measure_service(
        readings,
        told,
        first_tick=find_first_tick(first, word.added_ns, readings, word.interval_s),
        last_tick=last,
        interval_s=word.interval_s,
        requirements=requirements,
    )
    stored = _read_days(database, stream, at_ns)
    return StreamView(
        word=word,
        at_ns=at_ns,
        begin_s=begin_s,
        end_s=end_s,
        watched_from_s=find_watched_from_s(word, readings[0].tick if readings else None, begin_s, end_s),
        minutes=list_minutes(readings, _end_with_word(told, word), begin_s, end_s, word.interval_s),
        changes=[*reversed(changes)][:MOST_CHANGES],
        level=level,
        month=sum_levels(
            [*_read_levels(stored), *([] if day else [_measure_today(database, word, at_ns, requirements)])]
        ),
        day=day,
        day_figures=stored.get(day) if day else None,
        notes=notes,
    )


def find_stream(database: Database, stream: str) -> StreamWord:
    """Find the word about a stream. Raises UnknownNameError for one that is not watched."""
    word = WatchStates(database).read([stream]).get(stream)
    if word is None:
        raise UnknownNameError(f"there is no stream {shorten_value(stream)}", next_step="`ptp-harness watch list`")
    return word


def read_watched_interval(database: Database, word: StreamWord, day: str) -> tuple[int, int]:
    """Find the begin and the end of a day as far as it is over and the stream was watched, s.

    Raises RequestError for what is no day.
    """
    begin_s, end_s = _find_interval(day, database.read(read_now))
    first, last = find_day_ticks(day, word.interval_s)
    interval_ns = to_interval_ns(word.interval_s)
    earliest = WatchSamples(database).find_first_tick(word.stream, first, last, interval_ns=interval_ns)
    return find_watched_from_s(word, earliest, begin_s, end_s), end_s


def find_watched_from_s(word: StreamWord, earliest_tick: int | None, begin_s: int, end_s: int) -> int:
    """Find the minute in which a stream was added, or of an earlier reading; the begin of the interval for others."""
    from_s = word.added_ns / 1e9
    if earliest_tick is not None:
        from_s = min(from_s, earliest_tick * word.interval_s)
    from_s = from_s // MINUTE_S * MINUTE_S
    return int(from_s) if begin_s < from_s < end_s else begin_s


def _find_interval(day: str | None, at_ns: int) -> tuple[int, int]:
    """Find the begin and the end of an interval, s: whole minutes up to now, or a day, as far as it is over."""
    now_s = -(-at_ns // (MINUTE_S * 10**9)) * MINUTE_S
    if day is None:
        return now_s - HOUR_S, now_s
    try:
        begin_s = find_day_ticks(day, 1.0)[0]
    except ValueError as error:
        raise RequestError(
            f"{shorten_value(day)} is no day", next_step="write it as 2026-11-30; days are of UTC"
        ) from error
    if begin_s >= now_s:
        raise RequestError(f"the day {day} has not begun", next_step="days are of UTC")
    return begin_s, min(begin_s + DAY_S, now_s)


def _read_limits(database: Database, stream: str) -> tuple[tuple[Requirement, ...], Sequence[str]]:
    query = sql.select(WATCH_STREAMS.c.limits).where(WATCH_STREAMS.c.stream == stream)
    stored = database.read(lambda db: db.execute(query).scalar())
    try:
        limits = read_limits(stored if isinstance(stored, dict) else {})
    except RequestError as error:
        return (), [f"its limits are not understood: {error.message}"]
    return limits.requirements, limits.notes


def _read_days(database: Database, stream: str, at_ns: int) -> dict[str, Mapping[str, Any]]:
    today = units.utc_moment(at_ns).date()
    first = today - datetime.timedelta(days=DAYS)
    return WatchDays(database).read(stream, first.isoformat(), today.isoformat())


def _read_levels(stored: Mapping[str, Mapping[str, Any]]) -> list[ServiceLevel]:
    levels = []
    for figures in stored.values():
        try:
            levels.append(ServiceLevel.from_json(figures["service"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version
    return levels


def _measure_today(
    database: Database, word: StreamWord, at_ns: int, requirements: Sequence[Requirement]
) -> ServiceLevel:
    first, _ = find_day_ticks(units.utc_moment(at_ns).date().isoformat(), word.interval_s)
    last = max(first, int(at_ns / 1e9 / word.interval_s) - 1)
    interval_ns = to_interval_ns(word.interval_s)
    readings = WatchSamples(database).read(word.stream, first, last, interval_ns=interval_ns)
    changes = WatchStates(database).list_changes_between(word.stream, first, last, interval_ns=interval_ns)
    return measure_service(
        readings,
        [line.change for line in changes],
        first_tick=find_first_tick(first, word.added_ns, readings, word.interval_s),
        last_tick=last,
        interval_s=word.interval_s,
        requirements=requirements,
    )


def _end_with_word(changes: Sequence[StateChange], word: StreamWord) -> list[StateChange]:
    """End the changes of a stream whose word is old: its state is UNKNOWN since then."""
    if word.old_s is None or word.since_ns is None:
        return [*changes]
    tick = int(word.since_ns / 1e9 / word.interval_s)
    interval_ns = to_interval_ns(word.interval_s)
    unknown = StateChange(
        tick=tick, interval_ns=interval_ns, state=StreamState.UNKNOWN, reason=None, sentence=word.sentence
    )
    return [*(change for change in changes if change.tick < tick), unknown]


def list_minutes(
    readings: Sequence[TickReading], changes: Sequence[StateChange], begin_s: int, end_s: int, interval_s: float
) -> list[MinuteView]:
    """List the minutes of an interval, with the changes in it and the one before. UNKNOWN before the first change."""
    by_minute: dict[int, list[TickReading]] = {}
    for reading in readings:
        by_minute.setdefault(int(reading.tick * interval_s // MINUTE_S), []).append(reading)
    begins: dict[int, list[StreamState]] = {}
    for change in changes:
        begins.setdefault(int(change.tick * interval_s // MINUTE_S), []).append(change.state)
    earlier = [state for minute in sorted(begins) if minute < begin_s // MINUTE_S for state in begins[minute]]
    state = earlier[-1] if earlier else StreamState.UNKNOWN
    minutes = []
    for minute in range(begin_s // MINUTE_S, end_s // MINUTE_S):
        states = [state, *begins.get(minute, ())]
        state = states[-1]
        within = by_minute.get(minute, [])
        offsets = [abs(each.offset_ns) for each in within if each.offset_ns is not None]
        bounds = [each.chrony_bound_ns for each in within if each.chrony_bound_ns is not None]
        minutes.append(
            MinuteView(
                begin_s=minute * MINUTE_S,
                state=max(states, key=_BY_WEIGHT.index),
                ticks=round(MINUTE_S / interval_s),
                samples=len(within),
                offset_max_ns=max(offsets, default=None),
                bound_max_ns=max(bounds, default=None),
            )
        )
    return minutes


def write_document(view: StreamView) -> dict[str, Any]:
    """Write a view as JSON. Times are in UTC; None: not observed."""
    word = view.word
    return {
        "stream": word.stream,
        "state": word.state.value,
        "reason": word.reason and word.reason.value,
        "sentence": word.sentence,
        "since": None if word.since_ns is None else units.utc(word.since_ns),
        "remedy": view.remedy,
        "as_of": units.utc(view.at_ns),
        "tick": word.tick,
        "interval_s": word.interval_s,
        "owner": word.owner,
        "wanted": word.wanted,
        "epoch": word.epoch,
        "host": dict(word.host),
        "figures": dict(word.latest),
        "begin": units.utc(view.begin_s * 10**9),
        "end": units.utc(view.end_s * 10**9),
        "minutes": [{**asdict(minute), "state": minute.state.value} for minute in view.minutes],
        "changes": [write_change(line) for line in view.changes],
        "service": view.level.to_json(),
        "service_30_days": None if view.month is None else view.month.to_json(),
        "day": view.day,
        "quality": (view.day_figures or {}).get("quality"),
        "not_judged": [*view.notes],
    }


def write_change(line: ChangeLine) -> dict[str, Any]:
    """Write a change as JSON."""
    change = line.change
    return {
        "at": units.utc(change.tick * change.interval_ns),
        "tick": change.tick,
        "epoch": line.epoch,
        "state": change.state.value,
        "reason": change.reason and change.reason.value,
        "sentence": change.sentence,
        "replayed": line.replayed,
    }
