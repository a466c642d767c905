"""Measure what the ledger costs a run, on SQLite and on PostgreSQL: python benchmarks/store.py [PART ...] [--hosts N].

Parts: run (a bench that answers at once: time and memory for each host), claims (50 threads claim hosts), list (pages
of 10,000 runs), resume (until the hosts of a dead run can be claimed), verdicts (100,000 of them, as `types` reads
them). PostgreSQL is the system's, started here with its durable settings, on a unix socket. The limit of each figure is
printed beside it; exit code 1: a limit was not held. Other programs on the machine change the figures.
"""

import argparse
import json
import os
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign import campaign, run_plan  # noqa: E402
from harness.model import HostRecord, HostState  # noqa: E402
from harness.runs import campaign_run  # noqa: E402
from harness.runs.context import RunControls  # noqa: E402
from harness.runs.prepare import Prepared  # noqa: E402
from harness.store import run_overview  # noqa: E402
from harness.store.ledger import Ledger  # noqa: E402
from harness.store.ledger_lines import host_adapter  # noqa: E402
from harness.store.run_query import RunOrder, RunQuery  # noqa: E402
from harness.store.tables import HOSTS, OWNERS, RUNS  # noqa: E402
from harness.system.settings import Settings, assets_dir  # noqa: E402
from tests.doubles.campaign_of_six import leave_out_ssh  # noqa: E402
from tests.doubles.scripted_bench import ScriptedBench  # noqa: E402
from tests.servers import postgresql  # noqa: E402

AT_ONCE = 50
RUNS_LISTED = 10_000
VERDICTS = 100_000
BYTES = 1024


@dataclass(kw_only=True)
class Store:
    """One database to be measured: its name, URL and a folder; and the figures so far."""

    name: str
    url: str
    folder: Path
    hosts: int
    failed: list[str] = field(default_factory=list)

    def tell(self, what: str, value: float, unit: str, most: float) -> None:
        held = value <= most
        print(
            f"| {self.name} | {what} | {value:.3g} {unit} | {most:g} {unit} | {'' if held else 'NOT HELD'} |",
            flush=True,
        )
        if not held:
            self.failed.append(f"{self.name}: {what}")


def lead_run(store: Store) -> None:
    """A run of many hosts on a bench that answers at once."""
    bench = ScriptedBench(store.folder / "bench", seed=1, refuses=0)
    asked = campaign.from_mapping({"instance_types": ("good",) * store.hosts, "parallel": AT_ONCE})
    plan = run_plan.make_plan(asked, bench.types(), now=datetime.now(UTC))
    settings = Settings(state_dir=store.folder, cache_dir=store.folder, assets_dir=assets_dir())
    ledger = Ledger(store.url)
    before_kib = resident_kib()
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as patched:
        leave_out_ssh(patched)
        record = campaign_run.start(
            Prepared(bench=bench, plan=plan), ledger, settings, RunControls(listener=lambda _event: None)
        )
    seconds = time.monotonic() - begun
    assert {host.state for host in record.hosts} == {HostState.RELEASED}
    ledger.close()
    most_ms = 15 if store.name == "SQLite" else 20
    store.tell(f"run of {store.hosts} hosts, {AT_ONCE} at once: each", 1000 * seconds / store.hosts, "ms", most_ms)
    store.tell("memory that it added", (resident_kib() - before_kib) / BYTES, "MiB", 100)


def claims(store: Store) -> None:
    """Many threads that claim all hosts of one run."""
    ledger = Ledger(store.url)
    run = ledger.open_run(bench="lab", campaign={}, hosts={f"h{number}": "lab.phc" for number in range(store.hosts)})
    times: list[float] = []
    lock = threading.Lock()

    def claim() -> None:
        time.sleep(random.uniform(0, 0.25))
        while True:
            begun = time.monotonic()
            line = ledger.claim(run)
            seconds = time.monotonic() - begun
            if line is None:
                return
            with lock:
                times.append(seconds)
            time.sleep(random.uniform(0.1, 0.4))  # far shorter than any host takes

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(claim) for _ in range(AT_ONCE)]:
            future.result()
    assert len(times) == store.hosts
    store.tell(f"claim, {AT_ONCE} claimers: p99", 1000 * percentile(times, 99), "ms", 10)
    ledger.close()


def list_runs(store: Store) -> None:
    """The first page of many runs, and the last."""
    ledger = Ledger(store.url)
    owner = ledger.owner
    ledger.open_run(bench="hosts", campaign={}, hosts={})  # records the owner
    record = host_adapter().dump_python(sample_record(), mode="json")
    run_rows = {"bench": "lab", "campaign": {}, "record": {"seconds": 1}, "owner": owner}
    host_rows = {"instance_type": "lab.phc", "state": "released", "record": record, "attempt": 1}
    runs = [{**run_rows, "run": f"b{number}", "started_ns": number} for number in range(RUNS_LISTED)]
    figures = random.Random(1)
    hosts = [
        {
            **host_rows,
            "run": f"b{number}",
            "host": f"h{host}",
            "position": host,
            "offset_p99_ns": figures.uniform(10, 1e6) if number % 5 else None,
            "bound_p99_ns": figures.uniform(1e3, 1e8) if number % 5 else None,
        }
        for number in range(RUNS_LISTED)
        for host in range(3)
    ]
    insert(ledger, runs, hosts)
    first = statistics.median(timed(lambda: run_overview.list_overviews(ledger, most=50)) for _ in range(9))
    oldest = [timed(lambda: run_overview.list_overviews(ledger, most=50, before="b50")) for _ in range(9)]
    last = statistics.median(oldest)
    store.tell(f"list of {RUNS_LISTED} runs, first page of 50", 1000 * first, "ms", 50)
    store.tell("the last page, over the first", last / first, "x", 1.5)
    worst = RunQuery(order=RunOrder.OFFSET)
    by_offset = [timed(lambda: run_overview.list_overviews(ledger, query=worst, most=50)) for _ in range(9)]
    store.tell("a page by the worst offset", 1000 * statistics.median(by_offset), "ms", 50)
    middle = run_overview.list_overviews(ledger, query=worst, most=RUNS_LISTED // 2)[-1].line.run
    later = [timed(lambda: run_overview.list_overviews(ledger, query=worst, after=middle, most=50)) for _ in range(9)]
    store.tell("such a page in the middle", 1000 * statistics.median(later), "ms", 50)
    large = RunQuery(min_offset_ns=999_900)
    chosen = [timed(lambda: run_overview.list_overviews(ledger, query=large, most=50)) for _ in range(9)]
    store.tell("the runs with a rare offset", 1000 * statistics.median(chosen), "ms", 50)
    ledger.close()


def resume(store: Store) -> None:
    """Until a dead run of many hosts is ours and its first host claimed."""
    dead = Ledger(store.url)
    run = dead.open_run(bench="lab", campaign={}, hosts={f"h{number}": "lab.phc" for number in range(store.hosts)})
    for _ in range(store.hosts // 2):
        dead.claim(run)
    dead.close()
    gone = OWNERS.update().where(OWNERS.c.owner == dead.owner).values(pid_start_ticks=1)
    ledger = Ledger(store.url)
    ledger.database.write(lambda db: db.execute(gone))

    def take() -> None:
        ledger.take_over(run)
        assert len(ledger.hosts(run)) == store.hosts
        assert ledger.claim(run) is not None

    store.tell(f"resume of {store.hosts} hosts: ready", timed(take), "s", 1)
    ledger.close()


def verdicts(store: Store) -> None:
    """All verdicts of many runs, as the comparison of types reads them."""
    ledger = Ledger(store.url)
    owner = ledger.owner
    ledger.open_run(bench="hosts", campaign={}, hosts={})
    record = host_adapter().dump_python(sample_record(), mode="json")
    described = {"region": "eu-north-1", "image": "al2023"}
    run_rows = {"bench": "ec2", "campaign": described, "record": {"seconds": 1}, "owner": owner}
    host_rows = {"state": "released", "record": record, "attempt": 1}
    of_run = 100
    runs = [{**run_rows, "run": f"v{number}", "started_ns": number} for number in range(VERDICTS // of_run)]
    hosts = [
        {**host_rows, "run": run["run"], "host": f"h{host}", "position": host, "instance_type": f"m{host}.large"}
        for run in runs
        for host in range(of_run)
    ]
    insert(ledger, runs, hosts)
    store.tell(f"{VERDICTS} verdicts with their claims", timed(lambda: ledger.latest_verdicts("ec2")), "s", 1)
    ledger.close()


def insert(ledger: Ledger, runs: list[dict[str, Any]], hosts: list[dict[str, Any]]) -> None:
    """Insert rows of runs and of their hosts."""

    def work(db: sql.Connection) -> None:
        db.execute(RUNS.insert(), runs)
        db.execute(HOSTS.insert(), hosts)

    ledger.database.write(work)


PARTS: dict[str, Callable[[Store], None]] = {
    "run": lead_run, "claims": claims, "list": list_runs, "resume": resume, "verdicts": verdicts,
}  # fmt: skip


def sample_record() -> HostRecord:
    """A record as a real run leaves it, of a host that was measured: from the data of the tests."""
    with sqlite3.connect(":memory:") as database:
        database.executescript((ROOT / "tests/data/earlier-run/ledger.sql").read_text())
        (document,) = database.execute("SELECT record FROM hosts WHERE host = 'lab.phc'").fetchone()
    return host_adapter().validate_python(json.loads(document))


def timed(action: Callable[[], object]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def resident_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def databases(hosts: int, folder: Path) -> Iterator[list[Callable[[], Store]]]:
    """Makers of empty databases of each kind."""
    programs = postgresql.find_programs()
    counted = iter(range(1000))

    def sqlite() -> Store:
        here = folder / f"sqlite-{next(counted)}"
        here.mkdir()
        return Store(name="SQLite", url=f"sqlite:///{here}/ledger.sqlite", folder=here, hosts=hosts)

    if programs is None:
        print("PostgreSQL is not installed here: SQLite alone")
        yield [sqlite]
        return
    with postgresql.serve(programs, durable=True) as server:

        def on_server() -> Store:
            number = next(counted)
            here = folder / f"postgresql-{number}"
            here.mkdir()
            return Store(name="PostgreSQL", url=server.make_database(f"b{number}"), folder=here, hosts=hosts)

        yield [sqlite, on_server]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="these parts alone")
    parser.add_argument("--hosts", type=int, default=1000, metavar="N", help="hosts of a run (1000)")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}\n\n| database | what | measured | at most | |\n|---|---|---|---|---|")
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, databases(options.hosts, Path(folder)) as makers:
        for part in options.parts or PARTS:
            for make in makers:
                store = make()
                PARTS[part](store)
                failed += store.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
