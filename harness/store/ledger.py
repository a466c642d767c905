"""Record intents and results: runs, hosts and steps. Each intent is committed before its effect.

The default is a SQLite file of one machine; a team's ledger is a PostgreSQL database. Threads, processes and (with
PostgreSQL) machines share one. Whoever writes of a run or of a host owns it (owners.py): every such write names the
owner and the attempt, and changes nothing where another process has taken over.
"""

import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from harness import units
from harness.errors import ConflictError
from harness.model import Event, HostRecord, HostState, RunRecord, Stage, Token
from harness.store import host_claims, owners, schema, task_claims
from harness.store.database import Database, Result, now_ns
from harness.store.event_log import EventDraft, WaitingEvents, insert_events, make_draft, prune_events
from harness.store.host_claims import UnsettledHost
from harness.store.ledger_lines import HostLine, host_columns, run_adapter
from harness.store.ledger_reader import LedgerReader, make_host_line
from harness.store.names_at_random import RUN_CHARACTERS, SUBMITTED_RUN_CHARACTERS, draw_name
from harness.store.owners import OwnerLine, Ownership, confirm_dead, describe_owner, name_user, read_owner
from harness.store.run_sums import sum_up
from harness.store.tables import HOSTS, OWNERS, RUNS, STEPS

_BEGIN_STEP = STEPS.insert().values(begun_ns=now_ns())
_END_STEP = STEPS.update().where(STEPS.c.ident == sql.bindparam("of_ident")).values(ended_ns=now_ns())


def _ignore(_seconds_left: float) -> None:
    """Tell nobody how long is still to be waited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunStep:
    """A step that was recorded before its effect; `end_step` takes it."""

    ident: str
    token: Token
    stage: Stage


class Ledger(LedgerReader):
    """The ledger, for one process that may own runs and hosts of it. Threads share an instance.

    `lease_s`: how long it is taken as alive after its last sign of life; owners.LEASE_S by default.
    """

    def __init__(self, url: str, *, lease_s: float | None = None) -> None:
        super().__init__(Database(url))
        schema.prepare(self.database)
        self._waiting = WaitingEvents()
        self._owner = Ownership(self.database, self.flush, lease_s)
        self._claimed: set[Token] = set()  # those that a thread of ours knows of; works of transactions alone use it

    @property
    def owner(self) -> str:
        """The name of this process as an owner of runs and hosts."""
        return self._owner.ident

    def own(self) -> str:
        """Record this process as an owner, and begin its heartbeat, once; return its name."""
        return self._owner.ensure_recorded()

    def resign(self) -> None:
        """Leave all that this process owns to others, at once. It must write nothing more."""
        self._owner.resign()

    def close(self) -> None:
        """Write the events that wait, then end the heartbeat and all connections."""
        self.flush()
        self._owner.close()
        self.database.close()

    # -- runs

    def open_run(
        self,
        *,
        bench: str,
        campaign: Mapping[str, Any],
        hosts: Mapping[str, str],
        expected_s: Mapping[str, float] = MappingProxyType({}),
        holds_passed: bool = False,
        task: str | None = None,
        name: str | None = None,
    ) -> str:
        """Record a new run of ours with all its hosts (name -> instance type, in order); return the run's short name.

        `expected_s`: how long each host is expected to take; the longest is claimed first. `holds_passed`: hosts that
        pass stay, undecided, until we settle them. `task`: a task of ours, which has no run yet. `name`: that of the
        run; a random one by default. Raises OwnershipLostError where the task is another process's, ConflictError where
        another run has the name.
        """
        row = {"bench": bench, "campaign": dict(campaign), "owner": self.owner, "holds_passed": holds_passed}
        row["task"] = task
        host_rows = [
            {"host": name, "position": number, "instance_type": kind, "expected_s": expected_s.get(name, 0.0)}
            for number, (name, kind) in enumerate(hosts.items())
        ]
        characters = RUN_CHARACTERS if task is None else SUBMITTED_RUN_CHARACTERS
        while not self._insert_run(run := name or draw_name(characters), row, host_rows):
            if name is not None:
                raise ConflictError(f"there is a run {name}", next_step=f"`ptp-harness show {name}` shows it")
        return run

    def _insert_run(self, run: str, row: Mapping[str, Any], host_rows: Sequence[Mapping[str, Any]]) -> bool:
        """Insert a run under this name with its hosts; return whether the name was free."""
        tries: list[int] = []

        def insert(db: sql.Connection) -> bool:
            owner_of_name = db.execute(sql.select(RUNS.c.owner).where(RUNS.c.run == run)).scalar()
            if owner_of_name is not None:
                return bool(tries) and owner_of_name == self.owner  # committed before, and the answer was lost
            tries.append(1)
            task_claims.fence_task(db, row["task"], self.owner)
            db.execute(RUNS.insert().values(**row, run=run, started_ns=now_ns()))
            if host_rows:
                db.execute(HOSTS.insert(), [{**host_row, "run": run} for host_row in host_rows])
            insert_events(db, run, [make_draft(f"begins, hosts: {len(host_rows)}")], self.owner)
            return True

        try:
            return self._write(insert)
        except IntegrityError:
            of_name = sql.select(RUNS.c.run).where(RUNS.c.run == run)
            if self.database.read(lambda db: db.execute(of_name).first()) is None:
                raise  # another constraint was violated
            return False

    def close_run(self, record: RunRecord) -> None:
        """Record the end of a run of ours. Raises OwnershipLostError when another process leads it."""
        values = {"record": run_adapter().dump_python(record, mode="json", exclude={"hosts"})}

        def close(db: sql.Connection) -> None:
            ours = (RUNS.c.run == record.run) & (RUNS.c.owner == self.owner)
            if db.execute(RUNS.update().where(ours).values(**values)).rowcount == 0:
                raise owners.lost(f"run {record.run}", self._find_leader(db, record.run))

        verdicts = Counter(host.verdict.outcome.value for host in record.hosts)
        text = "ended: " + (", ".join(f"{count} {outcome}" for outcome, count in verdicts.items()) or "no host")
        self._write_event(record.run, make_draft(text), close)

    def note_evidence(self, run: str, unsent: str | None) -> None:
        """Note in the record of an ended run why its evidence is not in the evidence store; None once it is."""

        def note(db: sql.Connection) -> None:
            here = RUNS.c.run == run
            record = db.execute(sql.select(RUNS.c.record).where(here).with_for_update()).scalar()
            if record is not None and record.get("evidence_unsent") != unsent:
                db.execute(RUNS.update().where(here).values(record={**record, "evidence_unsent": unsent}))

        self._write(note)

    def take_over(self, run: str, progress: Callable[[float], None] = _ignore, *, stopping: bool = False) -> None:
        """Become the leader of a run whose owner has died. Raises RequestError for any other run.

        Hosts of the dead that have a verdict and no final state are ours too; those without a verdict can be claimed
        anew. A dead owner of another machine is watched for the length of a lease; `progress` gets the seconds left.
        `stopping`: other processes that work on the run's hosts are asked to stop.
        """
        line = self.find_dead_run(run)
        dead = confirm_dead(self.database, line.owner, progress)
        if dead is None:
            raise ConflictError(
                f"run {run} is under way: {describe_owner(self.find(run).owner)}", next_step="wait for its end"
            )
        owner = self.owner

        def take(db: sql.Connection) -> bool:
            still_dead = sql.exists().where(OWNERS.c.owner == dead.owner, OWNERS.c.beats == dead.beats)
            of_dead = (RUNS.c.run == run) & (RUNS.c.owner == dead.owner) & still_dead
            values = {"owner": owner, "attempt": RUNS.c.attempt + 1, "stopping": stopping}
            if db.execute(RUNS.update().where(of_dead).values(**values)).rowcount == 0:
                taken = sql.select(RUNS.c.run).where(RUNS.c.run == run, RUNS.c.owner == owner)
                return db.execute(taken).first() is not None
            host_claims.take_hosts_of_dead(db, run, dead, owner)
            insert_events(
                db, run, [make_draft(f"taken over by process {os.getpid()} on {socket.gethostname()}")], owner
            )
            return True

        if not self._write(take):
            raise ConflictError(f"another process goes on with run {run}", next_step="wait for its end")

    def ask_to_stop(self, run: str) -> None:
        """Ask every process that works on hosts of a run of ours to end them. Raises OwnershipLostError."""

        def ask(db: sql.Connection) -> None:
            ours = (RUNS.c.run == run) & (RUNS.c.owner == self.owner)
            if db.execute(RUNS.update().where(ours).values(stopping=True)).rowcount == 0:
                raise owners.lost(f"run {run}", self._find_leader(db, run))

        self._write_event(run, make_draft("all who work on it are asked to stop"), ask)

    # -- hosts

    def claim(self, run: str, types: Collection[str] | None = None) -> HostLine | None:
        """Claim a host of a run that has no verdict and no owner, the longest expected first; None when none is left.

        `types`: of these instance types alone.
        None also for a run of another process that was asked to stop or has ended. The attempt of the host grows, so
        that nothing of an earlier attempt is mistaken for this one.
        """
        tries: list[int] = []
        ours: list[Token] = []

        def claim(db: sql.Connection) -> HostLine | None:
            self._claimed.difference_update(ours)
            ours.clear()
            line = host_claims.find_unknown_claim(db, run, self.owner, self._claimed) if tries else None
            line = line or host_claims.claim_host(db, run, self.owner, types)
            tries.append(1)
            if line is not None:
                ours.append(line.token)
                self._claimed.add(line.token)
            return line

        return self._write(claim)

    def give_back(self, token: Token) -> None:
        """Give up a host of ours that has no verdict, so that another process claims it. Raises OwnershipLostError."""

        def give_back(db: sql.Connection) -> None:
            unjudged = HOSTS.update().where(host_claims.OF_OWNER, HOSTS.c.record.is_(None)).values(owner=None)
            if db.execute(unjudged, host_claims.name_host(token, self.owner)).rowcount == 0:
                self._refuse(db, token, given_back=True)

        self._write_event(token.run, make_draft("given back, without a verdict", token.host), give_back)

    def hosts_of_others(self, run: str) -> list[UnsettledHost]:
        """List the hosts of a run that are not settled and that other processes work on, living or dead."""
        return self.database.read(lambda db: host_claims.find_hosts_of_others(db, run, self.owner))

    def free_hosts_of_dead(self, run: str, owner: OwnerLine, progress: Callable[[float], None] = _ignore) -> bool:
        """Free the hosts of a dead process that worked on a run of ours; return whether there were any.

        Those with a verdict become ours, to be settled. An owner of another machine is watched as in `take_over`.
        """
        dead = confirm_dead(self.database, owner, progress)
        if dead is None:
            return False
        draft = make_draft(f"process {dead.process.pid} on {dead.machine} died; its hosts are free")
        return self._write_event(run, draft, lambda db: host_claims.take_hosts_of_dead(db, run, dead, self.owner)) > 0

    def own_host(self, run: str, host: str, progress: Callable[[float], None] = _ignore) -> HostLine:
        """Own a host of any run that nobody works on, to settle it. Raises RequestError when somebody does.

        An owner of another machine whose lease has ended is watched as in `take_over`.
        """
        here = (HOSTS.c.run == run) & (HOSTS.c.host == host)

        def find_other(db: sql.Connection) -> OwnerLine | None:
            owner = db.execute(sql.select(HOSTS.c.owner).where(here)).scalar_one()
            return None if owner in (None, self.owner) else read_owner(db, owner)

        other = self.database.read(find_other)
        if other is not None and (other.alive() or confirm_dead(self.database, other, progress) is None):
            raise owners.in_other_hands(run, host, other)

        def own(db: sql.Connection) -> HostLine:
            row = db.execute(HOSTS.select().where(here).with_for_update()).one()
            if row.owner not in (None, self.owner):
                present = read_owner(db, row.owner)
                if other is None or (present.owner, present.beats) != (other.owner, other.beats):
                    raise owners.in_other_hands(run, host, present)
            attempt = max(1, row.attempt)
            db.execute(HOSTS.update().where(here).values(owner=self.owner, attempt=attempt))
            return replace(make_host_line(row), attempt=attempt)

        return self._write(own)

    def record_verdict(self, token: Token, record: HostRecord) -> None:
        """Record the verdict of a host of ours, with its record so far. Raises OwnershipLostError."""
        verdict = record.verdict
        draft = make_draft(f"{verdict.outcome} {verdict.reason}: {verdict.sentence}", token.host, Stage.JUDGE)
        self._change_host(token, host_columns(record), draft)

    def record_state(
        self, token: Token, record: HostRecord, *, kept_until_ns: int | None = None, by: str | None = None
    ) -> None:
        """Record the state of a host of ours, with its whole record. Raises OwnershipLostError.

        Nobody owns a host whose state is final; an undecided one is its run's leader's. `kept_until_ns`: the new end of
        a kept host's lease, ns since the epoch; without it the lease stays as it is. `by`: who keeps it; None: the user
        of this process.
        """
        leader = sql.select(RUNS.c.owner).where(RUNS.c.run == token.run).scalar_subquery()
        owner = leader if record.state is HostState.UNDECIDED else None
        values = {**host_columns(record), "state": record.state, "owner": owner}
        text = str(record.state)
        if kept_until_ns is not None:
            text += f" until {units.utc(kept_until_ns)} by {by or name_user()}"
        draft = make_draft(text, token.host, Stage.RELEASE)
        self._change_host(token, values, draft, kept_until_ns=kept_until_ns, by=by)

    # -- steps

    def begin_step(self, token: Token, stage: Stage) -> BegunStep:
        """Record the intent of a step of a host of ours, before its effect.

        Raises OwnershipLostError when the host is no longer ours: the effect must not follow.
        """
        ident = secrets.token_hex(8)
        row = {"ident": ident, "token": str(token), "stage": stage}
        tries: list[int] = []

        def begin(db: sql.Connection) -> None:
            self._fence(db, token)
            if not tries or db.execute(sql.select(STEPS.c.id).where(STEPS.c.ident == ident)).first() is None:
                db.execute(_BEGIN_STEP, row)
            tries.append(1)

        self._write_event(token.run, make_draft("", token.host, stage), begin)
        return BegunStep(ident=ident, token=token, stage=stage)

    def end_step(self, step: BegunStep, result: str) -> None:
        """Record the end of a step and its result."""
        values = {"of_ident": step.ident, "result": _without_nul(result)}
        draft = make_draft(result, step.token.host, step.stage)
        self._write_event(step.token.run, draft, lambda db: db.execute(_END_STEP, values))

    # -- events

    def say(self, event: Event) -> None:
        """Keep an event of a run of ours: it is written with the next state of this run, or within a second."""
        self._waiting.add(event)

    def flush(self) -> None:
        """Write the events that wait."""
        for run in self._waiting.runs():
            self._waiting.write_with(run, [], self.owner, self._write, lambda _db: None)

    def prune_events(self, *, older_than_s: float) -> int:
        """Delete the events of ended runs that began so long ago; return how many."""
        before = self.now_ns() - round(older_than_s * 1e9)
        return self.database.write(lambda db: prune_events(db, older_than_ns=before))

    def _write_event(self, run: str, draft: EventDraft, work: Callable[[sql.Connection], Result]) -> Result:
        return self._waiting.write_with(run, [draft], self.owner, self._write, work)

    # -- ownership

    def _write(self, work: Callable[[sql.Connection], Result]) -> Result:
        """Commit the work in one transaction. This owner is recorded before it, in a transaction of its own."""
        self._owner.ensure_recorded()
        return self.database.write(work)

    def _change_host(
        self,
        token: Token,
        values: Mapping[str, Any],
        draft: EventDraft,
        *,
        kept_until_ns: int | None = None,
        by: str | None = None,
    ) -> None:
        def change_host(db: sql.Connection) -> None:
            state, lease = values.get("state"), {}
            if state is HostState.KEPT:
                until_ns = host_claims.find_lease_end_ns(db, token) if kept_until_ns is None else kept_until_ns
                lease = {"kept_until_ns": until_ns, "kept_by": by or name_user()}
            change = HOSTS.update().where(host_claims.OF_OWNER).values(**values, **lease)
            if db.execute(change, host_claims.name_host(token, self.owner)).rowcount == 0:
                self._refuse(db, token, settled_as=state)
            sum_up(db, token.run)

        self._write_event(token.run, draft, change_host)

    def _fence(self, db: sql.Connection, token: Token) -> None:
        """Hold the host until the transaction ends. Raises OwnershipLostError when it is not ours."""
        if db.execute(host_claims.HOLD_HOST, host_claims.name_host(token, self.owner)).first() is None:
            self._refuse(db, token)

    def _refuse(
        self, db: sql.Connection, token: Token, *, settled_as: str | None = None, given_back: bool = False
    ) -> None:
        """Raise the error of a host that is not ours, unless it was given up like this before, and the answer lost."""
        query = HOSTS.select().where(HOSTS.c.run == token.run, HOSTS.c.host == token.host)
        row = db.execute(query).first()
        if row is None:
            raise KeyError(f"run {token.run} has no host {token.host!r} in the ledger")
        if row.attempt == token.attempt and row.state == settled_as and (settled_as is not None or given_back):
            return
        raise owners.lost(f"{token.host} of run {token.run}", read_owner(db, row.owner) if row.owner else None)

    def _find_leader(self, db: sql.Connection, run: str) -> OwnerLine | None:
        return owners.find_owner(db, RUNS, RUNS.c.run == run)


def _without_nul(text: str) -> str:
    return text.replace("\0", "\\0")  # no text of PostgreSQL may hold one
