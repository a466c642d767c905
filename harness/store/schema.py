"""Make, upgrade and check the tables of a ledger. Alembic, which takes long to load, is loaded for an upgrade alone.

A SQLite ledger is upgraded at its first use, after a copy of the file beside it. A server's ledger is shared, and other
machines may have the older version: it is upgraded by `ptp-harness ledger upgrade` alone.
"""

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql

from harness import __version__
from harness.errors import SetupError
from harness.store.database import POSTGRESQL, Database, now_ns
from harness.store.tables import METADATA, VERSIONS

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""All migrations in their order: the names of the files in migrations/versions begin with them."""

NEWEST = REVISIONS[-1]
REVISION_TABLE = "ptp_harness_revision"
_REVISION = sql.table(REVISION_TABLE, sql.column("version_num", sql.String(32)))
_FIRST_TABLES = {"runs", "hosts", "steps"}
"""The tables of a ledger before revisions were recorded: revision 0001."""

_ADVISORY_LOCK = 7_428_163_055
"""Two processes that make or upgrade the tables of one PostgreSQL database take turns by this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The result of `upgrade`: nothing was done where both revisions are equal. `backup`: a copy of the file before."""

    before: str | None
    after: str
    backup: Path | None


def prepare(database: Database) -> None:
    """Make the tables of a new ledger; upgrade an older one in a SQLite file.

    Raises SetupError for a database that is newer, older, or somebody else's.
    """
    with _alone(database, writes=False) as connection:  # each command does this: it waits for no writer
        if read_revision(connection, database) == NEWEST:
            return
    with _alone(database) as connection:
        revision = read_revision(connection, database)
        if revision not in (None, NEWEST) and database.file is None:
            raise SetupError(
                f"the ledger {database.label} is of revision {revision}, and this version needs {NEWEST}",
                next_step="`ptp-harness ledger upgrade` upgrades it, for all who use it: they need this version then",
            )
        _upgrade(connection, database, revision)


def upgrade(database: Database) -> Upgrade:
    """Upgrade a ledger to the newest revision, or make its tables. Raises SetupError as `read_revision` does."""
    with _alone(database) as connection:
        return _upgrade(connection, database, read_revision(connection, database))


def _upgrade(connection: sql.Connection, database: Database, before: str | None) -> Upgrade:
    backup = None
    if before is None:
        _make_tables(connection)
    elif before != NEWEST:
        backup = _back_up(database.file, before) if database.file is not None else None
        _migrate(connection, before)
    return Upgrade(before=before, after=NEWEST, backup=backup)


def read_revision(connection: sql.Connection, database: Database) -> str | None:
    """Read the revision of a ledger's tables; None for an empty database. Raises SetupError for any other content."""
    tables = {*sql.inspect(connection).get_table_names()}
    if REVISION_TABLE in tables:
        revision = str(connection.execute(sql.select(_REVISION.c.version_num)).scalar_one())
        if revision not in REVISIONS:
            versions = sql.select(VERSIONS.c.version).where(VERSIONS.c.revision == revision)
            version = connection.execute(versions).scalar() if VERSIONS.name in tables else None
            raise SetupError(
                f"the ledger {database.label} is of revision {revision}, which this version {__version__} does not "
                f"know (it knows {NEWEST} and earlier)",
                next_step=f"install ptp-harness {version or 'of the version that made it'} or newer",
            )
        return revision
    if not tables:
        return None
    if tables >= _FIRST_TABLES and database.file is not None:
        return REVISIONS[0]
    names = ", ".join(sorted(tables)[:3])
    raise SetupError(
        f"the database {database.label} has tables that are not of ptp-harness: {names}",
        next_step="give the ledger a database of its own: createdb NAME",
    )


def _make_tables(connection: sql.Connection) -> None:
    METADATA.create_all(connection)
    connection.execute(sql.text(f"CREATE TABLE {REVISION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(_REVISION.insert(), {"version_num": NEWEST})
    _record_version(connection)


def _record_version(connection: sql.Connection) -> None:
    connection.execute(VERSIONS.insert().values(revision=NEWEST, version=__version__, made_ns=now_ns()))


def _migrate(connection: sql.Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    if REVISION_TABLE not in sql.inspect(connection).get_table_names():
        command.stamp(config, revision)
    command.upgrade(config, NEWEST)
    _record_version(connection)


def _back_up(file: Path, revision: str) -> Path:
    """Copy a SQLite ledger beside itself; the copy is whole or absent."""
    backup = file.with_name(f"{file.name}.{revision}.backup")
    partial = backup.with_name(f".{backup.name}.partial")
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        shutil.copymode(file, partial)
        partial.replace(backup)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise SetupError(
            f"cannot copy the ledger {file} to {backup}, and without a copy it is not upgraded: {error}",
            next_step="make room on its disk",
        ) from error
    return backup


@contextmanager
def _alone(database: Database, *, writes: bool = True) -> Iterator[sql.Connection]:
    """Open a transaction, and let one process at a time open a file, or change the tables."""
    lock = _locked(database.file) if database.file is not None else nullcontext()
    with lock, database.connect(writes=writes) as connection:
        if writes and database.kind == POSTGRESQL:
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        yield connection


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Lock a SQLite file: SQLite also refuses two processes that switch to a write-ahead log at once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = file.with_name(file.name + ".lock").open("w")
    except OSError as error:
        raise SetupError(
            f"cannot write to {file.parent}: {error.strerror}",
            next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
