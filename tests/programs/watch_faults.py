"""A watch of real processes on real PostgreSQL, which is disturbed; then its history is held against what it promises.

    python -m tests.programs.watch_faults FOLDER [--faults N] [--seed S] [--workers N] [--streams N]

Workers, processes that may lead, and two PostgreSQL servers are in network namespaces of their own. One server is the
standby of the other, and commits wait for both: a server that takes over lacks no lease. Workers are killed, paused
beyond their leases, and cut off; so are leaders; the server is restarted, crashes, its disk is full, its clock or that
of workers is set by an hour, and the standby takes over.

The checker reads the journals of the workers, which name each tick that was sampled, and the ledger:

- one worker an epoch, and each tick of an epoch is in one chunk: nothing doubled;
- what was sampled is in the ledger, but the latest second of a process that was killed: nothing lost;
- each stream is sampled at each tick, unless its worker was killed or paused, and no other one could take it yet; or
  its worker got no processor: it notes each tick at which it was there. Such gaps are counted.
"""

import argparse
import bisect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import sqlalchemy as sql

from harness.store.reading_columns import decode
from harness.store.tables import WATCH_CHUNKS
from harness.store.watch_database import open_watch_database
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_streams import NewStream, WatchStreams
from tests.servers import postgresql
from tests.servers.star_network import StarNetwork, star_network

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, "-m", "tests.programs.watch_worker"]
"""Starts a worker: NAME URL FOLDER and options follow."""

HUB = [sys.executable, "-m", "tests.programs.watch_hub"]
SLEEPS = """import threading, time
time.sleep = lambda seconds: threading.Event().wait(seconds) and None
"""
"""libfaketime refuses clock_nanosleep(2) with an absolute time, by which Python sleeps."""

DATABASE = "watch"
DISK, DISK_MIB = "disk", 700
UNSENT_S = 1.5
"""What a worker has not stored or spooled yet when it is killed."""


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Lengths of a watch under test, s. `settles_s`: within which all is served again after the end of a fault."""

    lease_s: float = 3.0
    interval_s: float = 0.5

    @property
    def settles_s(self) -> float:
        return 3 * self.lease_s + 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A fault that was made. `hits`: the process that could not sample meanwhile, if it was a worker."""

    kind: str
    begun_s: float
    ended_s: float
    hits: str | None = None
    killed_pid: int | None = None


class Fleet:
    """The processes and servers of a watch under test."""

    def __init__(self, folder: Path, network: StarNetwork, public: Path, *, workers: int, times: Times) -> None:
        self.folder, self.network, self.public, self.times = folder, network, public, times
        self.workers = [f"w{number}" for number in range(workers)]
        self.hubs = ["hub0", "hub1"]
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.servers = [self._make_server(public / DISK / f"server{number}") for number in range(2)]
        self.primary = 0
        self.library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
        self.logs, self.site = folder / "log", folder / "site"
        self.logs.mkdir()
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(SLEEPS)

    # -- servers

    def start_servers(self) -> None:
        """Start a primary and its standby, whose commits are in both."""
        first = self.servers[0]
        first.initialise()
        first.trust(self.network.network)
        self._write_settings(first)
        self.start_server(0)
        first.make_database(DATABASE)
        self.add_standby()

    def start_server(self, number: int) -> None:
        """Start a server in the middle, with a clock that a test sets."""
        environ, address = self._clock_of(f"server{number}"), self.network.address(number + 1)
        self.servers[number].start(*self.network.enter("middle"), address=address, environ=environ)

    def add_standby(self) -> None:
        """Make the other server the standby, and let commits wait for it."""
        standby = 1 - self.primary
        self.servers[standby].stop(signal.SIGQUIT) if self.servers[standby].runs() else None
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
        hosts = "&".join(f"host={self.network.address(number)}:5432" for number in (1, 2))
        return f"postgresql://{self.servers[0].user}@/{DATABASE}?{hosts}&target_session_attrs=read-write"

    @property
    def local_url(self) -> str:
        """The URL of the primary for the checker, which nothing cuts off."""
        return self.servers[self.primary].url(DATABASE)

    def _make_server(self, folder: Path) -> postgresql.Server:
        programs = postgresql.find_programs()
        if programs is None:
            raise OSError("PostgreSQL's server is not installed on this machine")
        folder.mkdir()
        folder.chmod(0o755)
        server = postgresql.Server(programs, folder)
        shutil.chown(folder, server.user)
        return server

    def _write_settings(self, server: postgresql.Server) -> None:
        with (server.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write("max_wal_size = '64MB'\nmin_wal_size = '32MB'\nshared_buffers = '16MB'\nmax_wal_senders = 5\n")

    # -- processes

    def start(self, name: str) -> None:
        """Start a worker, or a process that may lead, under its name."""
        clock = self._clock_of(name)
        if name in self.hubs:
            argv = [*HUB, self.url, f"{self.times.lease_s}"]
        else:
            argv = [*WORKER, name, self.url, str(self.folder), f"--lease={self.times.lease_s}"]
            argv.append(f"--interval={self.times.interval_s}")
        environ = os.environ | clock | {"PYTHONPATH": f"{self.site}:{ROOT}:{ROOT / 'lab'}"}
        with (self.logs / name).open("a") as log:
            self.processes[name] = subprocess.Popen(
                [*self.network.enter(name), *argv], cwd=ROOT, env=environ, stdout=log, stderr=log, text=True
            )

    def ensure_running(self) -> None:
        """Start each process anew that has ended, such as one that began while no server answered."""
        for name in (*self.workers, *self.hubs):
            if name not in self.processes or self.processes[name].poll() is not None:
                self.start(name)

    def kill(self, name: str) -> int:
        """Kill a process; return its number."""
        process = self.processes[name]
        process.kill()
        process.wait(30)
        return process.pid

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

    def end(self) -> None:
        """End all processes in order, then the servers."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)

    def stop_servers(self) -> None:
        for server in (self.servers[1 - self.primary], self.servers[self.primary]):
            if server.runs():
                server.stop(signal.SIGQUIT)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that the servers' user may read, with a small file system of its own in it for their data.

    Raises OSError without the right to mount.
    """
    folder = Path(tempfile.mkdtemp(prefix="ptp-watch-"))
    folder.chmod(0o755)
    try:
        (folder / DISK).mkdir()
        options = f"size={DISK_MIB}m,mode=0755"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder / DISK)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise OSError("needs the right to mount a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder / DISK)], check=True)
    finally:
        shutil.rmtree(folder)


@contextmanager
def make_fleet(folder: Path, *, workers: int, times: Times) -> Iterator[Fleet]:
    """Make a watch that runs. Raises OSError where this machine lacks something for it."""
    names = [*(f"w{number}" for number in range(workers)), "hub0", "hub1"]
    with ExitStack() as stack:
        public = stack.enter_context(public_folder())
        network = stack.enter_context(star_network(names))
        fleet = Fleet(folder, network, public, workers=workers, times=times)
        stack.callback(fleet.stop_servers)
        fleet.start_servers()
        stack.callback(fleet.end)
        yield fleet


# -- faults


@dataclass
class Faults:
    """Makes faults, and notes when each began and ended."""

    fleet: Fleet
    drawn: random.Random
    windows: list[Window] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def make(self, kind: str, target: str) -> None:
        """Make a fault of a kind, to its end."""
        begun_s = now_s()
        worker = target if target in self.fleet.workers else None
        hits, killed = None, None
        match kind:
            case "kill":
                killed, hits = self.fleet.kill(target), worker
                self._pause(0.0, 2 * self.fleet.times.lease_s)
                self.fleet.start(target)
            case "pause":
                hits = worker
                self.fleet.processes[target].send_signal(signal.SIGSTOP)
                self._pause(0.3, 2.5 * self.fleet.times.lease_s)
                self.fleet.processes[target].send_signal(signal.SIGCONT)
            case "cut off":
                self.fleet.network.cut(target)
                self._pause(0.5, 3 * self.fleet.times.lease_s)
                self.fleet.network.mend(target)
            case "clock of a process":
                self.fleet.set_clock(target, self.drawn.choice((-1, 1)))
                self._pause(2.0, 2 * self.fleet.times.lease_s)
                self.fleet.set_clock(target, 0)
                time.sleep(1.2)
            case _:
                self._disturb_server(kind)
        self.counts[kind] += 1
        self.windows.append(Window(kind=kind, begun_s=begun_s, ended_s=now_s(), hits=hits, killed_pid=killed))

    def _disturb_server(self, kind: str) -> None:
        fleet, number = self.fleet, self.fleet.primary
        server = fleet.servers[number]
        match kind:
            case "server restarted" | "server crashed":
                server.stop(signal.SIGINT if kind == "server restarted" else signal.SIGQUIT)
                self._pause(0.0, 2 * fleet.times.lease_s)
                fleet.start_server(number)
            case "server paused":
                with server.paused():
                    self._pause(0.5, 2 * fleet.times.lease_s)
            case "server fails over":
                fleet.fail_over()
                self._pause(0.0, 1.0)
                fleet.add_standby()
            case "disk full":
                self._fill_disk()
            case "clock of the server":
                fleet.set_clock(f"server{number}", self.drawn.choice((-1, 1)))
                self._pause(2.0, 2 * fleet.times.lease_s)
                fleet.set_clock(f"server{number}", 0)
                time.sleep(1.2)
            case _:
                raise ValueError(kind)

    def _fill_disk(self) -> None:
        """Fill the disk of the servers for a while; one that has given up is started again."""
        fleet = self.fleet
        filler = fleet.servers[0].folder.parent / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        self._pause(1.0, 2 * fleet.times.lease_s)
        filler.unlink()
        for number, server in enumerate(fleet.servers):
            if not server.runs():
                fleet.start_server(number)

    def _pause(self, shortest_s: float, longest_s: float) -> None:
        time.sleep(self.drawn.uniform(shortest_s, longest_s))


OF_PROCESSES = ("kill", "pause", "cut off", "clock of a process")
OF_SERVERS = (
    "server restarted",
    "server crashed",
    "server paused",
    "server fails over",
    "disk full",
    "clock of the server",
)


def disturb(fleet: Fleet, faults: int, seed: int) -> Faults:
    """Make so many faults: most of one process, some of two at once, some of the server beside one of a process."""
    from concurrent.futures import ThreadPoolExecutor

    made = Faults(fleet=fleet, drawn=random.Random(seed))
    kinds = [kind for kind in OF_PROCESSES if fleet.library or "clock" not in kind]
    of_servers = [kind for kind in OF_SERVERS if fleet.library or "clock" not in kind]
    drawn, order = made.drawn, [*kinds, *of_servers]
    with ThreadPoolExecutor(3) as pool:
        while order or made.counts.total() < faults:  # each kind is made once
            kind = order.pop(0) if order else drawn.choice((*kinds, *kinds, *of_servers))
            names = [*fleet.workers, *fleet.workers, *fleet.hubs]
            targets = drawn.sample(sorted({*names}), 2) if drawn.random() < 0.3 else [drawn.choice(names)]
            jobs = [(kind, targets[0])]
            if kind not in of_servers:
                jobs += [(drawn.choice(kinds), target) for target in targets[1:]]
            elif "clock" not in kind and drawn.random() < 0.3:  # a worker that begins now takes the server's time
                jobs.append((drawn.choice(("kill", "pause", "cut off")), drawn.choice(fleet.workers)))
            for done in [pool.submit(made.make, *job) for job in jobs]:
                done.result()
            fleet.ensure_running()
            time.sleep(drawn.uniform(0.0, 2.0))
            if drawn.random() < 0.2:
                time.sleep(fleet.times.settles_s)
    return made


# -- the checker of the history


@dataclass(frozen=True, slots=True)
class Line:
    """A tick that a worker sampled, as its journal has it."""

    at_s: float
    worker: str
    pid: int
    stream: str
    epoch: int
    tick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What workers noted: each tick of a stream that was sampled, and when each worker was there, whatever it had."""

    lines: Sequence[Line]
    present_s: Mapping[str, Sequence[float]]


def read_journals(folder: Path, workers: Sequence[str]) -> History:
    lines, present_s = list[Line](), defaultdict[str, list[float]](list)
    for worker in workers:
        for text in (folder / f"{worker}.journal").read_text().splitlines():
            words = text.split()
            if len(words) != 5:  # the last line of a process that was killed may be cut
                continue
            at, pid, stream, epoch, tick = words
            if stream == "-":
                present_s[worker].append(float(at))
            else:
                lines.append(Line(float(at), worker, int(pid), stream, int(epoch), int(tick)))
    return History(lines=sorted(lines, key=lambda line: line.at_s), present_s=present_s)


def find_doubles(lines: Sequence[Line], stored: Sequence[tuple[str, int, int]]) -> list[str]:
    """Find epochs that two workers had, and ticks of an epoch that are in two chunks."""
    owners = defaultdict[tuple[str, int], set[str]](set)
    for line in lines:
        owners[line.stream, line.epoch].add(line.worker)
    found = [f"{of} was sampled by {sorted(names)}" for of, names in owners.items() if len(names) > 1]
    counts = Counter(stored)
    return found + [f"{of} is stored {count} times" for of, count in counts.items() if count > 1]


def find_lost(lines: Sequence[Line], stored: Sequence[tuple[str, int, int]], windows: Sequence[Window]) -> list[str]:
    """Find ticks that were sampled and are not in the ledger."""
    there = {*stored}
    killed_s = {window.killed_pid: window.begun_s for window in windows if window.killed_pid is not None}
    lost = [line for line in lines if (line.stream, line.epoch, line.tick) not in there]
    return [
        f"{line.stream} tick {line.tick} epoch {line.epoch} of {line.worker} at {line.at_s:.1f}"
        for line in lost
        if line.at_s < killed_s.get(line.pid, 1e12) - UNSENT_S
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Times in which nobody sampled a stream. `lost`: without an excuse. `held_up`: its worker got no processor."""

    lost: Sequence[str]
    excused: int
    held_up: int


def find_gaps(
    history: History, streams: Sequence[str], windows: Sequence[Window], begun_s: float, ended_s: float, times: Times
) -> Gaps:
    """Find times in which nobody sampled a stream, and whether its worker was killed or paused then."""
    disturbed = join([(each.begun_s - 0.5, each.ended_s + times.settles_s) for each in windows])
    of_stream = defaultdict[str, list[Line]](list)
    for sampled in history.lines:
        of_stream[sampled.stream].append(sampled)
    lost, excused, held_up = list[str](), 0, 0
    for stream in streams:
        latest: Line | None = None  # of two workers that sample at once, the one with the later epoch has the stream
        previous_s = begun_s
        for line in [*of_stream[stream], None]:
            at_s = ended_s if line is None else line.at_s
            if at_s > begun_s and at_s - previous_s > 2.5 * times.interval_s:
                workers = {each.worker for each in (latest, line) if each is not None}
                if latest is not None and is_excused(latest, previous_s, at_s, windows, disturbed):
                    excused += 1
                elif any(was_held_up(history.present_s[name], previous_s, at_s, times) for name in workers):
                    held_up += 1
                else:
                    owner = "nobody" if latest is None else f"{latest.worker} (epoch {latest.epoch})"
                    then = "the end" if line is None else f"{line.worker} (epoch {line.epoch})"
                    lost.append(f"{stream} of {owner}, then {then}: nothing from {previous_s:.1f} to {at_s:.1f}")
            if line is not None:
                previous_s = max(previous_s, at_s)
                latest = line if latest is None or line.epoch >= latest.epoch else latest
    return Gaps(lost=lost, excused=excused, held_up=held_up)


def is_excused(
    owner: Line, from_s: float, to_s: float, windows: Sequence[Window], disturbed: Sequence[tuple[float, float]]
) -> bool:
    """Whether the owner was killed or paused as the gap began, and the gap ended within the bound after all faults."""
    hits = [each for each in windows if each.hits == owner.worker]
    is_hit = any(each.begun_s - 2.0 <= from_s <= each.ended_s + 1.0 for each in hits)
    return is_hit and any(begin <= from_s + 2.0 and to_s <= end for begin, end in disturbed)


def was_held_up(present_s: Sequence[float], from_s: float, to_s: float, times: Times) -> bool:
    """Whether a worker was not there itself at some ticks of a gap, though it was not disturbed."""
    first = bisect.bisect_left(present_s, from_s - times.interval_s)
    around = [from_s - times.interval_s, *present_s[first : bisect.bisect_right(present_s, to_s)], to_s]
    return max(later - earlier for earlier, later in pairwise(around)) > 1.9 * times.interval_s


def join(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join intervals that overlap."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def read_stored(url: str) -> list[tuple[str, int, int]]:
    """Read stream, epoch and tick of each reading in the ledger, as often as it is there."""
    database = open_watch_database(url)
    query = sql.select(WATCH_CHUNKS.c.stream, WATCH_CHUNKS.c.epoch, WATCH_CHUNKS.c.readings)
    rows = database.read(lambda db: db.execute(query).all())
    database.close()
    return [(row.stream, row.epoch, reading.tick) for row in rows for reading in decode(row.readings)]


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    give_up_at = now_s() + within_s
    while not condition():
        if now_s() > give_up_at:
            raise TimeoutError(f"{what} was not so within {within_s:.0f} s")
        time.sleep(0.1)


def add_streams(fleet: Fleet, count: int) -> list[str]:
    """Add streams, and start workers and leaders; wait until all streams have their owner."""
    names = [f"s{number:03}" for number in range(count)]
    database = open_watch_database(fleet.local_url)
    streams = WatchStreams(database, lease_s=fleet.times.lease_s)
    streams.add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada")
    fleet.ensure_running()
    wait_until(lambda: all(line.leased for line in streams.list_streams()), 120.0, "that all streams are served")
    database.close()
    time.sleep(2.0)
    return names


def describe(window: Window) -> str:
    return f"{window.kind} {window.hits or ''} {window.begun_s:.1f}-{window.ended_s:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--streams", type=int, default=12)
    given = parser.parse_args()
    times = Times()
    try:
        with make_fleet(given.folder, workers=given.workers, times=times) as fleet:
            streams = add_streams(fleet, given.streams)
            begun_s = now_s()
            made = disturb(fleet, given.faults, given.seed)
            time.sleep(times.settles_s)
            ended_s = now_s() - 1.0
            fleet.end()
            stored = read_stored(fleet.local_url)
            database = open_watch_database(fleet.local_url)
            told = Counter(line.entry.kind.value for line in WatchLog(database).list_lines(most=100_000))
            mends = [line.entry.sentence for line in WatchLog(database).list_lines(kinds=[LogKind.MEND], most=10)]
            database.close()
    except OSError as error:
        print(json.dumps({"skipped": str(error)}))
        return 0
    history = read_journals(given.folder, fleet.workers)
    lines, gaps = history.lines, find_gaps(history, streams, made.windows, begun_s, ended_s, times)
    faults = [*find_doubles(lines, stored), *find_lost(lines, stored, made.windows), *gaps.lost]
    print(
        json.dumps(
            {
                "faults_made": made.counts.total(),
                "kinds": dict(made.counts),
                "sampled": len(lines),
                "stored": len({*stored}),
                "gaps_excused": gaps.excused,
                "gaps_held_up": gaps.held_up,
                "epochs": len({(line.stream, line.epoch) for line in lines}),
                "log": dict(told),
                "mends": mends,
                "violations": len(faults),
                "faults": faults[:40],
                "windows": [describe(each) for each in made.windows] if faults else [],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
