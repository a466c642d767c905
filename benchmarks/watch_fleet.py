"""Measure what leads a watch: python benchmarks/watch.py consistency|leader|heartbeats|scenarios|failover.

consistency: the check of 100,000 streams, where all is well and where much is not, and the reading of what it needs.
leader: a leader's look at a watch in which nothing changed, beside one that lists all streams.
heartbeats: heartbeats and claims of 100 workers with 1,000 streams at their usual rate, from 4 processes.
scenarios: how even the planner leaves the work in the scenarios of the field (watch_scenarios.py).
failover: real processes on real PostgreSQL: a worker dies, a worker joins, the server is away. `--deaths N`.

PostgreSQL syncs each commit to the disk. Other programs on the machine change the figures. Exit code 1: a limit was not
held.
"""

import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import sqlalchemy as sql  # noqa: E402

from benchmarks.watch_scenarios import measure_scenarios  # noqa: E402
from harness.store.database import Database, Timeouts  # noqa: E402
from harness.store.watch_database import open_watch_database  # noqa: E402
from harness.store.watch_streams import HEARTBEAT_S, NewStream, WatchStreams, WorkerLine  # noqa: E402
from harness.store.watch_view import LeaderLine, WatchedStream, WatchView, WatchViews  # noqa: E402
from harness.watch.consistency import find_inconsistencies  # noqa: E402
from harness.watch.holdings import Holdings  # noqa: E402
from harness.watch.leader import Leader  # noqa: E402
from tests.servers import postgresql  # noqa: E402

if TYPE_CHECKING:
    from tests.programs.watch_history import Answer
    from tests.programs.watched_fleet import Fleet

CHECK_LIMIT_S, BEAT_LIMIT_MS = 1.0, 10.0
DEATH_LIMIT_S, JOIN_LIMIT_S = 8.0, 5.0
_PROCESSES = 4

Row = tuple[str, str, str, bool]
"""What was measured, the figure, its limit, and whether that holds."""


def main(part: str, *flags: str) -> int:
    """Measure one part, and print its figures as a table."""
    rows: list[Row] = []
    print("| what | measured | limit | |\n|---|---|---|---|", flush=True)
    for row in PARTS[part](*flags):
        rows.append(row)
        what, measured, limit, holds = row
        print(f"| {what} | {measured} | {limit} | {'' if holds else 'NOT HELD'} |", flush=True)
    return 0 if all(holds for *_, holds in rows) else 1


# -- consistency


def measure_consistency() -> Iterator[Row]:
    at_ns = time.time_ns()
    streams = [_make_line(number, at_ns) for number in range(100_000)]
    workers = [_make_worker(f"w{number}") for number in range(500)]
    leader = LeaderLine(process="hub", epoch=1, until_ns=at_ns + 10**9, leads=True)
    view = WatchView(
        at_ns=at_ns, lease_s=6.0, leader=leader, workers=workers, streams=streams, strange=(), names_taken=()
    )
    broken = [line._replace(owner=None) if line.epoch % 2 else line._replace(sampled_ns=1) for line in streams]
    for what, each in (("all is well", view), ("each is wrong", replace(view, streams=broken))):
        took_s = _median_s(lambda each=each: find_inconsistencies(each, version="1"))  # type: ignore[misc]
        yield f"check of 100,000 streams, {what}", f"{took_s:.2f} s", f"{CHECK_LIMIT_S:g} s", took_s <= CHECK_LIMIT_S
    with _ledger() as opened:
        _fill(opened.streams, opened.database, 100_000, 500)
        views = WatchViews(opened.database)
        took_s = _median_s(views.read, rounds=3)
        yield "reading 100,000 streams from PostgreSQL", f"{took_s:.2f} s", "-", True


def _make_line(number: int, at_ns: int) -> WatchedStream:
    worker = f"w{number % 500}"
    return WatchedStream(
        stream=f"s{number}",
        interval_s=1.0,
        weight=1.0,
        wanted=worker,
        wanted_ns=at_ns - 3600 * 10**9,
        owner=worker,
        epoch=number,
        until_ns=at_ns + 5 * 10**9,
        added_ns=0,
        state="ok",
        reason=None,
        tick=at_ns // 10**9 - 2,
        sampled_ns=at_ns - 10**8,
    )


def _make_worker(name: str) -> WorkerLine:
    return WorkerLine(
        worker=name,
        registration=1,
        process="machine/1",
        version="1",
        capacity=1000.0,
        score=1.0,
        load=0.1,
        draining=False,
        lives=True,
        silent_s=1.0,
    )


# -- the leader's look


def measure_leader() -> Iterator[Row]:
    for streams, workers in ((1_000, 100), (100_000, 500)):
        with _ledger() as opened:
            shared = opened.streams
            _fill(shared, opened.database, streams, workers)
            leader = Leader(shared, "hub")
            while (step := leader.step()) is not None and step.moves:
                pass
            unchanged_s = _median_s(leader.step)
            lists_s = _median_s(lambda shared=shared: Leader(shared, "hub").step(), rounds=3)  # type: ignore[misc]
            what = f"a look at {streams:,} streams of {workers} workers"
            yield f"{what}, nothing changed", f"{1000 * unchanged_s:.1f} ms", "-", True
            yield f"{what}, all are listed", f"{1000 * lists_s:.1f} ms", "-", True


# -- heartbeats and claims


def measure_heartbeats() -> Iterator[Row]:
    with _ledger() as opened:
        _add_streams(opened.streams, 1_000)
        workers = [_make_holdings(opened.streams, f"w{number}") for number in range(100)]
        for worker in workers:
            worker.step()
        assert Leader(opened.streams, "hub").step() is not None
        claims_ms = [_time_step_ms(worker) for worker in workers]  # a heartbeat, and a claim of its ten streams
        assert all(len(worker.epochs) == 10 for worker in workers)
        url = opened.database.url.render_as_string(hide_password=False)
        names = [[f"w{number}" for number in range(first, 100, _PROCESSES)] for first in range(_PROCESSES)]
        with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
            took_ms = [took for part in pool.starmap(_beat_on, [(url, each) for each in names]) for took in part]
        for what, figures in ((f"{len(took_ms)} heartbeats", took_ms), ("100 heartbeats with claims", claims_ms)):
            p99 = _percentile(figures, 99)
            measured = f"p50 {statistics.median(figures):.1f}, p99 {p99:.1f} ms"
            yield f"{what} of 100 workers with 1,000 streams", measured, f"{BEAT_LIMIT_MS:g} ms", p99 <= BEAT_LIMIT_MS


def _beat_on(url: str, names: Sequence[str]) -> list[float]:
    """Send the heartbeats of some workers for half a minute, in a process of its own, at their usual rate."""
    database = open_watch_database(url, timeouts=Timeouts())
    workers = [_make_holdings(WatchStreams(database), name) for name in names]
    for worker in workers:
        worker.step()
    begun_s, took_ms = time.monotonic(), list[float]()
    for number in range(round(30.0 / HEARTBEAT_S) * len(workers)):
        time.sleep(max(0.0, begun_s + number * HEARTBEAT_S / len(workers) - time.monotonic()))
        took_ms.append(_time_step_ms(workers[number % len(workers)]))
    database.close()
    return took_ms


def _time_step_ms(worker: Holdings) -> float:
    begun = time.perf_counter()
    worker.step()
    return 1000 * (time.perf_counter() - begun)


# -- failover, with real processes


def measure_failover(*flags: str) -> Iterator[Row]:
    from tests.programs.watched_fleet import make_fleet

    deaths = int(flags[1]) if flags[:1] == ("--deaths",) else 20
    with (
        tempfile.TemporaryDirectory(prefix="ptp-watch-") as name,
        make_fleet(Path(name), workers=5, streams=40) as fleet,
    ):
        time.sleep(10.0)
        took_s, joins_s = [], []
        database = open_watch_database(fleet.local_url)
        for number in range(deaths):
            worker = fleet.workers[number % len(fleet.workers)]
            took_s.append(_kill(fleet, worker, WatchStreams(database)))
            joins_s.append(_join(fleet, worker, WatchStreams(database)))
            time.sleep(3.0)
        database.close()
        for what, figures, limit in (
            (f"{deaths} silent deaths: until all are sampled again", took_s, DEATH_LIMIT_S),
            (f"{deaths} joins: from the registration until balanced", joins_s, JOIN_LIMIT_S),
        ):
            p99 = _percentile(figures, 99)
            yield what, f"p50 {statistics.median(figures):.1f}, p99 {p99:.1f} s", f"{limit:g} s", p99 <= limit
        yield from _take_the_ledger_away(fleet)


def _read_answers(fleet: "Fleet") -> "list[Answer]":
    """Read what hosts have answered, and to whom."""
    from tests.programs.watch_history import read_answers
    from tests.programs.watched_fleet import HOSTS

    return read_answers(fleet.journal, {fleet.network.address_of(name, HOSTS): name for name in fleet.workers})


def _kill(fleet: "Fleet", worker: str, lines: WatchStreams) -> float:
    """Kill a worker; return how long the last of its streams was not sampled, s."""
    from tests.programs.watched_fleet import now_s, wait_until

    had = {line.stream for line in lines.list_streams() if line.owner == worker}
    time.sleep(random.uniform(0.0, HEARTBEAT_S))
    begun_s = now_s()
    fleet.kill(worker)
    first: dict[str, float] = {}

    def is_served() -> bool:
        for answer in _read_answers(fleet):
            if answer.at_s > begun_s and answer.worker != worker:
                first.setdefault(answer.stream, answer.at_s)
        return had <= first.keys()

    wait_until(is_served, 60.0, "that all streams are sampled again")
    return max(first[stream] for stream in had) - begun_s


def _join(fleet: "Fleet", worker: str, lines: WatchStreams) -> float:
    """Start a worker; return how long it takes from its registration until all have what they are to have, s."""
    from tests.programs.watched_fleet import STABLE_S, now_s, wait_until, wait_until_served

    before = {each.worker: each.registration for each in lines.list_workers()}
    fleet.start(worker)
    wait_until(
        lambda: any(
            each.registration > before.get(worker, 0) for each in lines.list_workers() if each.worker == worker
        ),
        60.0,
        "that the worker joins",
    )
    registered_s = now_s()
    wait_until_served(fleet, 60.0)
    return now_s() - registered_s - STABLE_S


def _take_the_ledger_away(fleet: "Fleet") -> Iterator[Row]:
    """Stop PostgreSQL for 30 s; look at what moved, and at what nobody sampled in 50 s."""
    from tests.programs.watched_fleet import now_s

    before, begun_s = _list_owners(fleet), now_s()
    fleet.servers[fleet.primary].stop()
    time.sleep(30.0)
    fleet.start_server(fleet.primary)
    time.sleep(25.0)
    moved = len(before - _list_owners(fleet))
    yield "PostgreSQL away for 30 s: streams that moved", f"{moved}", "0", moved == 0
    ticks = {answer[3:5] for answer in _read_answers(fleet) if begun_s <= answer.at_s < begun_s + 50.0}
    missed = max(0, 50 * len(fleet.streams) - len(ticks))
    yield f"the same: ticks that nobody sampled, of {50 * len(fleet.streams):,}", f"{missed}", "0", missed == 0


def _list_owners(fleet: "Fleet") -> set[tuple[str, str | None, int]]:
    database = open_watch_database(fleet.local_url)
    owners = {(line.stream, line.owner, line.epoch) for line in WatchStreams(database).list_streams()}
    database.close()
    return owners


# -- parts of these


class _Opened:
    """A ledger, and its streams."""

    def __init__(self, url: str) -> None:
        self.database = open_watch_database(url, timeouts=Timeouts())
        self.streams = WatchStreams(self.database)


@contextmanager
def _ledger() -> Iterator[_Opened]:
    """A ledger on a PostgreSQL server of its own, which syncs each commit."""
    programs = postgresql.find_programs()
    if programs is None:
        sys.exit("PostgreSQL's server is not installed on this machine")
    with postgresql.serve(programs, durable=True) as server:
        opened = _Opened(server.make_database("watch"))
        yield opened
        opened.database.close()


def _add_streams(streams: WatchStreams, count: int) -> None:
    for first in range(0, count, 5_000):
        names = [f"s{number}" for number in range(first, min(count, first + 5_000))]
        streams.add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada")


def _fill(streams: WatchStreams, database: Database, count: int, workers: int) -> None:
    """Add streams and workers, and let each have its part, whose leases go on for the measurement."""
    _add_streams(streams, count)
    holdings = [_make_holdings(streams, f"w{number}") for number in range(workers)]
    for worker in holdings:
        worker.step()
    assert Leader(streams, "hub").step() is not None
    change = sql.text("UPDATE watch_streams SET owner = wanted, epoch = 1")
    database.write(lambda db: db.execute(change) and None)
    for worker in holdings:
        worker.step()


def _make_holdings(streams: WatchStreams, name: str) -> Holdings:
    return Holdings(streams=streams, worker=name, process=f"{name}/1", version="1", capacity=1000.0)


def _median_s(call: Callable[[], object], *, rounds: int = 5) -> float:
    taken_s = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        taken_s.append(time.perf_counter() - begun)
    return statistics.median(taken_s)


def _percentile(figures: Sequence[float], percent: float) -> float:
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


PARTS: Mapping[str, Callable[..., Iterator[Row]]] = {
    "consistency": measure_consistency,
    "leader": measure_leader,
    "heartbeats": measure_heartbeats,
    "scenarios": measure_scenarios,
    "failover": measure_failover,
}
