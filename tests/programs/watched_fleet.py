"""A watch of real processes: `watch worker` and `watch serve`, PostgreSQL with a standby, and simulated hosts over SSH.

Workers and leaders are in network namespaces of their own. Each has a link to the two servers and another one to the
hosts, which are real SSH servers of one process. One server is the standby of the other, and commits wait for both: a
server that takes over lacks no lease. Clocks of processes and servers are set by libfaketime, where it is installed.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.store.watch_database import open_watch_database
from harness.store.watch_streams import LEASE_S, NewStream, WatchStreams
from harness.watch.recovery import StormLimits
from tests.servers import postgresql
from tests.servers.star_network import MachineLacksError, StarNetwork, star_network

ROOT = Path(__file__).parents[2]
SLEEPS = """import threading, time
time.sleep = lambda seconds: threading.Event().wait(seconds) and None
"""
"""libfaketime refuses clock_nanosleep(2) with an absolute time, by which Python sleeps."""

SERVERS, HOSTS = "servers", "hosts"
"""The centres of the network."""

LEADERS = ("leader0", "leader1")
INTERVAL_S = 1.0
DRAIN_S, STABLE_S = 15.0, 2.5
DATABASE = "watch"
DISK, DISK_MIB = "disk", 700
SETTLES_S = 3 * LEASE_S + 6.0
"""Within which all is served again after the end of a fault."""

RESTS_S = SETTLES_S + StormLimits().quiet_s
"""Within which it is balanced again, even where many workers had failed at once."""


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """A process that ended by itself."""

    at_s: float
    name: str
    status: int


class Fleet:
    """The processes and servers of a watch under test, which samples `streams`."""

    def __init__(self, folder: Path, network: StarNetwork, public: Path, *, workers: int, streams: int) -> None:
        self.folder, self.network, self.public = folder, network, public
        self.workers = [f"w{number}" for number in range(workers)]
        self.streams = [f"host-{number}" for number in range(streams)]
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.ends: list[ProcessEnd] = []
        self.servers = [self._make_server(public / DISK / f"server{number}") for number in range(2)]
        self.primary = 0
        self.library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
        self.logs, self.site, self.journal = folder / "log", folder / "site", folder / "answers"
        self.logs.mkdir()
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(SLEEPS)

    # -- servers

    def start_servers(self) -> None:
        """Start a primary and its standby, whose commits are in both."""
        first = self.servers[0]
        first.initialise()
        first.trust(self.network.network(SERVERS))
        self._write_settings(first)
        self.start_server(0)
        first.make_database(DATABASE)
        self.add_standby()

    def start_server(self, number: int) -> None:
        """Start a server with a clock that a test sets."""
        environ, address = self._clock_of(f"server{number}"), self.network.address(SERVERS, number + 1)
        self.servers[number].start(*self.network.enter(SERVERS), address=address, environ=environ)

    def add_standby(self) -> None:
        """Make the other server the standby, and let commits wait for it."""
        standby = 1 - self.primary
        if self.servers[standby].runs():
            self.servers[standby].stop(signal.SIGQUIT)
        self.servers[standby].follow(self.servers[self.primary])
        self.start_server(standby)
        self.set_synchronous("*")

    def set_synchronous(self, names: str) -> None:
        server = self.servers[self.primary]
        server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        server.execute("SELECT pg_reload_conf()")

    def fail_over(self) -> None:
        """End the primary at once, and let its standby take over."""
        self.servers[self.primary].stop(signal.SIGQUIT)
        standby = 1 - self.primary
        self.servers[standby].promote()
        self.primary = standby
        self.set_synchronous("")

    @property
    def url(self) -> str:
        """The URL by which clients find whichever server takes writes."""
        hosts = "&".join(f"host={self.network.address(SERVERS, number)}:5432" for number in (1, 2))
        return f"postgresql://{self.servers[0].user}@/{DATABASE}?{hosts}&target_session_attrs=read-write"

    @property
    def local_url(self) -> str:
        """The URL of the primary for the checker, which nothing cuts off."""
        return self.servers[self.primary].url(DATABASE)

    def _make_server(self, folder: Path) -> postgresql.Server:
        programs = postgresql.find_programs()
        if programs is None:
            raise MachineLacksError("PostgreSQL's server is not installed on this machine")
        folder.mkdir()
        folder.chmod(0o755)
        server = postgresql.Server(programs, folder)
        shutil.chown(folder, server.user)
        return server

    def _write_settings(self, server: postgresql.Server) -> None:
        with (server.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write("max_wal_size = '64MB'\nmin_wal_size = '32MB'\nshared_buffers = '16MB'\nmax_wal_senders = 5\n")

    # -- processes

    def start_hosts(self) -> None:
        """Start the simulated hosts, and add them as streams."""
        argv = [sys.executable, "-m", "tests.servers.clock_hosts", f"--folder={self.folder}"]
        argv += [f"--count={len(self.streams)}", f"--address={self.network.address(HOSTS, 1)}"]
        argv += [f"--journal={self.journal}", f"--interval={INTERVAL_S}"]
        with (self.logs / HOSTS).open("a") as log:
            hosts = self.processes[HOSTS] = subprocess.Popen(
                [*self.network.enter(HOSTS), *argv], cwd=ROOT, env=self._environ({}), stdout=subprocess.PIPE,
                stderr=log, text=True,
            )  # fmt: skip
        assert hosts.stdout is not None
        sources = json.loads(hosts.stdout.readline())
        database = open_watch_database(self.local_url)
        streams = [
            NewStream(stream=name, source=sources[name], limits={}, interval_s=INTERVAL_S) for name in self.streams
        ]
        WatchStreams(database).add(streams, by="ada")
        database.close()

    def start(self, name: str) -> None:
        """Start a worker, or a process that may lead, under its name."""
        command = ["serve"] if name in LEADERS else ["worker", f"--name={name}", f"--drain-s={DRAIN_S:g}"]
        variables = {"PTP_HARNESS_LEDGER_URL": self.url, "PTP_HARNESS_STATE_DIR": str(self.folder / name)}
        with (self.logs / name).open("a") as log:
            self.processes[name] = subprocess.Popen(
                [*self.network.enter(name), sys.executable, "-m", "harness", "watch", *command],
                cwd=self.folder, env=self._environ(self._clock_of(name) | variables), stdout=log, stderr=log, text=True,
            )  # fmt: skip

    def _environ(self, variables: dict[str, str]) -> dict[str, str]:
        return os.environ | variables | {"PYTHONPATH": f"{self.site}:{ROOT}:{ROOT / 'lab'}"}

    def ensure_running(self) -> None:
        """Start each process that does not run; note one that has ended by itself."""
        for name in (*self.workers, *LEADERS):
            status = self.processes[name].poll() if name in self.processes else None
            if status is not None:
                self.ends.append(ProcessEnd(now_s(), name, status))
            if status is not None or name not in self.processes:
                self.start(name)

    def kill(self, name: str) -> None:
        """Kill a process."""
        self.processes[name].kill()
        self.processes[name].wait(30)

    def stop(self, name: str) -> None:
        """Tell a process to end, and wait until it has."""
        self.processes[name].terminate()
        self.processes[name].wait(4 * DRAIN_S)

    def set_clock(self, name: str, hours: int) -> None:
        """Set the clock that a process sees so many hours ahead."""
        file = self.public / f"{name}.clock"
        partial = file.with_suffix(".partial")
        partial.write_text(f"{hours:+d}h" if hours else "+0")
        partial.chmod(0o644)
        partial.rename(file)

    def _clock_of(self, name: str) -> dict[str, str]:
        if self.library is None:
            return {}
        self.set_clock(name, 0)
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.public / f"{name}.clock"),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def count_spooled(self) -> int:
        """Count the chunks that are in spools."""
        count = 0
        for name in self.workers:
            file = self.folder / name / "watch" / f"{name}.spool"
            with (
                suppress(sqlite3.OperationalError),
                closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as spool,
            ):
                for table in ("whole", "thinned"):
                    count += spool.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        return count

    def end(self) -> None:
        """End all processes in order, workers at the second signal at once; then the hosts."""
        ended = [self.processes.pop(name) for name in (*self.workers, *LEADERS) if name in self.processes]
        _end_processes(ended)
        if HOSTS in self.processes:
            _end_processes([self.processes.pop(HOSTS)])

    def stop_servers(self) -> None:
        for server in (self.servers[1 - self.primary], self.servers[self.primary]):
            if server.runs():
                server.stop(signal.SIGQUIT)


def _end_processes(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End processes by two signals, and kill those that do not end."""
    for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGTERM):
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)
        time.sleep(0.3 if number is signal.SIGTERM else 0.0)
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that the servers' user may read, with a small file system of its own in it for their data.

    Raises MachineLacksError without the right to mount.
    """
    folder = Path(tempfile.mkdtemp(prefix="ptp-watch-"))
    folder.chmod(0o755)
    try:
        (folder / DISK).mkdir()
        options = f"size={DISK_MIB}m,mode=0755"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder / DISK)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise MachineLacksError("needs the right to mount a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder / DISK)], check=True)
    finally:
        shutil.rmtree(folder)


@contextmanager
def make_fleet(folder: Path, *, workers: int, streams: int) -> Iterator[Fleet]:
    """Make a watch that runs, and serves all its streams. Raises MachineLacksError."""
    names = [*(f"w{number}" for number in range(workers)), *LEADERS]
    with ExitStack() as stack:
        public = stack.enter_context(public_folder())
        network = stack.enter_context(star_network(names, {SERVERS: 2, HOSTS: streams}))
        fleet = Fleet(folder, network, public, workers=workers, streams=streams)
        stack.callback(fleet.stop_servers)
        fleet.start_servers()
        stack.callback(fleet.end)
        fleet.start_hosts()
        fleet.ensure_running()
        wait_until_served(fleet, 120.0)
        yield fleet


def wait_until_served(fleet: Fleet, within_s: float) -> None:
    """Wait until all workers are there, and each stream has had the owner that it is to have for STABLE_S.

    Raises TimeoutError.
    """
    database = open_watch_database(fleet.local_url)
    streams = WatchStreams(database)
    latest: dict[str, str | None] = {}
    since_s = now_s()

    def is_served() -> bool:
        nonlocal latest, since_s
        lines = streams.list_streams()
        owners = {line.stream: line.owner for line in lines if line.leased and line.owner == line.wanted}
        if owners != latest or len(owners) < len(lines):
            latest, since_s = owners, now_s()
        there = {worker.worker for worker in streams.list_workers() if worker.lives}
        return now_s() - since_s >= STABLE_S and there == {*fleet.workers}

    try:
        wait_until(is_served, within_s, "that all workers are there, and each stream has the owner that it is to have")
    finally:
        database.close()


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    give_up_at = now_s() + within_s
    while not condition():
        if now_s() > give_up_at:
            raise TimeoutError(f"{what} was not so within {within_s:.0f} s")
        time.sleep(0.1)
