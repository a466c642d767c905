"""Measure the service: python benchmarks/service.py [PART ...].

Parts: pages (any page of the lists of 10,000 runs, as one client gets it), reads (requests a second of one process,
beside a bare route of FastAPI), events (500 clients that follow a run, and 50 runs that others follow), begun (from the
submission of a campaign until its process begins it). Each service is a process of `ptp-harness serve` on SQLite, and
on PostgreSQL, which is started here with its durable settings; clients are another process. The limit of each figure is
printed beside it; exit code 1: a limit was not held. Other programs on the machine change the figures.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.store import Store, databases, insert, percentile, sample_record  # noqa: E402
from harness.client.client import Client  # noqa: E402
from harness.model import Outcome, Stage  # noqa: E402
from harness.runs.run_events import make_event  # noqa: E402
from harness.store.ledger import Ledger  # noqa: E402
from harness.store.ledger_lines import host_adapter  # noqa: E402
from harness.store.run_sums import VERDICTS  # noqa: E402
from harness.store.task_queue import TaskQueue  # noqa: E402
from harness.system.settings import LEDGER_URL  # noqa: E402

RUNS = 10_000
PAGE_MS = 20
READS_PER_S, READ_P99_MS, CONNECTIONS, REQUESTS = 1500, 25, 24, 6000
FOLLOWERS, OTHER_RUNS, EVENTS_SAID = 500, 50, 25
EVENT_P99_MS, EVENTS_MB = 250, 150
TASKS_BEGUN, BEGUN_P99_MS = 50, 200
CAMPAIGN = "bench: lab\ninstance_types: [lab.no-capacity]\n"
"""A campaign that begins as any, and soon ends: its type has no capacity."""

START_NS, SECOND_NS = 1_760_000_000 * 10**9, 10**9
OUTCOMES = (Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)
SIZES = ("large", "xlarge", "2xlarge", "metal")

bare = FastAPI()


@bare.get("/")
def bare_route() -> dict[str, str]:
    """Answer as fast as FastAPI can."""
    return {"status": "ok"}


# -- a service and its clients


@contextmanager
def serving(store: Store, *, works: bool = False) -> Iterator[tuple[int, int]]:
    """Run a service on the store's ledger; give its port and its process id. `works`: it carries out campaigns."""
    environ = os.environ | {LEDGER_URL: store.url, "PTP_HARNESS_STATE_DIR": str(store.folder / "state")}
    environ["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "harness", "serve", "--open", "--listen", "127.0.0.1:0"]
    command.append("--work" if works else "--no-work")
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        match = re.search(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert match is not None
        try:
            yield int(match[1]), process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


async def get(port: int, paths: Sequence[str], times: int) -> list[float]:
    """Get paths in turn, so many in all, on one connection; return how long each answer took, s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() for path in paths]
    seconds: list[float] = []
    for number in range(times):
        begun = time.perf_counter()
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
        seconds.append(time.perf_counter() - begun)
    writer.close()
    return seconds


# -- pages of 10,000 runs


def fill(store: Store) -> None:
    """Put 10,000 ended runs of three hosts into the ledger, with figures, as if they had been led."""
    ledger, drawn = Ledger(store.url), random.Random(1)
    ledger.open_run(bench="hosts", campaign={}, hosts={})  # records the owner
    record = host_adapter().dump_python(sample_record(), mode="json")
    campaign = {"instance_types": ["m7i.large"], "notes": "n" * 2900}  # as long as those of real runs
    names = {outcome: column.name for outcome, column in VERDICTS.items()}
    runs, hosts = [], []
    for number in range(RUNS):
        run = f"b{number}"
        of_run = [_draw_host(drawn, run, position, record) for position in range(3)]
        sums: dict[str, Any] = dict.fromkeys(names.values(), 0)
        for host in of_run:
            sums[names[host["outcome"]]] += 1
        for figure in ("offset_p99_ns", "bound_p99_ns"):
            sums[figure] = max(host[figure] for host in of_run) if number % 5 else None
        started = {"started_ns": START_NS + number * SECOND_NS, "owner": ledger.owner}
        runs.append({"run": run, "bench": "ec2", "campaign": campaign, "record": {"seconds": 1}, **started, **sums})
        hosts += of_run
    insert(ledger, runs, [])
    for first in range(0, len(hosts), 3000):
        insert(ledger, [], hosts[first : first + 3000])
    if ledger.database.kind == "postgresql":
        ledger.close()
        _vacuum(store.url)
    ledger.close()


def _draw_host(drawn: random.Random, run: str, position: int, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": run,
        "host": f"h{position}",
        "position": position,
        "instance_type": f"m{drawn.randrange(40)}.{drawn.choice(SIZES)}",
        "state": "released",
        "record": record,
        "attempt": 1,
        "outcome": drawn.choice(OUTCOMES),
        "offset_p99_ns": drawn.uniform(10, 1e6),
        "bound_p99_ns": drawn.uniform(1e3, 1e8),
    }


def _vacuum(url: str) -> None:
    """Do what autovacuum does within a minute: an index then answers without its table."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


QUERIES = {
    "newest first": "sort=newest",
    "worst offset first": "sort=offset",
    "worst bound first": "sort=bound",
    "with a FAIL": "outcome=FAIL",
    "of one type": "type=m7.large",
    "of many types": "type=m*",
    "of a pattern, failed, by offset": "type=m7.*&outcome=FAIL&sort=offset",
    "under way": "state=under+way",
    "every condition": (
        "bench=ec2&state=ended&outcome=FAIL&type=m1*&min_offset=1us&min_bound=10us&since=2020-01-01&sort=bound"
    ),
}


def read_pages(store: Store) -> None:
    """Every page of the lists of 10,000 runs, from the first to the last."""
    fill(store)
    with serving(store) as (port, _):
        asyncio.run(get(port, ["/v1/runs"], 20))  # the first requests load what the service needs
        for title, query in QUERIES.items():
            seconds = asyncio.run(_walk(port, query))
            store.tell(f"runs {title}, {len(seconds)} pages: median", 1000 * statistics.median(seconds), "ms", PAGE_MS)
            if len(seconds) > 20:
                store.tell(f"runs {title}: p95 of the pages", 1000 * percentile(seconds, 95), "ms", PAGE_MS)
            store.tell(f"runs {title}: the last page", 1000 * seconds[-1], "ms", PAGE_MS)


async def _walk(port: int, query: str) -> list[float]:
    """Get all pages of a list; return the fastest of three tries of each, s."""
    seconds: list[float] = []
    cursor: str | None = ""
    while cursor is not None:
        path = f"/v1/runs?{query}&limit=50" + (f"&cursor={cursor}" if cursor else "")
        seconds.append(min(await get(port, [path], 3)))
        cursor = await _next_cursor(port, path)
    return seconds


async def _next_cursor(port: int, path: str) -> str | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    match = re.search(rb'"next":"([\w-]+)"', answer)
    return match[1].decode() if match else None


# -- requests a second


def read_much(store: Store) -> None:
    """Requests a second of one process, beside a bare route in a process of its own."""
    ledger = Ledger(store.url)
    runs = [ledger.open_run(bench="lab", campaign={}, hosts={"h0": "lab.phc", "h1": "lab.phc"}) for _ in range(60)]
    with serving(store) as (port, _), serving_bare() as bare_port:
        for name, of_port, paths, least in (
            ("a bare route of FastAPI", bare_port, ["/"], 0),
            ("GET /v1/runs/{run}, 60 of them in turn", port, [f"/v1/runs/{run}" for run in runs], READS_PER_S),
            ("GET /v1/runs, 50 of them", port, ["/v1/runs?limit=50"], 0),
        ):
            rate, seconds = asyncio.run(_load(of_port, paths))
            tell_rate(store, name, rate, least)
            store.tell(f"{name}, {CONNECTIONS} connections: p99", 1000 * percentile(seconds, 99), "ms", READ_P99_MS)
    ledger.close()


async def _load(port: int, paths: Sequence[str]) -> tuple[float, list[float]]:
    """Load paths by many connections, each from another one on; return requests a second, and the time of each, s."""
    await get(port, paths, 200)
    orders = [[*paths[first:], *paths[:first]] for first in (number % len(paths) for number in range(CONNECTIONS))]
    begun = time.perf_counter()
    taken = await asyncio.gather(*(get(port, order, REQUESTS // CONNECTIONS) for order in orders))
    seconds = [each for of_connection in taken for each in of_connection]
    return len(seconds) / (time.perf_counter() - begun), seconds


def tell_rate(store: Store, what: str, rate: float, least: float) -> None:
    """Print requests a second, and at least how many there must be."""
    held = rate >= least
    print(f"| {store.name} | {what} | {rate:.0f} /s | >= {least:.0f} /s | {'' if held else 'NOT HELD'} |", flush=True)
    if not held:
        store.failed.append(f"{store.name}: {what}")


@contextmanager
def serving_bare() -> Iterator[int]:
    """Run the bare route by uvicorn as a service does, in a process of its own."""
    with subprocess.Popen([sys.executable, __file__, "--bare"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def serve_bare() -> None:
    """Serve the bare route until a signal comes; print the port first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(bare, log_level="warning", access_log=False)).run(sockets=[listening])


# -- clients that follow events


class Follower(asyncio.Protocol):
    """A client that follows a run, and notes how long each event took from before its commit to here, s."""

    def __init__(self, port: int, run: str, delays_s: list[float]) -> None:
        self._request = f"GET /v1/runs/{run}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._delays_s = delays_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._delays_s += [(now - int(at)) / 1e9 for at in _SAID_AT.findall(data)]


_SAID_AT = re.compile(rb'"text": "said at (\d+)"')


def follow_events(store: Store) -> None:
    """500 clients that follow one run, and 50 others that follow a run each, while all runs say something."""
    ledger = Ledger(store.url)
    runs = [ledger.open_run(bench="lab", campaign={}, hosts={"h0": "lab.phc"}) for _ in range(OTHER_RUNS + 1)]
    with serving(store) as (port, pid):
        asyncio.run(get(port, ["/v1/runs"], 20))
        before = resident_mib(pid)
        delays_s, expected, after = asyncio.run(_follow(ledger, runs, port, pid))
        clients = FOLLOWERS + OTHER_RUNS
        store.tell(f"{clients} clients that follow events: p99", 1000 * percentile(delays_s, 99), "ms", EVENT_P99_MS)
        store.tell("events that they missed", expected - len(delays_s), "", 0)
        store.tell("memory of the service", after, "MiB", EVENTS_MB)
        store.tell("of which they take", after - before, "MiB", EVENTS_MB)
    ledger.close()


async def _follow(ledger: Ledger, runs: Sequence[str], port: int, pid: int) -> tuple[list[float], int, float]:
    loop, delays_s = asyncio.get_running_loop(), list[float]()
    transports = [
        (await loop.create_connection(partial(Follower, port, run, delays_s), "127.0.0.1", port))[0]
        for run in [runs[0]] * FOLLOWERS + list(runs[1:])
    ]
    await asyncio.sleep(3)
    for _ in range(EVENTS_SAID):
        await asyncio.to_thread(_say, ledger, runs)
        await asyncio.sleep(0.2)
    expected, give_up_at = EVENTS_SAID * len(transports), time.monotonic() + 30
    while len(delays_s) < expected and time.monotonic() < give_up_at:
        await asyncio.sleep(0.1)
    resident = resident_mib(pid)
    for transport in transports:
        transport.close()
    return delays_s, expected, resident


def _say(ledger: Ledger, runs: Sequence[str]) -> None:
    at = time.monotonic_ns()
    for run in runs:
        ledger.say(make_event(f"said at {at}", run=run, host="h0", stage=Stage.MEASURE))
    ledger.flush()


def resident_mib(pid: int) -> float:
    """Read how much memory a process has."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


# -- from a submission until the campaign begins


def begin_campaigns(store: Store) -> None:
    """Campaigns submitted one after the other: each a second after the end of the one before, then each at its end."""
    ledger = Ledger(store.url)
    queue = TaskQueue(ledger)
    with serving(store, works=True) as (port, _), Client(f"http://127.0.0.1:{port}") as client:
        for title, pause_s in (("a second after the last ended", 1.0), ("as soon as the last ended", 0.0)):
            seconds = []
            for _ in range(TASKS_BEGUN):
                time.sleep(pause_s)
                task = client.submit(CAMPAIGN).task
                while (line := queue.find(task)).ended_ns is None:
                    time.sleep(0.02)
                assert line.begun_ns is not None, line.problem
                seconds.append((line.begun_ns - line.submitted_ns) / 1e9)
            store.tell(f"submitted {title}: until begun, median", 1000 * statistics.median(seconds), "ms", BEGUN_P99_MS)
            store.tell(f"submitted {title}: until begun, p99", 1000 * percentile(seconds, 99), "ms", BEGUN_P99_MS)
    ledger.close()


PARTS: Mapping[str, Callable[[Store], None]] = {
    "pages": read_pages,
    "reads": read_much,
    "events": follow_events,
    "begun": begin_campaigns,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="these parts alone")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        serve_bare()
        return 0
    print(f"load before: {os.getloadavg()[0]:.2f}\n\n| database | what | measured | at most | |\n|---|---|---|---|---|")
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, databases(0, Path(folder)) as makers:
        for part in options.parts or PARTS:
            for make in makers:
                store = make()
                PARTS[part](store)
                failed += store.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
