"""The words about watched clocks: fenced by epoch, kept with their changes, and UNKNOWN when they are old."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sql

from harness.model.enums import Reason
from harness.model.incidents import Incident
from harness.model.watched import StateChange, StreamState
from harness.store.database import Database
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CHANGES, WATCH_INCIDENTS, WATCH_STATES, WATCH_STREAMS
from harness.store.watch_incidents import WatchDays, WatchIncidents
from harness.store.watch_states import StateLine, WatchStates
from harness.store.watch_streams import NewStream, WatchStreams

OK, BROKEN, UNKNOWN = StreamState.OK, StreamState.BROKEN, StreamState.UNKNOWN


@pytest.fixture
def database(ledger_url: str) -> Iterator[Database]:
    ledger = Ledger(ledger_url)
    streams = WatchStreams(ledger.database)
    streams.add([NewStream(stream=name, source={}, limits={}) for name in ("a", "b", "c")])
    registration = streams.register("w1", capacity=10, score=1.0, process="p", version="1")
    streams.write_plan(streams.lead("hub") or 0, {"a": "w1", "b": "w1"})
    streams.claim("w1", registration, ["a", "b"])
    yield ledger.database
    ledger.close()


def now_s(database: Database) -> float:
    from harness.store.database import now_ns

    return float(database.read(lambda db: db.execute(sql.select(now_ns())).scalar_one())) / 1e9


def line(database: Database, **changes: Any) -> StateLine:
    values: dict[str, Any] = {
        "stream": "a",
        "epoch": 1,
        "tick": int(now_s(database)),
        "state": OK,
        "reason": None,
        "sentence": "all limits are held",
        "since_tick": int(now_s(database)) - 100,
        "latest": {"offset_ns": 12},
        "judging": {"version": 1},
        "host": {"kernel": "6.1"},
    }
    return WatchStates(database).make_line(**{**values, **changes})


@pytest.mark.parametrize("interval_s", [0.2, 1.0, 60.0])
def test_doubtful_words_are_those_that_are_not_ok_or_old(database: Database, interval_s: float) -> None:
    states, now = WatchStates(database), now_s(database)
    database.write(lambda db: db.execute(WATCH_STREAMS.update().values(interval_s=interval_s)) and None)
    states.write([line(database, tick=int(now / interval_s))], [], worker="w1", replayed=False)
    longest_s = max(15.0, 5 * interval_s) + 5.0
    for sampled_s, tick_s in itertools.product(
        (-longest_s - 9, 9 - longest_s, -1, longest_s - 9, longest_s + 9), repeat=2
    ):
        tick = int((now + tick_s) / interval_s)
        moved = WATCH_STATES.update().values(sampled_ns=round((now + sampled_s) * 1e9), tick=tick)
        database.write(lambda db, moved=moved: db.execute(moved) and None)
        is_old = states.read(["a"])["a"].old_s is not None
        assert [word.stream for word in states.list_doubtful()] == (["a"] if is_old else []), (sampled_s, tick_s)
    broken = WATCH_STATES.update().values(state="broken", sampled_ns=round(now * 1e9), tick=int(now / interval_s))
    database.write(lambda db: db.execute(broken) and None)
    assert [(word.stream, word.state) for word in states.list_doubtful()] == [("a", BROKEN)]


def test_words_are_read_as_they_were_written(database: Database) -> None:
    states = WatchStates(database)
    assert states.write([line(database), line(database, stream="b")], [], worker="w1", replayed=False) == set()
    word = states.read(["a"])["a"]
    assert (word.state, word.owner, word.epoch, word.old_s) == (OK, "w1", 1, None)
    assert (word.latest, word.host) == ({"offset_ns": 12}, {"kernel": "6.1"})
    assert states.read_saved(["a", "c"]) == {"a": {"version": 1}}


def test_stream_without_a_word_is_unknown_and_one_that_is_not_watched_is_left_out(database: Database) -> None:
    words = WatchStates(database).list()
    assert [(word.stream, word.state) for word in words] == [("a", UNKNOWN), ("b", UNKNOWN), ("c", UNKNOWN)]
    assert WatchStates(database).read(["nowhere"]) == {}


def test_word_of_an_epoch_that_is_over_is_refused_and_named_and_its_changes_are_kept(database: Database) -> None:
    states = WatchStates(database)
    change = StateChange(tick=5, interval_ns=10**9, state=BROKEN, reason=Reason.OUT_OF_LIMITS, sentence="too far")
    lines = [line(database, epoch=0), line(database, stream="b"), line(database, stream="gone")]
    assert states.write(lines, [("a", 0, change)], worker="w1", replayed=True) == {"a", "gone"}
    assert states.read(["a"])["a"].sampled_ns is None
    (kept,) = states.list_changes(["a"])
    assert (kept.change, kept.epoch, kept.replayed) == (change, 0, True)
    assert states.write([line(database)], [], worker="another", replayed=False) == {"a"}


def test_later_epoch_and_later_tick_count(database: Database) -> None:
    states, tick = WatchStates(database), int(now_s(database))
    states.write([line(database, tick=tick)], [], worker="w1", replayed=False)
    states.write([line(database, tick=tick - 3, sentence="earlier")], [], worker="w1", replayed=False)
    assert states.read(["a"])["a"].sentence == "all limits are held"
    states.write([line(database, tick=tick + 1, sentence="later")], [], worker="w1", replayed=False)
    assert states.read(["a"])["a"].sentence == "later"


def test_changes_that_come_twice_are_kept_once(database: Database) -> None:
    states = WatchStates(database)
    changes = [StateChange(tick=tick, interval_ns=10**9, state=BROKEN, reason=None, sentence="x") for tick in (5, 6, 7)]
    for _ in range(2):
        states.write([], [("a", 1, change) for change in changes], worker="w1", replayed=False)
    assert [each.change.tick for each in states.list_changes(["a"])] == [7, 6, 5]
    assert [each.change.tick for each in states.list_changes_between("a", 6, 7, interval_ns=10**9)] == [5, 6, 7]


def _age(database: Database, column: Any, value: int) -> None:
    update = WATCH_STATES.update().values({column: column - value})
    database.write(lambda db: db.execute(update) and None)


@pytest.mark.parametrize(("age_s", "expected"), [(15, OK), (19, OK), (25, UNKNOWN), (4000, UNKNOWN)])
def test_old_word_is_unknown_by_the_databases_time_whatever_it_says(
    database: Database, age_s: int, expected: StreamState
) -> None:
    states = WatchStates(database)
    states.write([line(database)], [], worker="w1", replayed=False)
    _age(database, WATCH_STATES.c.sampled_ns, age_s * 10**9)
    word = states.read(["a"])["a"]
    assert word.state is expected
    if expected is UNKNOWN:
        assert "before that, it was ok" in word.sentence


def test_word_about_ticks_of_long_ago_is_unknown_though_it_was_just_told(database: Database) -> None:
    states = WatchStates(database)
    states.write([line(database, tick=int(now_s(database)) - 60)], [], worker="w1", replayed=False)
    assert states.read(["a"])["a"].state is UNKNOWN


def test_words_that_a_host_made_are_one_bounded_line(database: Database) -> None:
    states = WatchStates(database)
    states.write([line(database, sentence="\x1b[31mred\n" + "x" * 5000)], [], worker="w1", replayed=False)
    sentence = states.read(["a"])["a"].sentence
    assert "\x1b" not in sentence
    assert "\n" not in sentence
    assert len(sentence) <= 1100


def test_word_of_another_version_is_unknown(database: Database) -> None:
    states = WatchStates(database)
    states.write([line(database)], [], worker="w1", replayed=False)
    database.write(
        lambda db: db.execute(WATCH_STATES.update().values(state="great", reason="luck", latest=[1])) and None
    )
    word = states.read(["a"])["a"]
    assert (word.state, word.reason, word.latest) == (UNKNOWN, None, {})


def test_what_is_older_is_pruned(database: Database) -> None:
    states = WatchStates(database)
    change = StateChange(tick=5, interval_ns=10**9, state=BROKEN, reason=None, sentence="x")
    states.write([line(database), line(database, stream="b")], [("a", 1, change)], worker="w1", replayed=False)
    old = WATCH_CHANGES.update().values(stored_ns=WATCH_CHANGES.c.stored_ns - 91 * 86_400 * 10**9)
    database.write(lambda db: db.execute(old) and None)
    WatchStreams(database).remove(["b"])
    assert states.prune(days=90) == 2
    assert states.list_changes() == []
    assert [word.stream for word in states.list()] == ["a", "c"]


AN_INCIDENT = Incident(
    incident="i1",
    kind="out_of_limits",
    cause="kernel 6.1",
    streams=("a", "b"),
    sentence="2 streams",
    recommendation="look",
    began_ns=5,
)


def test_incidents_begin_grow_and_end_and_keep_to_whom_they_were_told(database: Database) -> None:
    incidents = WatchIncidents(database)
    assert incidents.write([AN_INCIDENT])
    database.write(lambda db: db.execute(WATCH_INCIDENTS.update().values(told={"webhook": 1})) and None)
    grown = replace(AN_INCIDENT, streams=("a", "b", "c"), sentence="3 streams")
    incidents.write([grown])
    assert incidents.list() == [grown]
    incidents.write([replace(grown, ended_ns=9)])
    assert incidents.list() == []
    assert incidents.list(ended=True) == [replace(grown, ended_ns=9)]
    assert database.read(lambda db: db.execute(sql.select(WATCH_INCIDENTS.c.told)).scalar_one()) == {"webhook": 1}
    assert incidents.prune(days=30) == 1


def test_leader_of_before_writes_no_incident(database: Database) -> None:
    epoch = WatchStreams(database).lead("hub") or 0
    assert not WatchIncidents(database).write([AN_INCIDENT], leadership=epoch - 1)
    assert WatchIncidents(database).list() == []
    assert WatchIncidents(database).write([AN_INCIDENT], leadership=epoch)


def test_days_are_written_anew_and_read_in_order(database: Database) -> None:
    days = WatchDays(database)
    days.write("a", "2026-11-30", {"ticks": 1})
    days.write("a", "2026-11-29", {"ticks": 5})
    days.write("a", "2026-11-30", {"ticks": 2})
    assert days.read("a", "2026-11-01", "2026-11-30") == {"2026-11-29": {"ticks": 5}, "2026-11-30": {"ticks": 2}}
    assert days.list_streams("2026-11-30") == {"a"}
