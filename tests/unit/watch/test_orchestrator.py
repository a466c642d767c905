"""The process that leads: one of several, whose duties are done, whose ledger may be away, and that ends at once."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from harness import __version__
from harness.errors import SetupError
from harness.store.database import LedgerAwayError, now_ns
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_STREAMS, WATCH_WORKERS
from harness.store.watch_log import LogEntry, LogKind, WatchLog
from harness.store.watch_streams import NewStream, WatchStreams
from harness.store.watch_view import WatchView, WatchViews
from harness.watch import orchestrator
from harness.watch.circuit_breaker import CircuitOptions, CircuitState
from harness.watch.holdings import Holdings
from harness.watch.orchestrator import Duty, Orchestrator

LEASE_S = 4.0


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = Ledger(ledger_url)
    yield opened
    opened.close()


Make = Callable[..., Orchestrator]


@pytest.fixture
def make(ledger: Ledger) -> Iterator[Make]:
    """Makes processes that may lead, and stops those that were started."""
    made: list[Orchestrator] = []

    def make_one(name: str = "hub", **more: object) -> Orchestrator:
        made.append(Orchestrator(ledger.database, process=name, lease_s=LEASE_S, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for each in made:
        each.stop()


def add(ledger: Ledger, *names: str) -> WatchStreams:
    streams = WatchStreams(ledger.database, lease_s=LEASE_S)
    streams.add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada")
    return streams


def join(streams: WatchStreams, name: str, *, capacity: float = 9) -> Holdings:
    worker = Holdings(
        streams=streams, worker=name, process=f"{name}/1", version=__version__, capacity=capacity, lease_s=LEASE_S
    )
    worker.step()
    return worker


def sentences(ledger: Ledger, *kinds: LogKind) -> list[str]:
    return [line.entry.sentence for line in reversed(WatchLog(ledger.database).list_lines(kinds=kinds))]


def wait_until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_where_nothing_is_watched_nobody_leads(ledger: Ledger, make: Make) -> None:
    hub = make()
    assert hub.look() is None
    assert WatchViews(ledger.database).read_leader() is None
    add(ledger, "s")
    assert hub.look() is not None


def test_streams_go_to_workers_and_all_is_told(ledger: Ledger, make: Make) -> None:
    streams, hub = add(ledger, "s", "t"), make()
    worker = join(streams, "w")
    step = hub.look()
    assert step is not None
    assert step.moves == {"s": "w", "t": "w"}
    assert worker.has_news()
    worker.step()
    assert worker.current().keys() == {"s", "t"}
    assert not worker.has_news()
    assert sentences(ledger) == [
        "hub leads, epoch 1",
        "worker w is there: w/1, capacity 9",
        "stream s is to go from nobody to w, since no worker was to have it",
        "stream t is to go from nobody to w, since no worker was to have it",
    ]
    join(streams, "v")
    hub.look()
    assert sentences(ledger)[-1] in {f"stream {each} is to go from w to v, since loads are to be even" for each in "st"}
    worker.drain()
    hub.look()
    assert sentences(ledger)[-1].endswith("from w to v, since w drains")
    worker.leave()
    hub.look()
    assert "worker w drains" in sentences(ledger)


def test_many_moves_are_told_with_their_reasons_and_a_stream_without_room_as_such(ledger: Ledger, make: Make) -> None:
    streams, hub = add(ledger, *(f"s{number}" for number in range(25))), make()
    worker = join(streams, "w", capacity=22)
    hub.look()
    told = sentences(ledger)
    assert "22 streams are to go to w: 22 since no worker was to have it" in told
    worker.step()
    worker.leave()
    join(streams, "v", capacity=30)
    hub.look()
    told = sentences(ledger)
    assert "25 streams are to go to v: 22 since w has left, 3 since no worker was to have it" in told
    WatchStreams(ledger.database).drain("v", 1)
    hub.look()
    assert "25 streams are to go to no worker: 25 since there is no room" in sentences(ledger)


def test_streams_are_listed_only_when_something_has_changed(
    ledger: Ledger, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, hub = add(ledger, "s"), make()
    worker = join(streams, "w")
    hub.look()
    hub.look()
    listed: list[int] = []
    usual = WatchStreams.list_streams
    monkeypatch.setattr(WatchStreams, "list_streams", lambda self: listed.append(1) or usual(self))
    for _ in range(3):
        worker.step()
        hub.look()
    assert listed == []
    add(ledger, "t")
    step = hub.look()
    assert step is not None
    assert step.moves == {"t": "w"}
    streams.remove(["s"])
    hub.look()
    assert len(listed) == 2


def test_one_of_two_leads_and_the_other_follows_at_once_when_it_is_stopped(ledger: Ledger, make: Make) -> None:
    add(ledger, "s")
    first, second = make("first"), make("second")
    first.start()
    wait_until(lambda: first.snapshot().leads)
    second.start()
    time.sleep(1.2)
    assert not second.snapshot().leads
    begun_s = time.monotonic()
    first.stop()
    assert time.monotonic() - begun_s < 4.0
    wait_until(lambda: second.snapshot().leads, within_s=30.0)
    assert second.snapshot().epoch == 2
    assert second.why_not_ready() is None
    second.stop()
    leader = WatchViews(ledger.database).read_leader()
    assert leader is not None
    assert not leader.leads


def test_duties_are_done_by_the_leader_alone_and_their_problems_are_told(ledger: Ledger, make: Make) -> None:
    add(ledger, "s")
    epochs: list[int] = []
    others: list[int] = []

    def note(epoch: int) -> list[LogEntry | str]:
        epochs.append(epoch)
        return [LogEntry(kind=LogKind.MEND, sentence="noted"), "a sentence"]

    def fail(_epoch: int) -> list[LogEntry]:
        raise SetupError("there is no disk")

    duties = [Duty(name="notes", every_s=0.05, do=note), Duty(name="fails", every_s=0.05, do=fail)]
    hub = make(duties=duties)
    idle = Duty(name="notes", every_s=0.05, do=lambda epoch: others.append(epoch) or [])
    follower = make("other", duties=[idle])
    hub.start()
    wait_until(lambda: hub.snapshot().leads)
    follower.start()
    wait_until(lambda: len(epochs) >= 2 and hub.snapshot().duties["fails"][1] >= 2)
    hub.stop()
    assert {*epochs} == {1}
    assert others == []
    assert "noted" in sentences(ledger, LogKind.MEND)
    assert "notes: a sentence" in sentences(ledger, LogKind.DUTY)
    follower.stop()


def test_a_ledger_that_is_away_is_asked_seldom_and_its_return_is_told(
    ledger: Ledger, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(ledger, "s")
    hub = make(circuit=CircuitOptions(failures=2, pause_s=0.05, longest_pause_s=0.1))
    hub.look()
    asked: list[int] = []

    def away(_streams: WatchStreams, _process: str) -> int:
        asked.append(1)
        raise LedgerAwayError("the ledger is away")

    with monkeypatch.context() as patch:
        patch.setattr(WatchStreams, "lead", away)
        hub.start()
        wait_until(lambda: hub.snapshot().circuit.state is CircuitState.OPEN)
        assert not hub.snapshot().leads
        wait_until(lambda: hub.snapshot().circuit.opened >= 2)
    wait_until(lambda: hub.snapshot().leads)
    hub.stop()
    assert hub.snapshot().circuit.failed["LedgerAwayError"] == len(asked)
    (told,) = sentences(ledger, LogKind.FAULT)
    assert "the ledger was away for" in told
    assert "LedgerAwayError" in told


def test_a_stuck_worker_is_asked_to_register_anew_and_loses_no_tick(ledger: Ledger, make: Make) -> None:
    streams, hub = add(ledger, "s"), make()
    worker = join(streams, "w")
    hub.look()
    worker.step()
    before = dict(worker.current())
    assert before == {"s": 1}
    streams.release("w", before)  # what the ledger says is no longer what the worker has
    a_minute_ago = WATCH_STREAMS.update().values(wanted_ns=now_ns() - round(60e9), added_ns=0)
    ledger.database.write(lambda db: db.execute(a_minute_ago) and None)
    hub.look()
    hub.check(1)
    assert worker.current(), "it goes on meanwhile"
    entries = hub.check(1)
    assert [entry.sentence for entry in entries if entry.kind is LogKind.MEND] == [
        "worker w is to register anew: what it has is not what the ledger says"
    ]
    worker.step()
    assert worker.current() == {"s": 2}


def test_the_row_of_a_worker_that_was_dead_for_long_is_removed(
    ledger: Ledger, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, now_s = add(ledger, "s"), [0.0]
    hub = make(now=lambda: now_s[0])
    alive, dead = join(streams, "alive"), join(streams, "dead")
    del dead
    gone = WATCH_WORKERS.update().where(WATCH_WORKERS.c.worker == "dead").values(until_ns=1)
    ledger.database.write(lambda db: db.execute(gone) and None)
    monkeypatch.setattr(orchestrator, "FORGOTTEN_AFTER_S", 100.0)
    alive.step()
    assert hub.tidy(1) == []
    now_s[0] += 101.0
    alive.step()
    assert [entry.sentence for entry in hub.tidy(1)] == ["worker dead is removed: it was dead for long"]
    assert [line.worker for line in streams.list_workers()] == ["alive"]


def test_it_ends_within_seconds_while_a_duty_goes_on(ledger: Ledger, make: Make) -> None:
    add(ledger, "s")
    began, may_end = threading.Event(), threading.Event()

    def work(_epoch: int) -> list[LogEntry]:
        began.set()
        may_end.wait(60)
        return []

    hub = make(duties=[Duty(name="long", every_s=0.01, do=work)])
    hub.start()
    assert began.wait(60)
    begun_s = time.monotonic()
    hub.stop()
    assert time.monotonic() - begun_s < 5.0
    may_end.set()
    leader = WatchViews(ledger.database).read_leader()
    assert leader is not None
    assert not leader.leads


def test_a_database_whose_clock_was_set_is_told_and_nothing_is_mended_for_that(
    ledger: Ledger, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, hub = add(ledger, "s"), make()
    worker = join(streams, "w")
    hub.look()
    worker.step()
    assert hub.check(1) == []
    usual = WatchViews.read

    def an_hour_later(views: WatchViews) -> WatchView:
        view = usual(views)
        return replace(view, at_ns=view.at_ns + 3600 * 10**9)

    monkeypatch.setattr(WatchViews, "read", an_hour_later)
    (told,) = hub.check(1)
    assert told.sentence.startswith("the database's clock was set by +3600 s")
    assert hub.check(1) == ()
