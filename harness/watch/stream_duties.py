"""Do what the leader of a watch does for its clocks beside planning: incidents, figures of days, pruning."""

import datetime
from collections.abc import Iterable, Sequence

import sqlalchemy as sql

from harness import units
from harness.campaign.profiles import Profile
from harness.errors import HarnessError, RequestError
from harness.model.incidents import Incident
from harness.store.database import Database
from harness.store.owners import read_now
from harness.store.tables import WATCH_STREAMS
from harness.store.watch_incidents import WatchDays, WatchIncidents
from harness.store.watch_samples import WatchSamples
from harness.store.watch_states import StreamWord, WatchStates
from harness.watch.day_figures import compute_day_figures, find_day_ticks
from harness.watch.grid import to_interval_ns
from harness.watch.incidents import TRAITS, Condition, update_incidents
from harness.watch.stream_limits import StreamLimits, read_limits

KEPT_DAYS = 90
"""So long changes of state, and incidents that have ended, are kept."""

_DAY_IS_OVER_S = 3600
"""A day is summed up when it is over for so long: what workers had spooled has come by then, as a rule."""

_AT_ONCE = 10


class StreamDuties:
    """The duties of a leader for the streams of a ledger. `profiles`: held against each day."""

    def __init__(self, database: Database, *, profiles: Sequence[Profile] = ()) -> None:
        self._database, self._profiles = database, profiles
        self._states, self._incidents = WatchStates(database), WatchIncidents(database)
        self._days, self._samples = WatchDays(database), WatchSamples(database)

    def find_incidents(self, leadership: int) -> Sequence[str]:
        """Find incidents that began, grew or ended, and write them; return a sentence for each.

        Writes nothing where this leadership is over. Each second is often enough.

        All streams are read only where one is bad that is in no incident: what good ones have in common tells its
        cause. Else those of incidents are enough, which may end.
        """
        now_ns = self._database.read(read_now)
        going_on = self._incidents.list(most=100_000)
        members = {stream for incident in going_on for stream in incident.streams}
        bad = [condition for condition in _make_conditions(self._states.list_doubtful()) if condition.kind is not None]
        if any(condition.stream not in members for condition in bad):
            conditions = _make_conditions(self._states.list(figures=False))
        else:
            conditions = _make_conditions(self._states.read(sorted(members), figures=False).values())
        changed = update_incidents(conditions, going_on, now_ns)
        if not self._incidents.write(changed, leadership=leadership):
            return []
        known = {incident.incident for incident in going_on}
        return [_describe(incident, grew=incident.incident in known) for incident in changed]

    def write_days(self, _leadership: int) -> Sequence[str]:
        """Write the figures of the latest whole day of a few streams that have none; return a sentence where some lack.

        A day at 1 Hz takes 1.4 s of a core, 3.3 s with the profiles that come along: called each minute, it has summed
        up 10,000 streams by the end of the next day. Days that are written twice, by two leaders, are the same.
        """
        day = _find_day(self._database.read(read_now))
        have = self._days.list_streams(day)
        words = [
            word for word in self._states.list(figures=False) if word.stream not in have and word.sampled_ns is not None
        ]
        problems = []
        for word in words[:_AT_ONCE]:
            problem = self._write_day(word, day)
            if problem:
                problems.append(problem)
        return problems

    def _write_day(self, word: StreamWord, day: str) -> str | None:
        first, last = find_day_ticks(day, word.interval_s)
        interval_ns = to_interval_ns(word.interval_s)
        changes = self._states.list_changes_between(word.stream, first, last, interval_ns=interval_ns)
        try:
            figures = compute_day_figures(
                day,
                self._samples.read(word.stream, first, last, interval_ns=interval_ns),
                [line.change for line in changes],
                interval_s=word.interval_s,
                limits=self._read_limits(word.stream),
                added_ns=word.added_ns,
                profiles=self._profiles,
            )
        except HarnessError as error:
            self._days.write(word.stream, day, {"problem": error.message})
            return f"{word.stream} has no figures of {day}: {error.message}"
        self._days.write(word.stream, day, figures)
        return None

    def _read_limits(self, stream: str) -> StreamLimits:
        query = sql.select(WATCH_STREAMS.c.limits).where(WATCH_STREAMS.c.stream == stream)
        stored = self._database.read(lambda db: db.execute(query).scalar())
        try:
            return read_limits(stored if isinstance(stored, dict) else {})
        except RequestError:
            return read_limits({})  # its judge has told it; the table of limits is what is left

    def prune(self, _leadership: int) -> Sequence[str]:
        """Remove what is older than KEPT_DAYS; once an hour is often enough."""
        self._states.prune(days=KEPT_DAYS)
        self._incidents.prune(days=KEPT_DAYS)
        return []


def _make_conditions(words: Iterable[StreamWord]) -> list[Condition]:
    return [condition for word in words if (condition := make_condition(word))]


def make_condition(word: StreamWord) -> Condition | None:
    """Make the condition of a stream from its word; None for a stream of which no word was ever told."""
    if word.since_ns is None:
        return None
    traits = {name: str(word.host[name]) for name in TRAITS if name in word.host}
    if word.owner is not None:
        traits["worker"] = word.owner
    return Condition(stream=word.stream, state=word.state, reason=word.reason, since_ns=word.since_ns, traits=traits)


def _find_day(now_ns: int) -> str:
    moment = units.utc_moment(now_ns) - datetime.timedelta(seconds=_DAY_IS_OVER_S)
    return (moment.date() - datetime.timedelta(days=1)).isoformat()


def _describe(incident: Incident, *, grew: bool) -> str:
    what = "ended" if incident.ended_ns is not None else "grew" if grew else "began"
    return f"incident {incident.incident} {what}: {incident.sentence}"
