"""Mend what the ledger says of workers and streams; each change holds only while what it mends is still so."""

from collections.abc import Callable, Mapping

import sqlalchemy as sql

from harness.store.database import Database
from harness.store.tables import WATCH_STREAMS, WATCH_WORKERS
from harness.store.watch_streams import LEASE_S, goes_on


class WatchMending:
    """Changes of a ledger's workers and streams that no worker makes itself. `lease_s`: that of `WatchStreams`."""

    def __init__(self, database: Database, *, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._lease_ns = round(lease_s * 1e9)

    def forget(self, registrations: Mapping[str, int]) -> list[str]:
        """Remove the rows of dead workers of these registrations; return their names.

        A worker that comes back registers anew. What it still owns in the ledger goes with its lease.
        """
        return self._each(registrations, self._forget)

    def demand_registration(self, registrations: Mapping[str, int]) -> list[str]:
        """Let workers of these registrations register anew at their next heartbeat; return the names of those."""
        return self._each(registrations, self._demand)

    def free(self, epochs: Mapping[str, int]) -> list[str]:
        """Free streams of these epochs whose lease is over; return their names."""
        return self._each(epochs, self._free)

    def _each(self, numbers: Mapping[str, int], make: Callable[[str, int], sql.Executable]) -> list[str]:
        def execute(db: sql.Connection) -> list[str]:
            return [name for name, number in sorted(numbers.items()) if db.execute(make(name, number)).rowcount]

        return self._database.write(execute) if numbers else []

    def _forget(self, worker: str, registration: int) -> "sql.Delete":
        of = WATCH_WORKERS.c
        is_over = sql.not_(goes_on(of.until_ns, self._lease_ns))
        return sql.delete(WATCH_WORKERS).where(of.worker == worker, of.registration == registration, is_over)

    def _demand(self, worker: str, registration: int) -> "sql.Update":
        of = WATCH_WORKERS.c
        same = (of.worker == worker) & (of.registration == registration)
        return WATCH_WORKERS.update().where(same).values(registration=of.registration + 1)

    def _free(self, stream: str, epoch: int) -> "sql.Update":
        of = WATCH_STREAMS.c
        is_over = sql.not_(sql.func.coalesce(goes_on(of.until_ns, self._lease_ns), sql.false()))
        same = (of.stream == stream) & (of.epoch == epoch)
        return WATCH_STREAMS.update().where(same, is_over).values(owner=None, until_ns=None)
