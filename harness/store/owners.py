"""Own runs and hosts by a lease in the database's time, which a heartbeat renews.

An owner is one process with one ledger open. It is dead when its process has ended on this machine, or when its lease
has ended and it renewed nothing for the length of a lease of our own clock: after a pause of the database, or a step of
its clock, all leases look ended.
"""

import getpass
import logging
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from harness import units
from harness.errors import ConflictError, ExitCode, HarnessError
from harness.store.database import Database, now_ns
from harness.store.tables import OWNERS
from harness.system.proc import ProcessId, own_process
from harness.untrusted.plain_text import clip, printable

LEASE_S, SHORTEST_LEASE_S = 30.0, 2.0
_RESIGNED_NS = 0
"""The end of the lease of an owner that gave up what it owns: nobody has to wait for its end."""

HEARTBEAT_S = 5.0
TICK_S = 1.0
_WATCH_S = 1.0
_watched: dict[str, int] = {}
"""The beats of owners that this process watched for a lease already: a task, then its run, may be of the same."""

_log = logging.getLogger(__name__)


class OwnershipLostError(HarnessError):
    """A run or host that another process goes on with. Whoever gets this stops, and removes nothing of it."""

    exit_code = ExitCode.NOT_CONCLUSIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLine:
    """An owner as the ledger has it. `person`: whom it acts for; None: of a version that did not record it.

    `read_ns`: the database's time at the reading. `until_ns`: the end of its lease, 0 once it has resigned; None: of a
    version without leases.
    """

    owner: str
    machine: str
    person: str | None
    place: str
    process: ProcessId
    since_ns: int
    beats: int
    beat_ns: int
    until_ns: int | None
    read_ns: int

    def has_ended(self) -> bool:
        """Whether it has resigned, or was a process of this machine, which has ended."""
        if self.until_ns == _RESIGNED_NS:
            return True
        here = self.machine == socket.gethostname() if self.until_ns is None else self.place == own_place()
        return here and not self.process.may_live()

    def lease_ended(self) -> bool:
        """Whether its lease had ended when this was read."""
        return self.until_ns is not None and self.until_ns <= self.read_ns

    def lease_s(self) -> float:
        """How long its lease is, s, from each renewal on: at most LEASE_S."""
        recorded_s = 0.0 if self.until_ns is None else (self.until_ns - self.beat_ns) / 1e9
        return recorded_s if SHORTEST_LEASE_S * 0.9 < recorded_s < LEASE_S else LEASE_S

    def alive(self) -> bool:
        """Whether it is to be taken as alive. One without a lease on another machine is: it cannot be checked."""
        return not self.has_ended() and not self.lease_ended()


class Ownership:
    """This process as an owner in a ledger, `ident` by name.

    A thread renews its lease until `close`, or until nobody refers to this object any more; it also calls `on_tick`
    once a second. `lease_s`: at most LEASE_S, which is the default; a shorter one is renewed four times in its length.
    """

    def __init__(self, database: Database, on_tick: Callable[[], None], lease_s: float | None = None) -> None:
        self._database, self._on_tick = database, on_tick
        self._lease_s = lease_s
        self.ident = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def ensure_recorded(self) -> str:
        """Record this owner and begin its heartbeat, unless that is done; return its name."""
        with self._lock:
            if self._thread is None:
                self._database.write(self._record)
                arguments = (weakref.ref(self), self._stop, self._heartbeat_s())
                self._thread = threading.Thread(target=_beat, args=arguments, name="heartbeat", daemon=True)
                self._thread.start()
        return self.ident

    def renew(self) -> None:
        """Renew the lease once."""
        self._database.write(self._renew)

    def resign(self) -> None:
        """Give up all that is owned, at the end of a process which leaves it to others."""
        self._stop.set()
        resigned = OWNERS.update().where(OWNERS.c.owner == self.ident).values(until_ns=_RESIGNED_NS)
        self._database.write(lambda db: db.execute(resigned))

    def tick(self) -> None:
        """Do what is due each second."""
        self._on_tick()

    def close(self) -> None:
        """End the heartbeat; the lease ends by itself."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _record(self, connection: sql.Connection) -> None:
        if connection.execute(sql.select(OWNERS.c.owner).where(OWNERS.c.owner == self.ident)).first() is not None:
            return
        process, now = own_process(), read_now(connection)
        connection.execute(
            OWNERS.insert(),
            {
                "owner": self.ident,
                "machine": socket.gethostname(),
                "person": name_user(),
                "place": own_place(),
                "pid": process.pid,
                "pid_start_ticks": process.start_ticks,
                "since_ns": now,
                "beats": 0,
                "beat_ns": now,
                "until_ns": now + self._lease_ns(),
            },
        )

    def _renew(self, connection: sql.Connection) -> None:
        values = {"beats": OWNERS.c.beats + 1, "beat_ns": now_ns(), "until_ns": now_ns() + self._lease_ns()}
        ours = OWNERS.update().where(OWNERS.c.owner == self.ident, OWNERS.c.until_ns != _RESIGNED_NS)
        connection.execute(ours.values(values))

    def _heartbeat_s(self) -> float:
        return HEARTBEAT_S if self._lease_s is None else min(HEARTBEAT_S, self._lease_s / 4)

    def _lease_ns(self) -> int:
        return round((LEASE_S if self._lease_s is None else self._lease_s) * 1e9)


def _beat(owner: "weakref.ref[Ownership]", stop: threading.Event, heartbeat_s: float) -> None:
    renew_at = time.monotonic() + heartbeat_s
    while not stop.wait(min(TICK_S, heartbeat_s)):
        ownership = owner()
        if ownership is None:
            return
        try:
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + heartbeat_s
                ownership.renew()
            ownership.tick()
        except Exception as error:  # the next write of this owner tells whether it still owns anything
            _log.warning("the ledger was not reached by the heartbeat of this process: %s", error)
        del ownership  # the thread itself keeps nothing alive


@cache
def own_place() -> str:
    """Name where a process id of ours means our process: this boot of this machine, and its space of process ids."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"


def name_user() -> str:
    """Name the person or account that this process acts for, and its machine: ada@laptop."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry in the password database
        user = str(os.getuid())
    return clip(printable(f"{user}@{socket.gethostname()}"), 255)


def read_now(connection: sql.Connection) -> int:
    """Read the database's time, ns since the epoch."""
    return int(connection.execute(sql.select(now_ns())).scalar_one())


def read_owner(connection: sql.Connection, owner: str) -> OwnerLine:
    """Read an owner by its name. Raises NoResultFound for an unknown one."""
    return make_owner_line(connection.execute(sql.select(*OWNERS.c, now_ns()).where(OWNERS.c.owner == owner)).one())


def find_owner(connection: sql.Connection, table: sql.Table, here: sql.ColumnElement[bool]) -> OwnerLine | None:
    """Find who owns a row of a table; None where nobody does."""
    owner = connection.execute(sql.select(table.c.owner).where(here)).scalar()
    return None if owner is None else read_owner(connection, owner)


def make_owner_line(row: Any) -> OwnerLine:
    """Make the line of a row with the columns of OWNERS, then the database's time."""
    owner, machine, person, place, pid, ticks, since_ns, beats, beat_ns, until_ns, read_ns = row
    return OwnerLine(
        owner=owner,
        machine=machine,
        person=person,
        place=place,
        process=ProcessId(pid=pid, start_ticks=ticks),
        since_ns=since_ns,
        beats=beats,
        beat_ns=beat_ns,
        until_ns=until_ns,
        read_ns=read_ns,
    )


def confirm_dead(
    database: Database, line: OwnerLine, progress: Callable[[float], None], pause: Callable[[float], None] = time.sleep
) -> OwnerLine | None:
    """Confirm that an owner whose lease has ended is dead; None when it renewed its lease meanwhile.

    One of this machine is looked up; any other is watched for the length of its lease, once by this process. `progress`
    gets the seconds left.
    """
    end = time.monotonic() + (0 if _watched.get(line.owner) == line.beats else line.lease_s())
    while not line.has_ended():
        left = end - time.monotonic()
        if left <= 0:
            _watched[line.owner] = line.beats
            return line
        progress(left)
        pause(min(_WATCH_S, left))
        again = database.read(lambda connection: read_owner(connection, line.owner))
        if again.beats != line.beats:
            return None
    return line


def describe_owner(owner: OwnerLine) -> str:
    """Say which process owns a run or host, since when, and when it was last heard of."""
    where = "" if owner.place == own_place() else f" on {owner.machine}"
    heard = "" if owner.until_ns is None else f", last heard of at {units.utc(owner.beat_ns)}"
    return f"process {owner.process.pid}{where} leads it since {units.utc(owner.since_ns)}{heard}"


def in_other_hands(run: str, host: str, owner: OwnerLine) -> ConflictError:
    """Make the error of a host that another process works on."""
    return ConflictError(
        f"{host} of run {run} is in other hands: {describe_owner(owner)}", next_step="wait for its end"
    )


def lost(thing: str, owner: OwnerLine | None) -> OwnershipLostError:
    """Make the error of a run or host that is no longer ours, and name who has it now."""
    now = "nobody" if owner is None else describe_owner(owner)
    return OwnershipLostError(
        f"{thing} is no longer ours: {now}", next_step="nothing of it was touched; `ptp-harness runs` lists all"
    )
