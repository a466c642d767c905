"""Share the limits of a cloud's account between processes: buckets of tokens for requests, and quotas.

A bucket is one moment: that at which it will be full again (the generic cell rate algorithm, ITU-T I.371). Taking a
token moves it on by the time in which one comes back; so one statement is enough, and nobody polls.
"""

import logging
import threading
import time
from collections.abc import Callable

import sqlalchemy as sql

from harness.errors import HarnessError
from harness.model.bench_traits import BenchName
from harness.model.cloud import HostInUse
from harness.store.database import Database, now_ns
from harness.store.host_progress import list_hosts_in_use
from harness.store.tables import BUCKETS

_AGAIN_AFTER_S = 30.0
_log = logging.getLogger(__name__)


class LedgerLimits:
    """The limits that the processes of a ledger share. Threads share it.

    While the ledger is away, nobody waits for it: a machine that can be removed is removed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock, self._away_until = threading.Lock(), 0.0

    def take(self, name: str, size: int, per_s: float) -> float:
        """Take a token from a bucket that holds `size` and gets `per_s` back a second; return how long to wait, s."""
        each_ns = round(1e9 / per_s)
        filled_ns = self._move(name, _later(BUCKETS.c.full_ns, now_ns()) + each_ns)
        return max(0.0, (filled_ns - size * each_ns) / 1e9)

    def empty(self, name: str, size: int, per_s: float, for_s: float) -> None:
        """Empty a bucket, and let no token come for so long."""
        self._move(name, _later(BUCKETS.c.full_ns, now_ns() + round((size / per_s + for_s) * 1e9)))

    def list_hosts_in_use(self) -> list[HostInUse]:
        """List the hosts in EC2 that a process works on now. Raises SetupError."""
        return list_hosts_in_use(self._database, BenchName.EC2)

    def _move(self, name: str, full_ns: sql.ColumnElement[int]) -> int:
        """Move the moment at which a bucket is full; return how far ahead it is then, ns."""
        change = BUCKETS.update().where(BUCKETS.c.bucket == name).values(full_ns=full_ns)
        moved = change.returning(BUCKETS.c.full_ns - now_ns())

        def work(db: sql.Connection) -> int:
            ahead_ns = db.execute(moved).scalar()
            if ahead_ns is None:
                insert = self._database.insert(BUCKETS).values(bucket=name, full_ns=now_ns())
                db.execute(insert.on_conflict_do_nothing())
                ahead_ns = db.execute(moved).scalar_one()
            return int(ahead_ns)

        return self._unless_away(work)

    def _unless_away(self, work: Callable[[sql.Connection], int]) -> int:
        with self._lock:
            if time.monotonic() < self._away_until:
                return 0
        try:
            with self._database.connect() as db:
                return work(db)
        except HarnessError as error:
            _log.warning("requests are limited by each process alone for %.0f s: %s", _AGAIN_AFTER_S, error)
            with self._lock:
                self._away_until = time.monotonic() + _AGAIN_AFTER_S
            return 0


def _later(one: sql.ColumnElement[int], other: sql.ColumnElement[int]) -> sql.ColumnElement[int]:
    return sql.case((one > other, one), else_=other)
