"""Measure a worker of a watch: python benchmarks/watch_worker.py [STREAMS] [SECONDS] [INTERVAL].

A real worker, in a process of its own, samples simulated hosts, which are real SSH servers on loopback addresses in
another process, each INTERVAL seconds; the ledger is PostgreSQL where it is installed, else a file. Printed are memory
of its own (what other processes do not share) and processor time, beside their limits; exit code 1: a limit was not
held.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.store.ledger import Ledger  # noqa: E402
from harness.store.watch_samples import WatchSamples  # noqa: E402
from harness.store.watch_streams import NewStream, WatchStreams  # noqa: E402
from harness.watch.grid import to_interval_ns  # noqa: E402
from harness.watch.leader import Leader  # noqa: E402
from tests.servers import postgresql  # noqa: E402

BASE_MB, PER_STREAM_KB, GROWTH_MB_AN_HOUR, CORES = 60.0, 20.0, 10.0, 1.0
_READY_WITHIN_S = 600.0


def main(streams: str = "1000", seconds: str = "120", interval: str = "1") -> int:
    count, measured_s, interval_s = int(streams), float(seconds), float(interval)
    with tempfile.TemporaryDirectory(prefix="ptp-watch-") as name, _ledger_url(Path(name)) as url:
        return _measure(Path(name), url, count, measured_s, interval_s)


def _measure(folder: Path, url: str, count: int, measured_s: float, interval_s: float) -> int:
    ledger = Ledger(url)
    watch, samples = WatchStreams(ledger.database), WatchSamples(ledger.database)
    hosts = [sys.executable, "-m", "tests.servers.clock_hosts", "--folder", str(folder), "--count", str(count)]
    command = [sys.executable, "-m", "harness", "watch", "worker", "--name", "w", "--capacity", "1e6"]
    environ = {**os.environ, "PTP_HARNESS_STATE_DIR": str(folder / "state"), "PTP_HARNESS_LEDGER_URL": url,
               "PYTHONPATH": str(ROOT)}  # fmt: skip
    stop = threading.Event()
    leading = threading.Thread(target=_lead, args=(watch, stop))
    leading.start()
    with (
        subprocess.Popen(hosts, stdout=subprocess.PIPE, cwd=ROOT) as servers,
        subprocess.Popen(command, env=environ, cwd=ROOT) as worker,
    ):
        try:
            assert servers.stdout is not None
            sources = json.loads(servers.stdout.readline())
            time.sleep(10)
            idle_mb = _read_own_mb(worker.pid)
            begun = time.monotonic()
            watch.add(
                [
                    NewStream(stream=name, source=source, limits={}, interval_s=interval_s)
                    for name, source in sources.items()
                ]
            )
            while sum(line.owner is not None for line in watch.list_streams()) < count:
                if time.monotonic() - begun > _READY_WITHIN_S:
                    raise SystemExit("the worker did not take its streams")
                time.sleep(0.5)
            taken_s = time.monotonic() - begun
            time.sleep(60)
            full_mb, cpu_s, at = _read_own_mb(worker.pid), _read_cpu_s(worker.pid), time.monotonic()
            time.sleep(measured_s)
            after_mb, cores = _read_own_mb(worker.pid), (_read_cpu_s(worker.pid) - cpu_s) / (time.monotonic() - at)
            first_tick = round((time.time() - measured_s) / interval_s)
            resident_mb = _read_mb(worker.pid, "Rss:")
        finally:
            worker.terminate()
            worker.wait(120)
            servers.kill()
            stop.set()
            leading.join()
    stored = [
        reading.tick
        for name in sources
        for reading in samples.read(name, first_tick, 2**60, interval_ns=to_interval_ns(interval_s))
    ]
    ended = max(stored, default=first_tick)
    missed = 1 - sum(tick <= ended - 5 for tick in stored) / max(1, count * (ended - 5 - first_tick + 1))
    each_kb = (full_mb - idle_mb) * 1024 / count
    growth_mb = (after_mb - full_mb) * 3600 / measured_s
    ledger.close()
    rows = [
        ("memory without streams, MB", f"{idle_mb:.1f}", f"{BASE_MB:g}", idle_mb <= BASE_MB),
        ("memory of a stream, KB", f"{each_kb:.1f}", f"{PER_STREAM_KB:g}", each_kb <= PER_STREAM_KB),
        (
            f"memory with {count} streams, MB",
            f"{after_mb:.1f} ({resident_mb:.0f} with what is shared)",
            f"{BASE_MB + count * PER_STREAM_KB / 1024:g}",
            after_mb <= BASE_MB + count * PER_STREAM_KB / 1024,
        ),
        ("growth, MB an hour", f"{growth_mb:.1f}", f"{GROWTH_MB_AN_HOUR:g}", growth_mb <= GROWTH_MB_AN_HOUR),
        ("processor, cores", f"{cores:.2f}", f"{CORES:g}", cores <= CORES),
        ("processor time of a stream in a second, us", f"{cores * 1e6 / count:.0f}", "", True),
        ("all streams taken after, s", f"{taken_s:.1f}", "", True),
        ("ticks that are missing, %", f"{100 * missed:.2f}", "", True),
    ]
    print("| figure | measured | limit | |\n|---|---|---|---|")
    for what, figure, limit, holds in rows:
        print(f"| {what} | {figure} | {limit} | {'' if holds else 'NOT HELD'} |", flush=True)
    return 0 if all(holds for *_, holds in rows) else 1


@contextmanager
def _ledger_url(folder: Path) -> Iterator[str]:
    programs = postgresql.find_programs()
    if programs is None:
        yield f"sqlite:///{folder / 'ledger.sqlite'}"
        return
    with postgresql.serve(programs) as server:
        yield server.make_database("watch")


def _lead(watch: WatchStreams, stop: threading.Event) -> None:
    leader = Leader(watch, "benchmark")
    while not stop.wait(1.0):
        leader.step()


def _read_own_mb(pid: int) -> float:
    """Read the memory that a process alone has, MB."""
    return _read_mb(pid, "Private_Dirty:") + _read_mb(pid, "Private_Clean:")


def _read_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def _read_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
