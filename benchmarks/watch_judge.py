"""Measure the judge of watched clocks: python benchmarks/watch.py judge.

Processor time of this process for a tick of a good clock, of a broken one and of a missed tick, for what is saved and
shown of a stream, and the memory of a judge. From these: the share of a core that 1,000 streams need at 1 Hz when each
is stored every 5 s. Exit code 1: a limit was not held.
"""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.model.watched import TickReading  # noqa: E402
from harness.store.word_age import STORE_S  # noqa: E402
from harness.watch.judge import StreamJudge  # noqa: E402
from tests.doubles.watched_clock import EC2_NOISE, lose_phc, step_of, watch_clock  # noqa: E402

STREAMS, TICKS, JUDGES = 1000, 3600, 50
MOST_US, MOST_BYTES, MOST_SHARE = 50.0, 20_480, 0.2


def main() -> int:
    good = [*watch_clock(EC2_NOISE, TICKS)]
    step = step_of(1_000_000)
    broken = [lose_phc(each) if each.tick % 2 else step(each) for each in good]
    ticks_us = {
        "a tick of a good clock": _time_ticks(good),
        "a tick of a broken clock": _time_ticks(broken),
        "a missed tick": _time_ticks([None] * TICKS),
    }
    judge = StreamJudge({}, 1.0)
    for each in good:
        judge.add(each, each.tick)
    stored_us = {"what is saved": _time(judge.save), "figures": _time(judge.figures)}
    size = _measure_bytes(good)
    share = STREAMS * (ticks_us["a tick of a good clock"] + sum(stored_us.values()) / STORE_S) / 1e6
    print("| what | measured | limit | |\n|---|---|---|---|")
    rows: list[tuple[str, float, float, str]] = [(name, took, MOST_US, "us") for name, took in ticks_us.items()]
    rows += [(name, took, 4 * MOST_US, "us") for name, took in stored_us.items()]
    rows += [
        ("a judge in memory", size, MOST_BYTES, "bytes"),
        ("1,000 streams", 100 * share, 100 * MOST_SHARE, "% of a core"),
    ]
    for name, measured, limit, unit in rows:
        print(f"| {name} | {measured:.1f} {unit} | {limit:g} | {'' if measured <= limit else 'NOT HELD'} |")
    print(f"\nsaved: {len(json.dumps(judge.save()))} bytes of JSON; figures: {len(json.dumps(judge.figures()))}")
    return 0 if all(measured <= limit for _, measured, limit, _ in rows) else 1


def _time_ticks(readings: Iterable[TickReading | None]) -> float:
    judge, first = StreamJudge({}, 1.0), 1_795_233_600
    begun = time.process_time()
    for place, reading in enumerate(readings):
        judge.add(reading, first + place)
    return (time.process_time() - begun) / TICKS * 1e6


def _time(work: Callable[[], object], rounds: int = 500) -> float:
    begun = time.process_time()
    for _ in range(rounds):
        work()
    return (time.process_time() - begun) / rounds * 1e6


def _measure_bytes(readings: list[TickReading]) -> float:
    tracemalloc.start()
    judges = [StreamJudge({}, 1.0) for _ in range(JUDGES)]
    for judge in judges:
        for each in readings[:700]:
            judge.add(each, each.tick)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] / JUDGES
    tracemalloc.stop()
    return size


if __name__ == "__main__":
    sys.exit(main())
