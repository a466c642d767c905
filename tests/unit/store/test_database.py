"""A ledger's database by its URL: what is refused, what is tried again, and what a person is told."""

import signal
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError

from harness.errors import HarnessError, RequestError, SetupError
from harness.store import database as database_module
from harness.store.database import Database, LedgerAwayError, Retry, Timeouts
from harness.store.ledger import Ledger
from tests.servers.postgresql import Server

SECRET = "s3cr3t-word"


@pytest.mark.parametrize(
    "url",
    [
        "ledger.sqlite",
        "mysql://a@b/c",
        f"mysql://a:{SECRET}@b/c",
        "sqlite://",
        "http://[",
        "",
        "sqlite://host/x",
        "\u202e://x",
    ],
)
def test_another_url_is_refused_with_the_forms_that_are_taken(url: str) -> None:
    with pytest.raises(RequestError, match=r"is no URL of a ledger \(write sqlite:///FILE or postgresql://") as caught:
        Database(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "tells"),
    [
        (
            f"postgresql://ptp:{SECRET}@127.0.0.1:1/ledger",
            r"ptp:\*\*\*@127.0.0.1:1/ledger.*tried 127.0.0.1, port 1: see",
        ),
        (f"postgres://ptp:{SECRET}@/ledger?host=/nowhere", r"/nowhere.*tried the local socket, port 5432: see"),
        (
            f"postgres://ptp:{SECRET}@/ledger?host=127.0.0.1:1&host=127.0.0.1:2",
            r"tried 127.0.0.1:1 and 127.0.0.1:2: see",
        ),
        (
            f"postgresql://ptp:{SECRET}@no.such.host.invalid/x",
            r"no\.such\.host\.invalid.*tried no\.such\.host\.invalid",
        ),
    ],
)
def test_a_server_that_is_not_reached_is_named_without_the_password(url: str, tells: str) -> None:
    began = time.monotonic()
    with pytest.raises(SetupError, match=rf"cannot use the ledger postgresql://.*{tells}") as caught:
        Ledger(url)
    assert SECRET not in str(caught.value)
    assert time.monotonic() - began < 30, "whoever starts a command is told at once"


def test_a_database_that_is_not_there_and_a_wrong_user_are_told_apart(postgresql_server: Server) -> None:
    with pytest.raises(SetupError, match=r'database "nothing" does not exist \(make the database: createdb nothing\)'):
        Ledger(postgresql_server.url("nothing"))
    url = postgresql_server.url().replace(f"{postgresql_server.user}@", f"stranger:{SECRET}@")
    with pytest.raises(SetupError, match=r'role "stranger" does not exist') as caught:
        Ledger(url)
    assert SECRET not in str(caught.value)


def test_a_deadlock_is_resolved_and_counted(new_database: str) -> None:
    database, of_another = Database(new_database), Database(new_database)
    with database.connect() as db:
        db.execute(sql.text("CREATE TABLE things (name INTEGER PRIMARY KEY, number INTEGER)"))
        db.execute(sql.text("INSERT INTO things VALUES (1, 0), (2, 0)"))
    both_hold_one = threading.Barrier(2)

    def cross(database: Database, first: int, second: int) -> None:
        waits = [True]

        def work(db: sql.Connection) -> None:
            for name in (first, second):
                db.execute(sql.text("UPDATE things SET number = number + 1 WHERE name = :name"), {"name": name})
                if waits.pop() if waits else False:
                    both_hold_one.wait(30)

        database.write(work)

    threads = [threading.Thread(target=cross, args=arguments) for arguments in ((database, 1, 2), (of_another, 2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = sql.text("SELECT number FROM things")
    assert database.read(lambda db: [*db.execute(numbers).scalars()]) == [2, 2], "each was done once"
    assert {**database.retries, **of_another.retries} == {Retry.DEADLOCK: 1}


def test_a_serialization_failure_is_resolved_and_counted(new_database: str) -> None:
    database = Database(new_database)
    with database.connect() as db:
        db.execute(sql.text("CREATE TABLE things (number INTEGER)"))
        db.execute(sql.text("INSERT INTO things VALUES (0)"))
    add = sql.text("UPDATE things SET number = number + 1")
    met = [False]

    def work(db: sql.Connection) -> None:
        db.execute(sql.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        db.execute(sql.text("SELECT number FROM things"))
        if not met[0]:
            met[0] = True
            with database.connect() as other:
                other.execute(add)
        db.execute(add)

    database.write(work)
    assert database.read(lambda db: db.execute(sql.text("SELECT number FROM things")).scalar_one()) == 2
    assert database.retries == {Retry.SERIALIZATION: 1}


def test_an_error_of_the_work_itself_is_not_tried_again(ledger: Ledger) -> None:
    tries: list[int] = []

    def work(db: sql.Connection) -> None:
        tries.append(1)
        db.execute(sql.text("SELECT * FROM nowhere"))

    with pytest.raises(DBAPIError):
        ledger.database.write(work)
    assert (len(tries), ledger.database.retries) == (1, {})


def test_a_file_that_another_process_locks_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCKED_WITHIN_S", 0.1)
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger(url)
    other = Database(url)
    locked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with other.connect() as db:
            db.execute(sql.text("UPDATE ptp_harness SET made_ns = 1"))
            locked.set()
            go_on.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(30)
    threading.Timer(1.5, go_on.set).start()
    assert ledger.open_run(bench="lab", campaign={}, hosts={}) == ledger.runs()[0].run
    holder.join()
    assert ledger.database.retries[Retry.LOCKED] >= 1


def test_a_lock_that_never_ends_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCKED_WITHIN_S", 0.1)
    monkeypatch.setattr(database_module, "GIVE_UP_AFTER_S", 0.5)
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger(url)
    with Database(url).connect() as db:
        db.execute(sql.text("UPDATE ptp_harness SET made_ns = 1"))
        with pytest.raises(SetupError, match="database is locked"):
            ledger.open_run(bench="lab", campaign={}, hosts={})


def test_options_of_the_url_stand_beside_ours(new_database: str) -> None:
    database = Database(
        f"{new_database}&options=-c%20work_mem%3D1234kB%20-c%20idle_in_transaction_session_timeout%3D5s"
    )
    names = ("work_mem", "idle_in_transaction_session_timeout")
    shown = [database.read(lambda db, name=name: db.execute(sql.text(f"SHOW {name}")).scalar_one()) for name in names]
    database.close()
    assert shown == ["1234kB", "5s"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_server_that_comes_back_is_waited_for(own_server: Server, how: str, request: pytest.FixtureRequest) -> None:
    url = own_server.make_database(f"ledger_{how}")
    ledger = Ledger(url)
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    own_server.stop(signal.SIGINT if how == "stopped" else signal.SIGQUIT)
    threading.Timer(2, own_server.start).start()
    token = ledger.own_host(run, "a").token
    assert ledger.hosts(run)[0].token == token
    assert ledger.database.retries[Retry.DISCONNECTED] >= 1
    ledger.close()


def test_a_server_that_stays_away_is_one_sentence(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "GIVE_UP_AFTER_S", 1.0)
    ledger = Ledger(own_server.make_database("ledger_away"))
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    own_server.stop()
    try:
        with pytest.raises(HarnessError, match=r"cannot use the ledger .*see whether the server runs"):
            ledger.hosts(run)
    finally:
        own_server.start()
    assert [line.host for line in ledger.hosts(run)] == ["a"]
    ledger.close()


def test_a_server_that_is_away_is_waited_for_as_long_as_the_caller_says(own_server: Server) -> None:
    database = Database(own_server.url(), timeouts=Timeouts(connect_s=2.0, answer_s=2.0, give_up_s=0.5))
    assert database.read(lambda db: db.execute(sql.text("SELECT 1")).scalar()) == 1
    own_server.stop()
    begun_s = time.monotonic()
    with pytest.raises(LedgerAwayError, match="cannot use the ledger"):
        database.read(lambda db: db.execute(sql.text("SELECT 1")).scalar())
    assert time.monotonic() - begun_s < 20.0
    database.close()


def test_what_cannot_be_written_is_told_with_its_file(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    read_only = sql.text("PRAGMA query_only = ON")
    ledger.database.read(lambda db: db.execute(read_only))
    with pytest.raises(SetupError, match=r"cannot use the ledger .*sqlite: attempt to write a readonly database"):
        ledger.open_run(bench="lab", campaign={}, hosts={})
