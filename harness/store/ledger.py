"""Record intents and results: runs, hosts and steps. Each intent is committed before its effect.

The default is a SQLite file; a URL may name any database of SQLAlchemy. Several threads and several processes may use
one file.
"""

import fcntl
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
from harness.model import HostRecord, HostState, Outcome, RunRecord, Stage, Token
from harness.store.tables import HOSTS, METADATA, RUNS, STEPS
from harness.system.proc import ProcessId, own_process

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters and digits that look alike

LAST = "last"
"""The name of the newest run, accepted wherever a run is named. No run can have this name: names have no "l"."""


@cache
def _host_adapter() -> "TypeAdapter[HostRecord]":
    """Load pydantic and build the type adapter of host records, when the first record is read or written."""
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
class HostSummary:
    """A host as the list of runs counts it. `begun_ns`: start of its provisioning. `lease_s`: the lease of its run."""

    run: str
    host: str
    instance_type: str
    state: HostState | None
    outcome: Outcome | None
    begun_ns: int | None
    lease_s: float | None


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
            sql.event.listen(self._engine, "connect", _set_pragmas)
        try:
            with _locked(file) if file else nullcontext(), self._engine.begin() as db:
                for table in METADATA.sorted_tables:
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
        owner = own_process()
        while True:
            run = draw_name()
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
                    db.execute(RUNS.insert(), row)
                    if rows:
                        db.execute(HOSTS.insert(), rows)
                return run
            except IntegrityError:
                if self._find(run) is None:  # the name is free: another constraint was violated
                    raise

    def take_over(self, run: str) -> None:
        """Make this process the leader of a run whose own process has died. Raises RequestError for any other run."""
        line, owner = self.find_dead_run(run), own_process()
        same_owner = (RUNS.c.pid == line.owner.pid) & (RUNS.c.pid_start_ticks == line.owner.start_ticks)
        values = {"machine": socket.gethostname(), "pid": owner.pid, "pid_start_ticks": owner.start_ticks}
        with self._engine.begin() as db:
            if db.execute(RUNS.update().where((RUNS.c.run == run) & same_owner).values(**values)).rowcount == 0:
                raise RequestError(f"another process goes on with run {run}", next_step="wait for its end")

    def begin_step(self, token: Token, stage: Stage) -> int:
        """Record the intent of a step, before its effect. Returns the step's number, for `end_step`."""
        with self._engine.begin() as db:
            row = {"token": str(token), "stage": stage, "begun_ns": time.time_ns()}
            key = db.execute(STEPS.insert(), row).inserted_primary_key
        if key is None:
            raise RuntimeError(f"the database {self.url} gives a new step no number")
        return int(key[0])

    def end_step(self, step: int, result: str) -> None:
        """Record the end of a step and its result."""
        with self._engine.begin() as db:
            db.execute(STEPS.update().where(STEPS.c.id == step).values(ended_ns=time.time_ns(), result=result))

    def record_verdict(self, run: str, record: HostRecord) -> None:
        """Record a host's verdict, with the rest of its record so far. Raises KeyError for a host that is not there."""
        self._change_host(run, record.name, {"record": _host_adapter().dump_python(record, mode="json")})

    def record_state(self, run: str, record: HostRecord) -> None:
        """Record the final state of a host, with its whole record. Raises KeyError for a host that is not there."""
        values = {"state": record.state, "record": _host_adapter().dump_python(record, mode="json")}
        self._change_host(run, record.name, values)

    def close_run(self, record: RunRecord) -> None:
        """Record the end of a run."""
        values = {"record": _run_adapter().dump_python(record, mode="json", exclude={"hosts"})}
        with self._engine.begin() as db:
            db.execute(RUNS.update().where(RUNS.c.run == record.run).values(**values))

    def _change_host(self, run: str, host: str, values: Mapping[str, Any]) -> None:
        where = (HOSTS.c.run == run) & (HOSTS.c.host == host)
        with self._engine.begin() as db:
            if db.execute(HOSTS.update().where(where).values(**values)).rowcount == 0:
                raise KeyError(f"run {run} has no host {host!r} in the ledger")

    # -- reading

    def runs(self) -> list[RunLine]:
        """List all runs, newest first."""
        with self._engine.connect() as db:
            rows = db.execute(RUNS.select().order_by(RUNS.c.started_ns.desc())).all()
        return [_run_line(row) for row in rows]

    def find(self, run: str) -> RunLine:
        """Find a run by its name, or the newest as `last`. Raises RequestError, with the latest names, without one."""
        line = self._newest() if run == LAST else self._find(run)
        if line is not None:
            return line
        if run == LAST:
            raise RequestError("there is no run yet", next_step="`ptp-harness run lab.phc` makes one")
        newest = sql.select(RUNS.c.run).order_by(RUNS.c.started_ns.desc()).limit(5)
        with self._engine.connect() as db:
            latest = ", ".join(db.execute(newest).scalars()) or "none yet"
        raise RequestError(f"there is no run {run!r}", next_step=f"latest runs: {latest}; `ptp-harness runs` lists all")

    def _newest(self) -> RunLine | None:
        with self._engine.connect() as db:
            row = db.execute(RUNS.select().order_by(RUNS.c.started_ns.desc()).limit(1)).one_or_none()
        return None if row is None else _run_line(row)

    def _find(self, run: str) -> RunLine | None:
        with self._engine.connect() as db:
            row = db.execute(RUNS.select().where(RUNS.c.run == run)).one_or_none()
        return None if row is None else _run_line(row)

    def find_dead_run(self, run: str) -> RunLine:
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
            return dict(db.execute(sql.select(RUNS.c.campaign).where(RUNS.c.run == run)).scalar_one())

    def hosts(self, run: str) -> list[HostLine]:
        """List the hosts of a run, in the order of the campaign."""
        with self._engine.connect() as db:
            rows = db.execute(HOSTS.select().where(HOSTS.c.run == run).order_by(HOSTS.c.position)).all()
        return [
            HostLine(
                host=row.host,
                instance_type=row.instance_type,
                state=HostState(row.state) if row.state else None,
                record=_host_adapter().validate_python(row.record) if row.record else None,
            )
            for row in rows
        ]

    def host_summaries(self) -> list[HostSummary]:
        """List the hosts of all runs in the order of each campaign, without reading their whole records."""
        token = HOSTS.c.run + "/" + HOSTS.c.host + "/1"
        provision = (STEPS.c.token == token) & (STEPS.c.stage == Stage.PROVISION)
        begun_ns = sql.select(sql.func.max(STEPS.c.begun_ns)).where(provision).scalar_subquery()
        outcome, lease_s = HOSTS.c.record["verdict"]["outcome"].as_string(), RUNS.c.campaign["lease_s"].as_float()
        columns = (HOSTS.c.run, HOSTS.c.host, HOSTS.c.instance_type, HOSTS.c.state, outcome, begun_ns, lease_s)
        with self._engine.connect() as db:
            rows = db.execute(sql.select(*columns).join(RUNS).order_by(HOSTS.c.run, HOSTS.c.position)).all()
        return [
            HostSummary(
                run=run,
                host=host,
                instance_type=instance_type,
                state=HostState(state) if state else None,
                outcome=Outcome(outcome) if outcome else None,
                begun_ns=begun_ns,
                lease_s=lease_s,
            )
            for run, host, instance_type, state, outcome, begun_ns, lease_s in rows
        ]

    def verdicts(self, bench: str) -> list[VerdictLine]:
        """List all verdicts of a bench, newest run first. Records of early versions have fewer fields."""
        joined = sql.select(RUNS.c.run, RUNS.c.started_ns, RUNS.c.campaign, HOSTS.c.record).join(HOSTS)
        query = joined.where(RUNS.c.bench == bench, HOSTS.c.record.is_not(sql.JSON.NULL), HOSTS.c.record.is_not(None))
        with self._engine.connect() as db:
            rows = db.execute(query.order_by(RUNS.c.started_ns.desc(), HOSTS.c.position)).all()
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
                STEPS.select().where(STEPS.c.token.startswith(f"{run}/")).order_by(STEPS.c.id)
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
            record = db.execute(sql.select(RUNS.c.record).where(RUNS.c.run == run)).scalar_one()
        if record is None:
            return None
        hosts = [line.record for line in self.hosts(run) if line.record is not None]
        return _run_adapter().validate_python(
            {**record, "hosts": [_host_adapter().dump_python(host, mode="json") for host in hosts]}
        )

    def close(self) -> None:
        self._engine.dispose()


def draw_name() -> str:
    """Draw a short name for a run, at random."""
    return "".join(secrets.choice(_LETTERS) for _ in range(4))


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
def _locked(path: Path) -> Iterator[None]:
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


def _set_pragmas(connection: Any, _record: Any) -> None:
    """Set a write-ahead log, so that readers never wait, and full sync, so that an intent survives a crash."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
