"""The events of a run: 1, 2, 3 ... without gaps, in order, each once, whoever writes and whatever fails."""

import datetime
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sql

from harness.model import Event, HostState, RunRecord, Stage
from harness.store import owners
from harness.store.ledger import Ledger
from harness.store.tables import RUNS
from tests.unit.store.test_ledger import host
from tests.unit.store.test_owners import end_lease, open_run

OpenLedger = Callable[[], Ledger]


def said(run: str, text: str, at: str = "a", stage: Stage = Stage.MEASURE) -> Event:
    return Event(run=run, host=at, stage=stage, text=text, at=datetime.datetime.now(datetime.UTC))


def texts(ledger: Ledger, run: str) -> list[str]:
    """All events of a run, whose numbers are held to be without gaps."""
    events = ledger.events(run, most=100_000)
    assert [event.number for event in events] == [*range(1, len(events) + 1)]
    counted = sql.select(RUNS.c.events).where(RUNS.c.run == run)
    assert ledger.database.read(lambda db: db.execute(counted).scalar_one()) == len(events)
    return [event.event.text for event in events]


def close(ledger: Ledger, run: str) -> None:
    ledger.close_run(
        RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(host("a"),), leftovers=())
    )


def test_what_was_said_stands_before_the_state_that_came_after_it(ledger: Ledger) -> None:
    run = open_run(ledger, "a")
    token = ledger.own_host(run, "a").token
    step = ledger.begin_step(token, Stage.MEASURE)
    ledger.say(said(run, "sample 1 of 2"))
    ledger.say(said(run, "sample 2 of 2"))
    ledger.end_step(step, "done")
    ledger.record_state(token, host("a", HostState.KEPT))
    close(ledger, run)
    assert texts(ledger, run) == [
        "begins, hosts: 1", "", "sample 1 of 2", "sample 2 of 2", "done", "kept", "ended: 1 PASS",
    ]  # fmt: skip
    first, *_, last = ledger.events(run)
    assert (first.event.host, first.event.stage, last.event.run) == (None, None, run)
    assert ledger.events(run, after=5) == ledger.events(run)[5:]
    assert ledger.events(run, after=2, most=2) == ledger.events(run)[2:4]


def test_what_is_said_alone_is_written_within_a_second_or_so(ledger: Ledger) -> None:
    run = open_run(ledger, "a")
    ledger.say(said(run, "a long wait"))
    for _ in range(100):
        if "a long wait" in texts(ledger, run):
            break
        threading.Event().wait(0.1)
    assert texts(ledger, run) == ["begins, hosts: 1", "a long wait"]


def test_many_threads_and_two_processes_owners_leave_no_gap(open_ledger: OpenLedger) -> None:
    first, second = open_ledger(), open_ledger()
    names = [f"h{number}" for number in range(8)]
    run = open_run(first, *names)

    def work(ledger: Ledger) -> None:
        while (line := ledger.claim(run)) is not None:
            for number in range(5):
                ledger.say(said(run, f"{line.host} {number}", line.host))
                ledger.end_step(ledger.begin_step(line.token, Stage.REACH), "done")

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in (first, second) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.flush()
    second.flush()
    written = texts(first, run)
    for name in names:
        assert [text for text in written if text.startswith(f"{name} ")] == [f"{name} {number}" for number in range(5)]
    assert len(written) == 1 + 8 * 5 * 3


def test_an_owner_that_lost_its_run_tells_nothing_any_more(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "LEASE_S", 1.0)
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "a")
    first.claim(run)
    end_lease(first)
    second.take_over(run)
    first.say(said(run, "still here"))
    first.flush()
    written = texts(second, run)
    assert written[0] == "begins, hosts: 1"
    assert written[1].startswith("taken over by process ")
    assert len(written) == 2


def test_an_event_is_written_once_though_its_transaction_is_made_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(ledger, "a")
    token = ledger.own_host(run, "a").token
    usual = ledger.database.write

    def twice(work: Callable[[sql.Connection], object]) -> object:
        usual(work)
        return usual(work)

    monkeypatch.setattr(ledger.database, "write", twice)
    ledger.say(said(run, "once"))
    ledger.end_step(ledger.begin_step(token, Stage.REACH), "done")
    assert texts(ledger, run) == ["begins, hosts: 1", "once", "", "done"]


def test_events_of_runs_that_ended_long_ago_are_pruned_and_their_numbers_are_not_given_again(ledger: Ledger) -> None:
    ended, going_on = open_run(ledger, "a"), open_run(ledger, "a")
    ledger.record_state(ledger.own_host(ended, "a").token, host("a"))
    close(ledger, ended)
    assert ledger.prune_events(older_than_s=3600.0) == 0
    assert ledger.prune_events(older_than_s=-60.0) == 3
    assert ledger.events(ended) == []
    assert texts(ledger, going_on) == ["begins, hosts: 1"]
    token = ledger.own_host(ended, "a").token
    ledger.record_state(token, host("a"))
    assert [event.number for event in ledger.events(ended)] == [4]


def test_ten_thousand_events_are_no_burden(ledger: Ledger) -> None:
    run = open_run(ledger, "a")
    for number in range(10_000):
        ledger.say(said(run, f"event {number}"))
    while len(ledger.events(run, most=100_000)) < 10_001:
        ledger.flush()
    assert texts(ledger, run)[1:] == [f"event {number}" for number in range(10_000)]
    assert [event.number for event in ledger.events(run, after=9_990)] == [*range(9_991, 10_002)]
