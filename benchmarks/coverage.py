"""Measure how often the estimated error bound covers the true error, in a table by condition.

    PYTHONPATH=lab .venv/bin/python benchmarks/coverage.py [--seconds S] [--settle S] [--only WORD]

One lab.phc host follows its emulated clock. For each condition the card is bent and chrony settles. Then, each second,
the guest's true error against UTC (from the truth page, plus the offset of the bend) is compared with the bound that
the harness would report: chrony's |offset| + root dispersion + root delay / 2, plus the bound of the card. The true
error is known as an interval. A second counts as covered only when the whole interval is within the bound, so a wide
interval counts against the bound, never for it.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ena_device.control import ask

from harness import wiring
from harness.analysis import sample_values
from harness.errors import HarnessError
from harness.host import ssh
from harness.probes import chronyc
from harness.system import settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.emulated_clock import PAGE, TYPE, Guest, configure, provision

STRAIGHT: Mapping[str, int] = {"offset_ns": 0, "jitter_ns": 0, "error_bound_ns": 20_000, "spread_us": 100}
APART_NS = 1_500_000_000
_NO_ANSWER = "506 "  # chronyc's message where chronyd does not run


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The bends of the card, the number of busy programs on this machine, and whether the clock is away for a time."""

    name: str
    bends: Mapping[str, int]
    busy: int = 0
    away: bool = False


CONDITIONS = (
    Condition(name="a good clock", bends={}),
    Condition(name="15 us off, and says 20 us", bends={"offset_ns": 15_000}),
    Condition(name="-15 us off, and says 20 us", bends={"offset_ns": -15_000}),
    Condition(name="readings scatter over 10 us", bends={"jitter_ns": 5_000}),
    Condition(name="readings scatter over 100 us", bends={"jitter_ns": 50_000}),
    Condition(name="answers that take up to 1 ms", bends={"spread_us": 1_000}),
    Condition(name="one busy program beside it", bends={}, busy=1),
    Condition(name="two busy programs beside it", bends={}, busy=2),
)
AWAY = Condition(name="the clock away for two minutes", bends={}, away=True)
AWAY_FROM_S, AWAY_S, BACK_S = 10, 120, 60
MAX_CLOCK_ERRORS_PPM = (1, 50)


@dataclass(frozen=True, kw_only=True)
class Second:
    """The true error in one second, as an interval, and the bound that would have been reported."""

    low_ns: float
    high_ns: float
    bound_ns: float

    @property
    def covered(self) -> bool:
        return max(abs(self.low_ns), abs(self.high_ns)) <= self.bound_ns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, metavar="S", help="of each condition (120)")
    parser.add_argument("--settle", type=int, default=60, metavar="S", help="for chrony, before each (60)")
    parser.add_argument("--only", default="", metavar="WORD", help="only conditions with this word in their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ptp-coverage-") as folder, ExitStack() as cleanup:
        bench = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": folder}))
        bench.prepare([TYPE], print)
        print(f"load before: {os.getloadavg()[0]:.2f}", file=sys.stderr)
        guest = provision(bench, Path(folder), 0, cleanup)
        configure(guest)
        print("| condition | seconds | covered | true error, largest | bound, median | bound, least |")
        print("|---|---|---|---|---|---|")
        row_counts = [
            measure_condition(condition, guest, options.settle, options.seconds)
            for condition in CONDITIONS
            if options.only in condition.name
        ]
        for ppm in MAX_CLOCK_ERRORS_PPM if options.only in AWAY.name else ():
            configure(guest, chrony_phc_max_clock_error_ppm=ppm)
            condition = replace(AWAY, name=f"{AWAY.name}, maxclockerror {ppm}")
            row_counts.append(measure_condition(condition, guest, options.settle, AWAY_FROM_S + AWAY_S + BACK_S))
    covered, seconds = (sum(counts) for counts in zip(*row_counts, strict=True))
    print(f"| all | {seconds} | {covered / seconds:.2%} | | | |")
    return 0 if covered / seconds >= 0.99 else 1


def measure_condition(condition: Condition, guest: Guest, settle_s: int, seconds: int) -> tuple[int, int]:
    """Measure one condition and print its row. Return the number of covered seconds and of all seconds."""
    bends = {**STRAIGHT, **condition.bends}
    ask(str(guest.sockets / "control"), **bends)
    with busy(condition.busy), withdrawn(guest, settle_s + AWAY_FROM_S) if condition.away else nullcontext():
        time.sleep(settle_s)
        results = list(compare_seconds(guest, bends, seconds))
    if not results:
        raise SystemExit(f"{condition.name}: no second of which both the truth and the bound are known")
    largest = max(max(abs(result.low_ns), abs(result.high_ns)) for result in results)
    covered, bounds = (
        sum(result.covered for result in results),
        [result.bound_ns for result in results],
    )
    print(
        f"| {condition.name} | {len(results)} | {covered / len(results):.1%} | {largest / 1e3:.1f} us "
        f"| {statistics.median(bounds) / 1e3:.1f} us | {min(bounds) / 1e3:.1f} us |",
        flush=True,
    )
    return covered, len(results)


def compare_seconds(guest: Guest, bends: Mapping[str, int], seconds: int) -> Iterator[Second]:
    """Compare truth and bound for some seconds. A line of the guest belongs to the second in which it arrives here."""
    argv = [sys.executable, "-m", "ena_device.truth", "--page", str(guest.sockets / "truth")]
    argv += ["--control", str(guest.sockets / "control"), "--seconds", str(seconds)]
    script = f"truth {PAGE} {seconds + 2} & for i in $(seq {seconds}); do chronyc -c tracking; sleep 1; done"
    shell = ssh.build_command(guest.machine, guest.known_hosts, script)
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as observer,
        subprocess.Popen(shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as reports,
    ):
        assert reports.stdout is not None
        arrived = [(time.time_ns(), line) for line in reports.stdout]
        out, _ = observer.communicate(timeout=seconds + 60)
    truths = [json.loads(line) for line in out.splitlines()]
    for at, line in arrived:
        tracked = None if line.startswith(_NO_ANSWER) else chronyc.parse(line, "tracking").tracking
        nearest = min(truths, key=lambda truth: abs(truth["at"] - at))
        if tracked is None or None in (nearest["low_ns"], nearest["high_ns"]) or abs(nearest["at"] - at) > APART_NS:
            continue
        yield Second(
            low_ns=nearest["low_ns"] + bends["offset_ns"],
            high_ns=nearest["high_ns"] + bends["offset_ns"],
            bound_ns=sample_values.root_distance_bound(tracked) + bends["error_bound_ns"],
        )


@contextmanager
def withdrawn(guest: Guest, after_s: float) -> Iterator[None]:
    """Let the card answer no request for two minutes, which begin so many seconds from now."""
    control = str(guest.sockets / "control")
    timers = [
        threading.Timer(after_s, ask, (control,), {"mode": "silent"}),
        threading.Timer(after_s + AWAY_S, ask, (control,), {"mode": "ok"}),
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        ask(control, mode="ok")


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """Run this many computing programs until the block ends."""
    running = [multiprocessing.Process(target=compute, daemon=True) for _ in range(programs)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.join()


def compute() -> None:
    while True:
        sum(range(100_000))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        sys.exit(str(error))
