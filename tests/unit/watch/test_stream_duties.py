"""The leader's duties for clocks: incidents of what workers told, told once, and the figures of each day."""

from collections.abc import Iterator, Sequence

import pytest

from harness import units
from harness.model.watched import StreamState
from harness.store.ledger import Ledger
from harness.store.owners import read_now
from harness.store.tables import WATCH_STATES, WATCH_STREAMS
from harness.store.watch_incidents import WatchDays, WatchIncidents
from harness.store.watch_states import StreamWord, WatchStates
from harness.store.watch_streams import WatchStreams
from harness.watch.service_level import ServiceLevel
from harness.watch.stream_duties import StreamDuties
from tests.doubles.watched_clock import lose_phc
from tests.doubles.watched_ledger import WatchedLedger

STREAMS = [f"web-{number}" for number in range(6)]


@pytest.fixture
def watched(ledger_url: str) -> Iterator[WatchedLedger]:
    ledger = Ledger(ledger_url)
    watched = WatchedLedger(database=ledger.database)
    watched.add(*STREAMS)
    yield watched
    ledger.close()


def test_clocks_that_went_bad_together_are_one_incident_which_is_told_once(watched: WatchedLedger) -> None:
    for stream in STREAMS:
        watched.sample(stream, 700, fault=lose_phc, for_s=60)
    duties, epoch = StreamDuties(watched.database), WatchStreams(watched.database).lead("test") or 0
    (told,) = duties.find_incidents(epoch)
    assert "began: 6 streams: phc unreadable; all streams: web-0" in told
    assert duties.find_incidents(epoch) == []
    (incident,) = WatchIncidents(watched.database).list()
    assert incident.streams == tuple(STREAMS)


def test_all_streams_are_read_only_where_a_new_one_is_bad(
    watched: WatchedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bool] = []
    listed = WatchStates.list

    def count(states: WatchStates, *, figures: bool = True) -> Sequence[StreamWord]:
        read.append(figures)
        return listed(states, figures=figures)

    monkeypatch.setattr(WatchStates, "list", count)
    for stream in STREAMS:
        watched.sample(stream, 700)
    duties, epoch = StreamDuties(watched.database), WatchStreams(watched.database).lead("test") or 0
    assert (duties.find_incidents(epoch), read) == ([], [])
    watched.sample("web-1", 700, fault=lose_phc, for_s=60)
    assert len(duties.find_incidents(epoch)) == 1
    assert read == [False]
    assert (duties.find_incidents(epoch), read) == ([], [False]), "it is in its incident"
    silent = WATCH_STATES.update().where(WATCH_STATES.c.stream == "web-2")
    silent = silent.values(sampled_ns=WATCH_STATES.c.sampled_ns - 40 * 10**9)
    watched.database.write(lambda db: db.execute(silent) and None)
    duties.find_incidents(epoch)
    assert read == [False, False], "an old word is not that of a good clock"


def test_leader_of_before_tells_nothing(watched: WatchedLedger) -> None:
    watched.sample("web-1", 700, fault=lose_phc, for_s=60)
    assert StreamDuties(watched.database).find_incidents(0) == []
    assert WatchIncidents(watched.database).list() == []


def test_figures_of_a_day_are_written_once_it_is_over(watched: WatchedLedger) -> None:
    now_s = watched.database.read(read_now) // 10**9
    begun_s = (now_s - 3600) // 86_400 * 86_400  # of the day that is not over yet
    watched.sample("web-1", 600, until_s=now_s - begun_s + 60)
    duties = StreamDuties(watched.database)
    assert duties.write_days(1) == []
    day = units.utc_moment((begun_s - 1) * 10**9).date().isoformat()
    figures = WatchDays(watched.database).read("web-1", day, day)[day]
    assert ServiceLevel.from_json(figures["service"]).seen == 600
    assert figures["quality"]["seen"] == 600
    assert WatchDays(watched.database).list_streams(day) == {"web-1"}


def test_limits_that_are_not_understood_hold_no_day_up(watched: WatchedLedger) -> None:
    watched.sample("web-1", 60)
    damaged = WATCH_STREAMS.update().values(limits={"limits": 3})
    watched.database.write(lambda db: db.execute(damaged) and None)
    assert StreamDuties(watched.database).write_days(1) == []


def test_words_that_are_told_are_those_of_the_judge(watched: WatchedLedger) -> None:
    changes = watched.sample("web-1", 700)
    assert [change.state for change in changes] == [StreamState.UNKNOWN, StreamState.OK]
    assert WatchStates(watched.database).read(["web-1"])["web-1"].state is StreamState.OK
