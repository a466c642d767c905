"""Witness a watch from outside: who has each stream by the ledger, and how long processes wait for a processor."""

import threading
from collections import defaultdict
from pathlib import Path

import psycopg

from tests.programs.watch_history import Holding
from tests.programs.watched_fleet import DATABASE, HOSTS, Fleet, now_s

_EVERY_S = 0.2
_QUERY = "SELECT stream, owner, wanted, epoch FROM watch_streams"


class Witness:
    """Looks on in threads, between `start` and `stop`.

    `holdings`: who had and was to have each stream, whenever that changed. `waits`: by process, at which moment for how
    long it had waited, s.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._stopping = fleet, threading.Event()
        self.holdings: list[Holding] = []
        self.waits: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch_owners, self._watch_waits)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _watch_owners(self) -> None:
        """Read who has each stream; while the server is away nothing changes."""
        latest: dict[str, tuple[str | None, str | None, int]] = {}
        while not self._stopping.is_set():
            try:
                server = self._fleet.servers[self._fleet.primary]
                with psycopg.connect(server.url(DATABASE), connect_timeout=5, autocommit=True) as db:
                    while not self._stopping.wait(_EVERY_S) and server is self._fleet.servers[self._fleet.primary]:
                        for stream, *holding in db.execute(_QUERY):
                            if latest.get(stream) != (*holding,):
                                latest[stream] = (*holding,)  # type: ignore[assignment]
                                self.holdings.append(Holding(now_s(), stream, *holding))
            except psycopg.Error:
                self._stopping.wait(_EVERY_S)

    def _watch_waits(self) -> None:
        """Read of each worker and of the hosts for how long they had no processor."""
        while not self._stopping.wait(_EVERY_S):
            for name, process in [*self._fleet.processes.items()]:
                waited_s = read_wait_s(process.pid)
                if waited_s is not None and (name in self._fleet.workers or name == HOSTS):
                    self.waits[name].append((now_s(), waited_s))


def read_wait_s(pid: int) -> float | None:
    """Read for how long the threads of a process could run and had no processor, s; None where this is not known.

    All of them count (proc_pid_schedstat of Linux): one that has Python's lock and no processor holds up the others.
    """
    try:
        files = [*Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(file.read_text().split()[1]) for file in files) / 1e9 if files else None
    except (OSError, IndexError, ValueError):
        return None
