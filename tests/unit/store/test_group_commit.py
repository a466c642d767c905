"""Threads that write at once share a transaction, and keep their own results and errors."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sql
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import IntegrityError

from harness.errors import SetupError
from harness.model import Stage
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine
from harness.store.tables import OWNERS
from tests.unit.store.test_owners import open_run


def owner(name: str) -> dict[str, object]:
    return {
        "owner": name, "machine": "m", "place": "p", "pid": 1, "pid_start_ticks": 1,
        "since_ns": 1, "beats": 0, "beat_ns": 1, "until_ns": 1,
    }  # fmt: skip


def at_once(ledger: Ledger, works: Sequence[Callable[[sql.Connection], object]]) -> list[object]:
    """Do all works by threads of their own while another transaction holds the turn; their results or errors."""
    return call_at_once(ledger, [partial(ledger.database.write, work) for work in works])


def call_at_once(ledger: Ledger, writers: Sequence[Callable[[], object]]) -> list[object]:
    """Call all by threads of their own, each of which writes once, while another transaction holds the turn."""
    entered, may_end = threading.Event(), threading.Event()

    def hold(_db: sql.Connection) -> None:
        entered.set()
        assert may_end.wait(30)

    def attempt(writer: Callable[[], object]) -> object:
        try:
            return writer()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(writers) + 1) as pool:
        holder = pool.submit(ledger.database.write, hold)
        assert entered.wait(30)
        futures = [pool.submit(attempt, writer) for writer in writers]
        give_up_at = time.monotonic() + 30
        while ledger.database.waiting < len(writers) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        may_end.set()
        holder.result(30)
        return [future.result(30) for future in futures]


def insert(name: str) -> Callable[[sql.Connection], object]:
    def work(db: sql.Connection) -> str:
        db.execute(OWNERS.insert(), owner(name))
        return name

    return work


def names(ledger: Ledger) -> set[str]:
    return {*ledger.database.read(lambda db: db.execute(sql.select(OWNERS.c.owner)).scalars().all())}


def test_twenty_threads_share_one_transaction(ledger: Ledger) -> None:
    wanted = [f"o{number}" for number in range(20)]
    transactions: set[object] = set()

    def insert_and_note(name: str) -> Callable[[sql.Connection], object]:
        def work(db: sql.Connection) -> object:
            transactions.add(db)
            return insert(name)(db)

        return work

    assert at_once(ledger, [insert_and_note(name) for name in wanted]) == wanted
    assert names(ledger) == {*wanted}
    assert len(transactions) == 1


@contextmanager
def lost_answer(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The second commit from now on, heartbeats left out, succeeds, but its answer does not arrive."""
    usual, commits = DefaultDialect.do_commit, iter(range(100))
    error = {"sqlite": sqlite3.OperationalError("database is locked"), "postgresql": psycopg.OperationalError("gone")}

    def commit(dialect: DefaultDialect, connection: Any) -> None:
        usual(dialect, connection)
        if threading.current_thread().name != "heartbeat" and next(commits) == 1:
            raise error[ledger.database.kind]

    with monkeypatch.context() as patched:
        patched.setattr(DefaultDialect, "do_commit", commit)
        yield
    assert sum(ledger.database.retries.values()) == 1


def test_claims_of_one_transaction_whose_answer_was_lost_are_each_found_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(ledger, *[f"h{number}" for number in range(10)])
    with lost_answer(ledger, monkeypatch):
        lines = call_at_once(ledger, [partial(ledger.claim, run)] * 8)
    assert {line.host for line in lines if isinstance(line, HostLine)} == {f"h{number}" for number in range(8)}
    assert {line.attempt for line in ledger.hosts(run)} == {0, 1}
    last = [ledger.claim(run) for _ in range(3)]
    assert [line and line.host for line in last] == ["h8", "h9", None]


def test_events_of_one_transaction_whose_answer_was_lost_are_each_there_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"h{number}" for number in range(8)]
    run = open_run(ledger, *hosts)
    tokens = [ledger.own_host(run, name).token for name in hosts]
    with lost_answer(ledger, monkeypatch):
        call_at_once(ledger, [partial(ledger.begin_step, token, Stage.REACH) for token in tokens])
    events = ledger.events(run)
    assert [event.number for event in events] == [*range(1, 10)]
    assert Counter(event.event.host for event in events) == Counter([None, *hosts])
    assert len(ledger.steps(run)) == 8


def test_an_error_of_one_undoes_its_work_alone(ledger: Ledger) -> None:
    def fail(db: sql.Connection) -> None:
        db.execute(OWNERS.insert(), owner("undone"))
        raise ZeroDivisionError("a bug")

    def twice(db: sql.Connection) -> None:
        db.execute(OWNERS.insert(), owner("a"))

    first, error, second, duplicate = at_once(ledger, [insert("a"), fail, insert("b"), twice])
    assert (second, isinstance(error, ZeroDivisionError)) == ("b", True)
    assert sum(isinstance(each, IntegrityError) for each in (first, duplicate)) == 1
    assert names(ledger) == {"a", "b"}


def test_an_error_of_the_database_is_everybody_s(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.database.GIVE_UP_AFTER_S", 0.0)

    def lose(db: sql.Connection) -> None:
        db.execute(OWNERS.insert(), owner("lost"))
        raise sql.exc.OperationalError("", {}, Exception("database is locked"))

    told = at_once(ledger, [insert("a"), lose, insert("b")])
    assert all(isinstance(each, SetupError) for each in told)
    assert names(ledger) == set()
    assert ledger.database.write(insert("a")) == "a", "the next transaction is as any other"
