"""Open a ledger's database, SQLite or PostgreSQL: its address, its time, its transactions, and its errors in words."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.compiler import compiles

from harness.errors import RequestError, SetupError
from harness.store.group_commit import GroupCommit
from harness.untrusted.input_checks import shorten_value

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_FORMS = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_CONNECT_WITHIN_S, _ANSWERS_WITHIN_S = 10.0, 20.0
LOCKED_WITHIN_S = 10.0
GIVE_UP_AFTER_S = 120.0
"""A transaction that is prevented for so long is given up."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 2.0
_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class LedgerAwayError(SetupError):
    """The database of the ledger cannot be reached at the moment: the same action may succeed later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a database is waited for, s.

    `connect_s`: for a connection. `answer_s`: until a server counts as cut off, whose network answers no packet.
    `give_up_s`: until a transaction is given up that the server or other transactions prevent.
    """

    connect_s: float = _CONNECT_WITHIN_S
    answer_s: float = _ANSWERS_WITHIN_S
    give_up_s: float | None = None  # GIVE_UP_AFTER_S


class Retry(StrEnum):
    """A cause for which a transaction is made again: another transaction, or a server that is away for a moment."""

    DEADLOCK = "deadlock"
    SERIALIZATION = "serialization failure"
    LOCKED = "locked by another process"
    DISCONNECTED = "connection lost"


class now_ns(sql.sql.functions.FunctionElement[int]):  # noqa: N801  # it reads as a function of SQL
    """The database's own time, ns since the epoch, UTC. SQLite gives it in steps of 1 ms, PostgreSQL of 1 us."""

    type = sql.BigInteger()
    inherit_cache = True


@compiles(now_ns, SQLITE)
def _now_of_sqlite(_element: now_ns, _compiler: Any, **_options: Any) -> str:
    return "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000000)"


@compiles(now_ns, POSTGRESQL)
def _now_of_postgresql(_element: now_ns, _compiler: Any, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000000 AS BIGINT)"


class TransactionPart(Protocol):
    """Rows that works gather during one transaction, and that are written before it is committed."""

    def write(self, db: sql.Connection) -> None:
        """Write the rows."""


Part = TypeVar("Part", bound=TransactionPart)


def find_part(db: sql.Connection, key: object, make: Callable[[], Part]) -> Part:
    """Find the part of this transaction with that key; the first who asks makes it."""
    parts = db.get_execution_options()["parts"]
    if key not in parts:
        parts[key] = make()
    found: Part = parts[key]
    return found


class Database:
    """A database with its connections. Threads share an instance.

    Raises RequestError for a URL of another kind, SetupError when the database cannot be reached.
    """

    def __init__(self, url: str, *, timeouts: Timeouts = Timeouts()) -> None:
        self.url, self._timeouts = _parse(url), timeouts
        self.label = self.url.set(drivername=self.url.get_backend_name()).render_as_string(hide_password=True)
        self.kind = self.url.get_backend_name()
        self._counts: Counter[Retry] = Counter()
        self._counting = threading.Lock()
        self._group = GroupCommit()
        self._engine = sql.create_engine(self.url, **_engine_options(self.url, timeouts))
        if self.file is not None:
            sql.event.listen(self._engine, "connect", _configure_sqlite)
            sql.event.listen(self._engine, "begin", _begin_sqlite)

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database; None for a server's."""
        return Path(self.url.database or "") if self.kind == SQLITE else None

    def insert(self, table: sql.Table) -> Any:
        """Begin an INSERT that may say what is done where the row is there already (`on_conflict_...`)."""
        if self.kind == SQLITE:  # the other dialect takes long to load
            from sqlalchemy.dialects.sqlite import insert as insert_sqlite

            return insert_sqlite(table)
        from sqlalchemy.dialects.postgresql import insert

        return insert(table)

    @property
    def retries(self) -> Mapping[Retry, int]:
        """How many transactions were made again so far, by cause."""
        with self._counting:
            return dict(self._counts)

    @property
    def waiting(self) -> int:
        """How many works of threads wait for the next transaction that writes."""
        return self._group.waiting

    def write(self, work: Callable[[sql.Connection], Result]) -> Result:
        """Commit the work in one transaction, which is made again where another one or the server prevents it.

        The work may run several times, and also after a commit whose answer was lost: it must find what it did. Threads
        that write at the same moment share a transaction. Raises SetupError after two minutes, or what `timeouts` say.
        """
        return self._group.commit(work, partial(self._transact, options={"writes": True}))

    def read(self, work: Callable[[sql.Connection], Result]) -> Result:
        """Do the work, which only reads. Raises SetupError as `write` does.

        Each statement of PostgreSQL reads what is committed at its beginning, in a transaction or without one: so there
        is none, which would take twice as long as a short statement itself.
        """
        return self._transact(work, {} if self.kind == SQLITE else {"isolation_level": "AUTOCOMMIT"})

    @contextmanager
    def connect(self, *, writes: bool = True) -> Iterator[sql.Connection]:
        """Open a transaction, without a second try. Raises SetupError when the database is not reached."""
        try:
            with self._engine.connect().execution_options(writes=writes) as connection, connection.begin():
                yield connection
        except DBAPIError as error:
            raise self.describe(error) from error

    def describe(self, error: DBAPIError) -> SetupError:
        """Describe an error of the database for a person, with the address and without its password."""
        words = " ".join(str(error.orig or error).split())
        if self.file is not None:
            return SetupError(
                f"cannot use the ledger {self.file}: {words}",
                next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to, with room on its disk",
            )
        kind = SetupError if find_cause(error) is None else LedgerAwayError
        return kind(f"cannot use the ledger {self.label}: {words}", next_step=_remedy(words, self.url))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _transact(self, work: Callable[[sql.Connection], Result], options: Mapping[str, Any]) -> Result:
        give_up_s = GIVE_UP_AFTER_S if self._timeouts.give_up_s is None else self._timeouts.give_up_s
        give_up_at, pause_s = time.monotonic() + give_up_s, _FIRST_PAUSE_S
        while True:
            try:
                parts: dict[object, TransactionPart] = {}
                with self._engine.connect().execution_options(**options, parts=parts) as db, db.begin():
                    result = work(db)
                    for part in parts.values():
                        part.write(db)
                return result
            except DBAPIError as error:
                cause = find_cause(error)
                if cause is None:
                    if _is_of_storage(error):
                        raise self.describe(error) from error
                    raise
                if time.monotonic() > give_up_at:
                    raise self.describe(error) from error
                self._count(cause)
            time.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _count(self, cause: Retry) -> None:
        with self._counting:
            self._counts[cause] += 1
            number = self._counts[cause]
        _log.info("the ledger's transaction is made again: %s, %d so far", cause, number)


def find_cause(error: DBAPIError) -> Retry | None:
    """Find why a transaction failed, if the same one may succeed later; None for any other error."""
    if error.connection_invalidated:
        return Retry.DISCONNECTED
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _CAUSES.get(state) or _CAUSES.get(state[:2])
    words = str(error.orig)
    if "database is locked" in words or "database table is locked" in words:
        return Retry.LOCKED
    return Retry.DISCONNECTED if isinstance(error, sql.exc.OperationalError) and _is_psycopg(error) else None


_CAUSES = {
    "40001": Retry.SERIALIZATION,
    "40P01": Retry.DEADLOCK,
    "25P03": Retry.DISCONNECTED,  # this process was paused in the transaction, and the server ended it
    "55P03": Retry.LOCKED,
    "08": Retry.DISCONNECTED,
    "57P01": Retry.DISCONNECTED,  # the server is being stopped
    "57P02": Retry.DISCONNECTED,
    "57P03": Retry.DISCONNECTED,  # it is starting
    "53300": Retry.DISCONNECTED,  # too many connections
}
"""https://www.postgresql.org/docs/current/errcodes-appendix.html"""


def _is_of_storage(error: DBAPIError) -> bool:
    """Whether the database cannot store or read: a full or read-only disk, a damaged file, a missing right."""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return (state[:2] in ("53", "58", "42") and state not in _OUR_MISTAKES) or state == "25006"
    return any(words in str(error.orig) for words in _STORAGE_WORDS)


_STORAGE_WORDS = ("disk is full", "readonly database", "disk I/O error", "malformed", "unable to open")
_OUR_MISTAKES = ("42601", "42703", "42P01")
"""A wrong statement, column or table."""


def _is_psycopg(error: DBAPIError) -> bool:
    """Whether an error without a state is of the client library: the server was not reached, or went away."""
    return type(error.orig).__module__.startswith("psycopg")


def _parse(text: str) -> sql.URL:
    try:
        url = sql.make_url(text)
    except ArgumentError as error:
        raise RequestError(f"{shorten_value(text)} is no URL of a ledger", next_step=f"write {_FORMS}") from error
    if url.drivername in ("postgres", POSTGRESQL, "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == SQLITE and url.database and not url.host:
        return url
    label = url.render_as_string(hide_password=True)
    raise RequestError(f"{shorten_value(label)} is no URL of a ledger", next_step=f"write {_FORMS}")


def _engine_options(url: sql.URL, timeouts: Timeouts) -> dict[str, Any]:
    if url.get_backend_name() == SQLITE:
        return {"connect_args": {"timeout": LOCKED_WITHIN_S}}
    # A server that is cut off is noticed in 20 s (libpq: tcp_user_timeout is in ms, the others in s), and a client by
    # the server, which would keep its transaction and the locks of that for hours.
    half_s, quarter_s = (max(1, round(timeouts.answer_s / part)) for part in (2, 4))
    network = {
        "keepalives_idle": half_s,
        "keepalives_interval": quarter_s,
        "keepalives_count": 2,
        "tcp_user_timeout": round(1000 * timeouts.answer_s),
    }
    of_server = {f"tcp_{name}" if name.startswith("keep") else name: value for name, value in network.items()}
    of_server["idle_in_transaction_session_timeout"] = 30_000
    return {
        "connect_args": {
            "connect_timeout": max(2, round(timeouts.connect_s)),
            "application_name": "ptp-harness",
            "options": " ".join([*(f"-c {name}={value}" for name, value in of_server.items()), *_own_options(url)]),
            **network,
        },
        "pool_size": 5,
        "max_overflow": 15,
        "pool_timeout": 60,
    }


def _own_options(url: sql.URL) -> list[str]:
    """Return the options for the server that the URL itself has; they go before ours."""
    given = url.query.get("options", ())
    return [given] if isinstance(given, str) else [*given]


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Set a write-ahead log, so that readers never wait, and full sync, so that an intent survives a crash."""
    connection.isolation_level = None  # transactions begin in _begin_sqlite
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: sql.Connection) -> None:
    """Begin a transaction. One that will write takes the lock at once: SQLite refuses to take it after a read."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _remedy(words: str, url: sql.URL) -> str:
    if "password" in words or "authentication" in words:
        return "correct the user or the password in the URL, in PGPASSWORD or in ~/.pgpass"
    if "does not exist" in words:
        return f"make the database: createdb {url.database or 'NAME'}"
    named = url.query.get("host", ())
    servers = [name for name in ([named] if isinstance(named, str) else named) if not name.startswith("/")]
    if servers and not url.host:
        return f"tried {' and '.join(servers)}: see whether the server runs there"
    tried = f"tried {url.host or 'the local socket'}, port {url.port or 5432}: see whether the server runs"
    return f"{tried}, and listens there (listen_addresses in postgresql.conf)" if url.host else tried
