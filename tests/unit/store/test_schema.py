"""The tables of a ledger: made, upgraded from every released revision with its rows, and refused where not ours."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from harness import __version__
from harness.analysis.quality import compute_quality
from harness.errors import SetupError
from harness.model import Evidence, HostState, Outcome
from harness.model.watched import StateChange, StreamState
from harness.store import schema
from harness.store.database import Database
from harness.store.ledger import Ledger
from harness.store.run_pages import find_summary
from harness.store.schema import NEWEST, REVISIONS
from harness.store.tables import METADATA
from harness.store.watch_samples import WatchSamples
from harness.store.watch_states import WatchStates
from harness.store.watch_streams import NewStream, WatchStreams
from tests.doubles.readings import make_chunk
from tests.doubles.records import make_host

EARLIER = Path(__file__).parents[2] / "data" / "earlier-run" / "ledger.sql"
"""A ledger of revision 0001 with a run, its four hosts and their steps, as a released version wrote it."""

MIGRATIONS = Path(schema.__file__).parent / "migrations"


OpenLedger = Callable[[], Ledger]


def write_earlier(url: str) -> Database:
    """Fill a database with the rows of the earlier ledger."""
    database = Database(url)
    with closing(sqlite3.connect(":memory:")) as source:
        source.executescript(EARLIER.read_text())
        source.row_factory = sqlite3.Row
        rows = {
            name: [dict(row) for row in source.execute(f"SELECT * FROM {name}")] for name in ("runs", "hosts", "steps")
        }
    if database.file is not None:
        database.file.parent.mkdir(parents=True, exist_ok=True)
    with database.connect() as connection:
        for name, table in earlier_tables().items():
            table.create(connection)
            connection.execute(table.insert(), rows[name])
        if database.file is None:
            connection.execute(
                sql.text("CREATE TABLE ptp_harness_revision (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            )
            connection.execute(sql.text("INSERT INTO ptp_harness_revision VALUES ('0001')"))
    return database


def earlier_tables() -> dict[str, sql.Table]:
    """The tables of revision 0001, as that version defined them; JSON stays the text that it wrote."""
    metadata = sql.MetaData()
    runs = sql.Table(
        "runs",
        metadata,
        sql.Column("run", sql.String(16), primary_key=True),
        sql.Column("bench", sql.String(16), nullable=False),
        sql.Column("campaign", _StoredJson, nullable=False),
        sql.Column("started_ns", sql.BigInteger, nullable=False),
        sql.Column("machine", sql.String(255), nullable=False),
        sql.Column("pid", sql.Integer, nullable=False),
        sql.Column("pid_start_ticks", sql.BigInteger, nullable=False),
        sql.Column("record", _StoredJson),
    )
    hosts = sql.Table(
        "hosts",
        metadata,
        sql.Column("run", sql.ForeignKey("runs.run"), primary_key=True),
        sql.Column("host", sql.String(128), primary_key=True),
        sql.Column("position", sql.Integer, nullable=False),
        sql.Column("instance_type", sql.String(64), nullable=False),
        sql.Column("state", sql.String(16)),
        sql.Column("record", _StoredJson),
    )
    steps = sql.Table(
        "steps",
        metadata,
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("token", sql.String(160), nullable=False),
        sql.Column("stage", sql.String(16), nullable=False),
        sql.Column("begun_ns", sql.BigInteger, nullable=False),
        sql.Column("ended_ns", sql.BigInteger),
        sql.Column("result", sql.Text),
    )
    return {"runs": runs, "hosts": hosts, "steps": steps}


class _StoredJson(sql.types.TypeDecorator[str]):
    """Writes JSON from its text, which sqlite3 gave."""

    impl = sql.JSON
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sql.Dialect) -> object:
        del dialect
        return sql.null() if value is None else json.loads(value)


def test_every_migration_is_known_and_the_newest_is_the_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [NEWEST]
    assert tuple(revision.revision for revision in script.walk_revisions())[::-1] == REVISIONS


def test_the_tables_that_are_made_are_those_that_migrations_make(
    ledger_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = write_earlier(ledger_url)
    schema.upgrade(database)
    assert differences(database) == []
    made = Database(f"sqlite:///{tmp_path}/made.sqlite")
    schema.prepare(made)
    assert differences(made) == []


def differences(database: Database) -> list[object]:
    def compare(db: sql.Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True, "include_name": is_ours}
        return compare_metadata(MigrationContext.configure(db, opts=options), METADATA)

    return database.read(compare)


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name == schema.REVISION_TABLE)


def test_an_earlier_ledger_keeps_all_its_rows(ledger_url: str) -> None:
    database = write_earlier(ledger_url)
    with database.connect() as db:
        before = {name: db.execute(table.select()).all() for name, table in earlier_tables().items()}
    done = schema.upgrade(database)
    assert (done.before, done.after, done.backup is not None) == ("0001", NEWEST, database.file is not None)
    ledger = Ledger(ledger_url)
    (line,) = ledger.runs()
    assert (line.run, line.ended, line.alive(), line.owner.until_ns) == ("3a5r", True, False, None)
    assert (line.owner.machine, line.owner.process.pid) == (before["runs"][0].machine, before["runs"][0].pid)
    assert [(host.host, host.attempt, host.state) for host in ledger.hosts("3a5r")] == [
        (row.host, 1, HostState.RELEASED) for row in sorted(before["hosts"], key=lambda row: row.position)
    ]
    assert [(step.token, step.begun_ns, step.result) for step in ledger.steps("3a5r")] == [
        (row.token, row.begun_ns, row.result) for row in before["steps"]
    ]
    assert ledger.record("3a5r") is not None
    versions = sql.text("SELECT revision, version FROM ptp_harness")
    assert ledger.database.read(lambda db: [tuple(row) for row in db.execute(versions)]) == [(NEWEST, __version__)]
    assert schema.upgrade(database).backup is None, "there is nothing to do again"


def test_an_upgrade_takes_the_figures_of_hosts_from_their_records(
    ledger: Ledger, open_ledger: OpenLedger, good: Evidence
) -> None:
    quality = compute_quality(good, interval_s=1.0)
    assert quality is not None
    assert quality.bound_ns is not None
    figures = {"both": quality, "chrony's bound": replace(quality, error_bound_ns=None), "none": None}
    run = ledger.open_run(bench="lab", campaign={}, hosts=dict.fromkeys(figures, "lab.phc"))
    for name, host_figures in figures.items():
        ledger.record_state(ledger.own_host(run, name).token, make_host(name=name, quality=host_figures))
    ledger.own_host(ledger.open_run(bench="lab", campaign={}, hosts={"open": "lab.phc"}), "open")
    expected, sums = ledger.host_summaries([run]), find_summary(ledger.database, run)
    assert sums is not None
    assert (sums.verdicts, sums.offset_p99_ns) == ({Outcome.PASS: 3}, quality.offset_ns.p99_abs)
    assert [host.bound_p99_ns for host in expected[1:]] == [quality.bound_ns.p99_abs, None]

    def age(db: sql.Connection) -> None:
        newer = [table for table in METADATA.tables if table.startswith("watch_")]
        for table in ("tasks", "tokens", "audit", "schedules", "sites", "request_buckets", *newer):
            db.execute(sql.text(f"DROP TABLE {table}"))
        db.execute(sql.text("DROP INDEX ix_runs_task"))
        for index in ("ix_hosts_figures", "ix_hosts_kept", "ix_runs_open", "ix_runs_sums"):
            db.execute(sql.text(f"DROP INDEX {index}"))
        columns = ("task", "passed", "unsupported", "inconclusive", "failed", "offset_p99_ns", "bound_p99_ns")
        for column in columns:
            db.execute(sql.text(f"ALTER TABLE runs DROP COLUMN {column}"))
        for column in ("offset_p99_ns", "bound_p99_ns", "image", "kernel", "driver"):
            db.execute(sql.text(f"ALTER TABLE hosts DROP COLUMN {column}"))
        db.execute(sql.text(f"UPDATE {schema.REVISION_TABLE} SET version_num = '0003'"))
        db.execute(sql.text("UPDATE ptp_harness SET revision = '0003'"))

    ledger.database.write(age)
    assert schema.upgrade(ledger.database).before == "0003"
    again = open_ledger()
    assert again.host_summaries([run]) == expected
    summed = find_summary(again.database, run)
    assert summed is not None
    assert replace(summed, line=sums.line) == sums
    assert differences(ledger.database) == []


def test_an_upgrade_finds_the_interval_of_each_tick_that_a_watch_stored(ledger: Ledger) -> None:
    now_s, database = ledger.now_ns() // 10**9, ledger.database
    WatchStreams(database).add(
        [NewStream(stream=name, source={}, limits={}, interval_s=2.0) for name in ("here", "again")]
    )
    expected = {("here", 2000), ("again", 2000), ("again", 200), ("gone", 250), ("gone", 60_000), ("spooled", 5000)}
    chunks, spooled, changes = [], [], []
    for stream, interval_ms in sorted(expected):
        late_s = 200_000 if stream == "spooled" else 60
        last = (now_s - late_s) * 1000 // interval_ms
        chunk = make_chunk(stream, range(last - 9, last + 1), interval_ns=interval_ms * 10**6)
        (spooled if stream == "spooled" else chunks).append(chunk)
        change = StateChange(
            tick=last, interval_ns=chunk.interval_ns, state=StreamState.OK, reason=None, sentence="all is well"
        )
        changes.append((stream, 1, change))
    chunks.append(make_chunk("nonsense", range(10)))
    samples, states = WatchSamples(database), WatchStates(database)
    samples.store(chunks, worker="w", replayed=False)
    samples.store(spooled, worker="w", replayed=True)
    states.write([], changes[:-1], worker="w", replayed=False)
    states.write([], changes[-1:], worker="w", replayed=True)
    keys = samples.list_finished(2**60)
    before, told = samples.read_chunks(keys), states.list_changes()

    def age(db: sql.Connection) -> None:
        for table in ("watch_chunks", "watch_changes"):
            db.execute(sql.text(f"ALTER TABLE {table} DROP COLUMN interval_ns"))
        db.execute(sql.text("ALTER TABLE watch_workers DROP COLUMN findings"))
        db.execute(sql.text(f"UPDATE {schema.REVISION_TABLE} SET version_num = '0008'"))
        db.execute(sql.text("UPDATE ptp_harness SET revision = '0008'"))

    database.write(age)
    assert schema.upgrade(database).before == "0008"
    after = samples.read_chunks(keys)
    assert {(chunk.stream, chunk.interval_ns // 10**6) for chunk in after} == {*expected, ("nonsense", 1000)}
    assert after == before
    assert states.list_changes() == told
    assert differences(database) == []


def test_a_file_is_upgraded_at_its_first_use_after_a_copy_beside_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    write_earlier(url).close()
    before = dump(tmp_path / "ledger.sqlite")
    assert [line.run for line in Ledger(url).runs()] == ["3a5r"]
    assert dump(tmp_path / "ledger.sqlite.0001.backup") == before != dump(tmp_path / "ledger.sqlite")


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return [*database.iterdump()]


def test_without_a_copy_a_file_is_not_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    write_earlier(url).close()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.store.schema.shutil.copymode", full)
    with pytest.raises(SetupError, match=r"without a copy it is not upgraded: .*No space left"):
        Ledger(url)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir() if "backup" in path.name) == []
    assert [line.run for line in Ledger(url).runs()] == ["3a5r"]


def test_a_server_s_ledger_is_upgraded_by_command_alone(new_database: str) -> None:
    write_earlier(new_database).close()
    with pytest.raises(SetupError, match=r"is of revision 0001, and this version needs .*`ptp-harness ledger upgrade`"):
        Ledger(new_database)
    schema.upgrade(Database(new_database))
    assert [line.run for line in Ledger(new_database).runs()] == ["3a5r"]


def test_a_newer_ledger_is_refused_with_the_version_to_install(ledger: Ledger, open_ledger: OpenLedger) -> None:
    def age(db: sql.Connection) -> None:
        db.execute(sql.text("UPDATE ptp_harness_revision SET version_num = '9999'"))
        db.execute(sql.text("INSERT INTO ptp_harness VALUES ('9999', '7.5.0', 0)"))

    ledger.database.write(age)
    with pytest.raises(
        SetupError, match=r"is of revision 9999, which this version .* \(install ptp-harness 7.5.0 or newer"
    ):
        open_ledger()


def test_a_database_of_somebody_else_is_left_alone(ledger_url: str) -> None:
    database = Database(ledger_url)
    if database.file is not None:
        database.file.parent.mkdir()
    with database.connect() as db:
        db.execute(sql.text("CREATE TABLE customers (name TEXT)"))
    with pytest.raises(
        SetupError, match=r"has tables that are not of ptp-harness: customers \(give the ledger a database"
    ):
        Ledger(ledger_url)
    assert database.read(lambda db: sql.inspect(db).get_table_names()) == ["customers"]


def test_a_ledger_is_opened_and_read_while_another_process_writes(ledger: Ledger, open_ledger: OpenLedger) -> None:
    with ledger.database.connect() as db:
        db.execute(sql.text("UPDATE ptp_harness SET made_ns = 1"))
        assert open_ledger().runs() == []
