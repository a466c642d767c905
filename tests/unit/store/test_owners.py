"""Whoever owns a run or host can write of it; whoever lost it notices at its next write, and changes nothing."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from harness.errors import RequestError
from harness.model import Stage
from harness.store import owners
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.store.tables import HOSTS, OWNERS, RUNS
from tests.unit.store.test_ledger import host

ROOT = Path(__file__).parents[3]
OpenLedger = Callable[[], Ledger]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of two seconds."""
    monkeypatch.setattr(owners, "LEASE_S", 2.0)
    monkeypatch.setattr(owners, "HEARTBEAT_S", 0.2)


def end_lease(ledger: Ledger, *, elsewhere: bool = True) -> None:
    """As if the heartbeat of this owner had stopped long ago, and its process were one of another machine."""
    ledger.close()
    values = {"until_ns": now_ns() - 1, **({"place": "elsewhere"} if elsewhere else {})}
    update = OWNERS.update().where(OWNERS.c.owner == ledger.owner).values(values)
    ledger.database.write(lambda db: db.execute(update))


def open_run(ledger: Ledger, *names: str) -> str:
    return ledger.open_run(bench="lab", campaign={}, hosts=dict.fromkeys(names, "lab.phc"))


def test_times_are_of_the_database_and_of_now(ledger: Ledger) -> None:
    assert abs(ledger.now_ns() - time.time_ns()) < 5e9
    run = open_run(ledger, "a")
    assert 0 <= ledger.now_ns() - ledger.find(run).started_ns < 60e9


def test_the_longest_is_claimed_first_then_in_order(ledger: Ledger) -> None:
    run = ledger.open_run(
        bench="lab", campaign={}, hosts=dict.fromkeys("abcd", "lab.phc"), expected_s={"c": 900.0, "d": 30.0}
    )
    claimed = [line for _ in range(4) if (line := ledger.claim(run)) is not None]
    assert [line.host for line in claimed] == ["c", "d", "a", "b"]
    assert {line.attempt for line in claimed} == {1}
    assert ledger.claim(run) is None


def test_hosts_of_chosen_types_are_claimed_in_the_same_order(ledger: Ledger) -> None:
    hosts = {"a": "m7i.large", "b": "m7i.metal-24xl", "c": "m7i.large", "d": "c7i.metal-48xl", "e": "c7i.large"}
    run = ledger.open_run(bench="ec2", campaign={}, hosts=hosts, expected_s={"c": 900.0, "d": 30.0})
    metal = ["m7i.metal-24xl", "c7i.metal-48xl"]
    claimed = [ledger.claim(run, metal) for _ in range(3)]
    assert [line and line.host for line in claimed] == ["d", "b", None]
    assert ledger.claim(run, ()) is None
    others = [ledger.claim(run) for _ in range(4)]
    assert [line and line.host for line in others] == ["c", "a", "e", None]


def test_two_owners_never_claim_one_host(open_ledger: OpenLedger) -> None:
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "a", "b")
    ours, theirs = first.claim(run), second.claim(run)
    assert ours is not None
    assert theirs is not None
    assert {ours.host, theirs.host} == {"a", "b"}
    with pytest.raises(
        OwnershipLostError, match=rf"{theirs.host} of run {run} is no longer ours: process {os.getpid()}"
    ):
        first.begin_step(theirs.token, Stage.PROVISION)
    with pytest.raises(RequestError, match="is in other hands"):
        first.own_host(run, theirs.host)


def test_an_owner_that_renews_its_lease_keeps_its_run(quick: None, open_ledger: OpenLedger) -> None:
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "a")
    time.sleep(3)
    line = second.find(run)
    assert (line.alive(), line.owner.beats > 5) == (True, True)
    with pytest.raises(
        RequestError, match=rf"run {run} is under way: process {os.getpid()} leads it since .*, last heard"
    ):
        second.take_over(run)


def test_a_run_is_taken_over_once_its_owner_is_dead_and_that_one_can_write_no_more(
    quick: None, open_ledger: OpenLedger
) -> None:
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "judged", "begun", "waiting")
    judged, begun = first.claim(run), first.claim(run)
    assert judged is not None
    assert begun is not None
    first.record_verdict(judged.token, host("judged"))
    first.begin_step(begun.token, Stage.PROVISION)
    end_lease(first)
    waited: list[float] = []
    second.take_over(run, waited.append)
    assert waited[0] == pytest.approx(2.0, abs=0.5), "it is watched for the length of a lease"
    assert second.find(run).attempt == 2
    for write in (
        lambda: first.begin_step(begun.token, Stage.REACH),
        lambda: first.record_verdict(begun.token, host("begun")),
        lambda: first.record_state(judged.token, host("judged")),
        lambda: first.close_run(_record_of(run)),
    ):
        with pytest.raises(OwnershipLostError, match="is no longer ours"):
            write()
    assert [step.stage for step in second.steps(run)] == [Stage.PROVISION]
    second.record_state(judged.token, host("judged"))
    again = [second.claim(run), second.claim(run), second.claim(run)]
    assert [line and (line.host, line.attempt) for line in again] == [("begun", 2), ("waiting", 1), None]
    assert again[0] is not None
    assert [str(token) for token in again[0].tokens] == [f"{run}/begun/1", f"{run}/begun/2"]


def test_an_owner_with_a_short_lease_is_watched_for_that_alone(ledger_url: str, open_ledger: OpenLedger) -> None:
    first, second = Ledger(ledger_url, lease_s=2.0), open_ledger()
    run = open_run(first, "a")
    values = {"place": "elsewhere"}
    first.database.write(lambda db: db.execute(OWNERS.update().where(OWNERS.c.owner == first.owner).values(values)))
    time.sleep(3)
    assert second.find(run).alive(), "it is renewed four times in its length"
    first.close()
    waited: list[float] = []
    while second.find(run).alive():
        time.sleep(0.1)
    second.take_over(run, waited.append)
    assert waited[0] == pytest.approx(2.0, abs=0.3)


def test_what_an_owner_leaves_when_it_resigns_is_taken_over_at_once(quick: None, open_ledger: OpenLedger) -> None:
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "a")
    values = {"place": "elsewhere"}
    first.database.write(lambda db: db.execute(OWNERS.update().where(OWNERS.c.owner == first.owner).values(values)))
    first.resign()
    time.sleep(0.5)  # no heartbeat renews it any more
    assert not second.find(run).alive()
    waited: list[float] = []
    second.take_over(run, waited.append)
    assert waited == []


def test_an_owner_that_beats_while_it_is_watched_is_not_dead(quick: None, open_ledger: OpenLedger) -> None:
    """As after a step of the database's clock: all leases look ended, and nobody is."""
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "a")
    values = {"until_ns": now_ns() - 1, "place": "elsewhere"}
    first.database.write(lambda db: db.execute(OWNERS.update().where(OWNERS.c.owner == first.owner).values(values)))
    with pytest.raises(RequestError, match="is under way"):
        second.take_over(run)
    first.begin_step(first.own_host(run, "a").token, Stage.PROVISION)


def test_of_two_that_take_over_one_does(quick: None, open_ledger: OpenLedger) -> None:
    first, second, third = open_ledger(), open_ledger(), open_ledger()
    run = open_run(first, "a")
    end_lease(first)
    seen = third.find_dead_run(run)
    second.take_over(run)
    third.find_dead_run = lambda _run: seen  # type: ignore[method-assign]  # looked before the other took it over
    with pytest.raises(RequestError, match="another process goes on with run"):
        third.take_over(run)


def test_a_process_of_this_machine_that_ended_is_not_waited_for(ledger: Ledger, ledger_url: str) -> None:
    run = book(ledger_url, "print(books.open_run(bench='lab', campaign={}, hosts={'a': 'lab.phc'}))").strip()
    assert ledger.find(run).owner.has_ended()
    waited: list[float] = []
    ledger.take_over(run, waited.append)
    assert waited == []


def test_a_process_that_was_stopped_beyond_its_lease_has_lost_its_run(open_ledger: OpenLedger, ledger_url: str) -> None:
    program = (
        "from harness.store import owners; owners.LEASE_S, owners.HEARTBEAT_S = 1.0, 0.1\n"
        "books = Ledger(sys.argv[1]); run = books.open_run(bench='lab', campaign={}, hosts={'a': 'lab.phc'})\n"
        "token = books.claim(run).token; print(run, flush=True); sys.stdin.readline()\n"
        "try: books.begin_step(token, Stage.PROVISION)\n"
        "except OwnershipLostError as error: print(error, flush=True)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owners, "LEASE_S", 1.0)
        argv = [sys.executable, "-c", IMPORTS + program, ledger_url]
        with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            run = child.stdout.readline().strip()
            child.send_signal(signal.SIGSTOP)
            try:
                time.sleep(1.5)
                ledger = open_ledger()
                ledger.take_over(run)
            finally:
                child.send_signal(signal.SIGCONT)
            said, _ = child.communicate("go on\n", timeout=60)
    assert f"a of run {run} is no longer ours" in said
    assert ledger.steps(run) == []


CLAIMS = """
books = Ledger(sys.argv[1])
while (line := books.claim(sys.argv[2])) is not None:
    step = books.begin_step(line.token, Stage.PROVISION)
    books.end_step(step, "done")
    books.record_state(line.token, replace(host(line.host), attempt=line.attempt))
    print(line.token, flush=True)
books.close()
"""
IMPORTS = """
import sys
from dataclasses import replace
from harness.model import Stage
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from tests.unit.store.test_ledger import host
"""


@pytest.mark.programs
@pytest.mark.slow
def test_eight_processes_claim_two_hundred_hosts_each_once(ledger: Ledger, ledger_url: str) -> None:
    names = [f"h{number}" for number in range(200)]
    run = open_run(ledger, *names)
    argv = [sys.executable, "-c", IMPORTS + CLAIMS, ledger_url, run]
    children = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = [child.communicate(timeout=300)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * 8
    assert Counter(token for tokens in said for token in tokens) == Counter(f"{run}/{name}/1" for name in names)
    assert sum(bool(tokens) for tokens in said) > 1
    hosts = HOSTS.select().where(HOSTS.c.run == run)
    assert {(row.attempt, row.owner) for row in ledger.database.read(lambda db: db.execute(hosts).all())} == {(1, None)}
    assert len(ledger.steps(run)) == 200


def test_a_claim_whose_answer_was_lost_is_the_one_that_comes_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(ledger, "a", "b")
    usual = ledger.database.write

    def twice(work: Callable[[sql.Connection], object]) -> object:
        usual(work)  # committed, and the connection went away before the answer
        return usual(work)

    monkeypatch.setattr(ledger.database, "write", twice)
    claimed = [ledger.claim(run), ledger.claim(run), ledger.claim(run)]
    assert [line and (line.host, line.attempt) for line in claimed] == [("a", 1), ("b", 1), None]
    assert claimed[0] is not None
    ledger.begin_step(claimed[0].token, Stage.PROVISION)
    assert len(ledger.steps(run)) == 1
    ledger.record_state(claimed[0].token, host("a"))
    assert open_run(ledger, "c") in {line.run for line in ledger.runs()}
    assert len(ledger.runs()) == 2


def test_a_host_that_was_settled_can_be_owned_by_the_next(open_ledger: OpenLedger) -> None:
    first, second = open_ledger(), open_ledger()
    run = open_run(first, "a")
    token = first.own_host(run, "a").token
    first.record_state(token, host("a"))
    assert second.own_host(run, "a").token == token
    second.record_state(token, replace(host("a"), api_calls=3.0))
    owner = sql.select(RUNS.c.owner).where(RUNS.c.run == run)
    assert second.database.read(lambda db: db.execute(owner).scalar_one()) == first.owner


def book(url: str, words: str) -> str:
    program = f"import sys; from harness.store.ledger import Ledger; books = Ledger(sys.argv[1]); {words}"
    done = subprocess.run([sys.executable, "-c", program, url], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def _record_of(run: str) -> object:
    from harness.model import RunRecord

    return RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(), leftovers=())


def test_a_ledger_that_nobody_uses_any_more_leaves_no_thread(quick: None, ledger_url: str) -> None:
    before = {*threading.enumerate()}
    ledgers = [Ledger(ledger_url) for _ in range(3)]
    for ledger in ledgers:
        open_run(ledger, "a")
    heartbeats = {*threading.enumerate()} - before
    assert len(heartbeats) == 3
    del ledger
    ledgers.clear()
    give_up_at = time.monotonic() + 30
    while heartbeats & {*threading.enumerate()}:
        assert time.monotonic() < give_up_at
        gc.collect()
        time.sleep(0.1)
