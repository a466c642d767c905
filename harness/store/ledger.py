"""Record intents and results: runs, hosts and steps. Each intent is committed before its effect.

The default is a SQLite file; a URL may name any database of SQLAlchemy. Several threads and several processes may use
one file.
"""

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from sqlalchemy.exc import DatabaseError, IntegrityError

from harness.errors import RequestError, SetupError
from harness.model import HostRecord, HostState, RunRecord, Stage, Token
from harness.system.proc import ProcessId, identify

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters and digits that look alike

_tables = sql.MetaData()
_runs = sql.Table(
    "runs",
    _tables,
    sql.Column("run", sql.String(16), primary_key=True),
    sql.Column("bench", sql.String(16), nullable=False),
    sql.Column("campaign", sql.JSON, nullable=False),
    sql.Column("started_ns", sql.BigInteger, nullable=False),
    sql.Column("machine", sql.String(255), nullable=False),
    sql.Column("pid", sql.Integer, nullable=False),
    sql.Column("pid_start_ticks", sql.BigInteger, nullable=False),
    sql.Column("record", sql.JSON),  # RunRecord without its hosts, once the run has ended
)
_hosts = sql.Table(
    "hosts",
    _tables,
    sql.Column("run", sql.ForeignKey("runs.run"), primary_key=True),
    sql.Column("host", sql.String(128), primary_key=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("instance_type", sql.String(64), nullable=False),
    sql.Column("state", sql.String(16)),
    sql.Column("record", sql.JSON),  # HostRecord, once the host has its verdict
)
_steps = sql.Table(
    "steps",
    _tables,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("token", sql.String(160), nullable=False, index=True),
    sql.Column("stage", sql.String(16), nullable=False),
    sql.Column("begun_ns", sql.BigInteger, nullable=False),
    sql.Column("ended_ns", sql.BigInteger),
    sql.Column("result", sql.Text),
)


@cache
def _host_adapter() -> "TypeAdapter[HostRecord]":
    """Load pydantic and build the form of a host's record, once one is read or written."""
    from pydantic import TypeAdapter

    return TypeAdapter(HostRecord)


@cache
def _run_adapter() -> "TypeAdapter[RunRecord]":
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run as the list of runs shows it. `owner` is the process that leads the run; `ended`: the run was closed."""

    run: str
    bench: str
    started_ns: int
    machine: str
    owner: ProcessId
    ended: bool

    def alive(self) -> bool:
        """Whether the run's process still leads it. A run of another machine counts as alive: it cannot be checked."""
        return not self.ended and (self.machine != socket.gethostname() or self.owner.alive())

    def died(self) -> bool:
        """Whether the run's process ended before it closed the run."""
        return not self.ended and not self.alive()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """A host in the ledger: `record` is None before its verdict, `state` before its release."""

    host: str
    instance_type: str
    state: HostState | None
    record: HostRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """A step of a host. `ended_ns` is None for a step whose effect is unknown."""

    token: str
    stage: Stage
    begun_ns: int
    ended_ns: int | None
    result: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """A host with its verdict, and its run: the start, the bench, and the campaign's Region and image."""

    run: str
    bench: str
    started_ns: int
    region: str | None
    image: str | None
    record: HostRecord


class Ledger:
    """The database of runs, hosts and steps. Every method is one transaction, committed when the method returns."""

    def __init__(self, url: str) -> None:
        self.url = url
        file = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
        self._engine = sql.create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
        if url.startswith("sqlite"):
            sql.event.listen(self._engine, "connect", _durable)
        try:
            with _alone_with(file) if file else nullcontext(), self._engine.begin() as db:
                for table in _tables.sorted_tables:
                    db.execute(sql.schema.CreateTable(table, if_not_exists=True))
                    for index in table.indexes:
                        db.execute(sql.schema.CreateIndex(index, if_not_exists=True))
        except DatabaseError as error:
            raise SetupError(
                f"cannot open the ledger {url}: {error.orig}",
                next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
            ) from error

    # -- writing

    def open_run(self, *, bench: str, campaign: Mapping[str, Any], hosts: Mapping[str, str]) -> str:
        """Record a new run with all its hosts (name -> instance type, in order) and return the run's short name."""
        owner = identify(os.getpid())
        assert owner is not None
        while True:
            run = "".join(secrets.choice(_LETTERS) for _ in range(4))
            row = {
                "run": run,
                "bench": bench,
                "campaign": dict(campaign),
                "started_ns": time.time_ns(),
                "machine": socket.gethostname(),
                "pid": owner.pid,
                "pid_start_ticks": owner.start_ticks,
            }
            rows = [
                {"run": run, "host": name, "position": position, "instance_type": kind}
                for position, (name, kind) in enumerate(hosts.items())
            ]
            try:
                with self._engine.begin() as db:
                    db.execute(_runs.insert(), row)
                    if rows:
                        db.execute(_hosts.insert(), rows)
                return run
            except IntegrityError:
                continue  # the name is in use: draw another name

    def take_over(self, run: str) -> None:
        """Make this process the leader of a run whose own process has died. Raises RequestError for any other run."""
        line, owner = self.dead(run), identify(os.getpid())
        assert owner is not None
        same_owner = (_runs.c.pid == line.owner.pid) & (_runs.c.pid_start_ticks == line.owner.start_ticks)
        values = {"machine": socket.gethostname(), "pid": owner.pid, "pid_start_ticks": owner.start_ticks}
        with self._engine.begin() as db:
            if db.execute(_runs.update().where((_runs.c.run == run) & same_owner).values(**values)).rowcount == 0:
                raise RequestError(f"another process goes on with run {run}", next_step="wait for its end")

    def begin(self, token: Token, stage: Stage) -> int:
        """Record the intent of a step, before its effect. Returns the step's number, for `end`."""
        with self._engine.begin() as db:
            row = {"token": str(token), "stage": stage, "begun_ns": time.time_ns()}
            key = db.execute(_steps.insert(), row).inserted_primary_key
        assert key is not None
        return int(key[0])

    def end(self, step: int, result: str) -> None:
        """Record the end of a step and its result."""
        with self._engine.begin() as db:
            db.execute(_steps.update().where(_steps.c.id == step).values(ended_ns=time.time_ns(), result=result))

    def judge(self, run: str, record: HostRecord) -> None:
        """Record a host's verdict, with the rest of its record so far."""
        where = (_hosts.c.run == run) & (_hosts.c.host == record.name)
        with self._engine.begin() as db:
            db.execute(_hosts.update().where(where).values(record=_host_adapter().dump_python(record, mode="json")))

    def settle(self, run: str, record: HostRecord) -> None:
        """Record the final state of a host, with its whole record."""
        where = (_hosts.c.run == run) & (_hosts.c.host == record.name)
        values = {"state": record.state, "record": _host_adapter().dump_python(record, mode="json")}
        with self._engine.begin() as db:
            db.execute(_hosts.update().where(where).values(**values))

    def close_run(self, record: RunRecord) -> None:
        """Record the end of a run."""
        values = {"record": _run_adapter().dump_python(record, mode="json", exclude={"hosts"})}
        with self._engine.begin() as db:
            db.execute(_runs.update().where(_runs.c.run == record.run).values(**values))

    # -- reading

    def runs(self) -> list[RunLine]:
        """List all runs, newest first."""
        with self._engine.connect() as db:
            rows = db.execute(_runs.select().order_by(_runs.c.started_ns.desc())).all()
        return [_run_line(row) for row in rows]

    def find(self, run: str) -> RunLine:
        """Find a run by its name. Raises RequestError, with the latest names, when there is no such run."""
        runs = self.runs()
        for line in runs:
            if line.run == run:
                return line
        latest = ", ".join(line.run for line in runs[:5]) or "none yet"
        raise RequestError(f"there is no run {run!r}", next_step=f"latest runs: {latest}; `ptp-harness runs` lists all")

    def dead(self, run: str) -> RunLine:
        """Find a run whose process died before it closed the run. Raises RequestError for any other run."""
        line = self.find(run)
        if line.ended:
            raise RequestError(f"run {run} has ended", next_step=f"`ptp-harness show {run}` shows it")
        if line.alive():
            where = "" if line.machine == socket.gethostname() else f" on {line.machine}"
            raise RequestError(
                f"run {run} is under way{where}: process {line.owner.pid} leads it", next_step="wait for its end"
            )
        return line

    def campaign(self, run: str) -> Mapping[str, Any]:
        """Return the campaign of a run as it was recorded. Raises RequestError when there is no such run."""
        self.find(run)
        with self._engine.connect() as db:
            return dict(db.execute(sql.select(_runs.c.campaign).where(_runs.c.run == run)).scalar_one())

    def hosts(self, run: str) -> list[HostLine]:
        """List the hosts of a run, in the order of the campaign."""
        with self._engine.connect() as db:
            rows = db.execute(_hosts.select().where(_hosts.c.run == run).order_by(_hosts.c.position)).all()
        return [
            HostLine(
                host=row.host,
                instance_type=row.instance_type,
                state=HostState(row.state) if row.state else None,
                record=_host_adapter().validate_python(row.record) if row.record else None,
            )
            for row in rows
        ]

    def verdicts(self, bench: str) -> list[VerdictLine]:
        """List all verdicts of a bench, newest run first. Records of early versions have fewer fields."""
        joined = sql.select(_runs.c.run, _runs.c.started_ns, _runs.c.campaign, _hosts.c.record).join(_hosts)
        query = joined.where(
            _runs.c.bench == bench, _hosts.c.record.is_not(sql.JSON.NULL), _hosts.c.record.is_not(None)
        )
        with self._engine.connect() as db:
            rows = db.execute(query.order_by(_runs.c.started_ns.desc(), _hosts.c.position)).all()
        return [
            VerdictLine(
                run=row.run,
                bench=bench,
                started_ns=row.started_ns,
                region=row.campaign.get("region"),
                image=row.campaign.get("image"),
                record=_host_adapter().validate_python(row.record),
            )
            for row in rows
        ]

    def steps(self, run: str) -> list[StepLine]:
        """List all steps of a run in the order in which they were begun."""
        with self._engine.connect() as db:
            rows = db.execute(
                _steps.select().where(_steps.c.token.startswith(f"{run}/")).order_by(_steps.c.id)
            ).all()  # fmt: skip
        return [
            StepLine(
                token=row.token, stage=Stage(row.stage), begun_ns=row.begun_ns, ended_ns=row.ended_ns, result=row.result
            )
            for row in rows
        ]

    def record(self, run: str) -> RunRecord | None:
        """Return the record of a run that has ended; None before. Raises RequestError when there is no such run."""
        self.find(run)
        with self._engine.connect() as db:
            record = db.execute(sql.select(_runs.c.record).where(_runs.c.run == run)).scalar_one()
        if record is None:
            return None
        hosts = [line.record for line in self.hosts(run) if line.record is not None]
        return _run_adapter().validate_python(
            {**record, "hosts": [_host_adapter().dump_python(host, mode="json") for host in hosts]}
        )

    def close(self) -> None:
        self._engine.dispose()


def _run_line(row: Any) -> RunLine:
    return RunLine(
        run=row.run,
        bench=row.bench,
        started_ns=row.started_ns,
        machine=row.machine,
        owner=ProcessId(pid=row.pid, start_ticks=row.pid_start_ticks),
        ended=row.record is not None,
    )


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """Lock a SQLite file while it is opened: SQLite refuses two processes that switch to write-ahead log at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise SetupError(
            f"cannot write to {path.parent}: {error.strerror}",
            next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _durable(connection: Any, _record: Any) -> None:
    """Set a write-ahead log, so that readers never wait, and full sync, so that an intent survives a crash."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
