"""Threads that write at once share a transaction, and keep their own results and errors."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from harness.errors import SetupError
from harness.store.ledger import Ledger
from harness.store.tables import OWNERS


def owner(name: str) -> dict[str, object]:
    return {
        "owner": name, "machine": "m", "place": "p", "pid": 1, "pid_start_ticks": 1,
        "since_ns": 1, "beats": 0, "beat_ns": 1, "until_ns": 1,
    }  # fmt: skip


def at_once(ledger: Ledger, works: list[Callable[[sql.Connection], object]]) -> list[object]:
    """Do all works by threads of their own while another transaction holds the turn; their results or errors."""
    entered, may_end = threading.Event(), threading.Event()

    def hold(_db: sql.Connection) -> None:
        entered.set()
        assert may_end.wait(30)

    def attempt(work: Callable[[sql.Connection], object]) -> object:
        try:
            return ledger.database.write(work)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works) + 1) as pool:
        holder = pool.submit(ledger.database.write, hold)
        assert entered.wait(30)
        futures = [pool.submit(attempt, work) for work in works]
        give_up_at = time.monotonic() + 30
        while ledger.database.waiting < len(works) and time.monotonic() < give_up_at:
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
