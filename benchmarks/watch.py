"""Measure the watch: python benchmarks/watch.py [PART ...].

Parts: planner (a plan for N workers and M streams, of the same weight and of weights from 0.5 to 2: nothing changed,
one worker is gone, one joins), judge (watch_judge.py), worker (watch_worker.py), and those of watch_fleet.py:
consistency, leader, heartbeats, scenarios, failover. The limit of each figure is printed beside it; exit code 1: a
limit was not held. Other programs on the machine change the figures.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.watch.planner import Plan, Worker, plan_streams  # noqa: E402

SIZES_AND_LIMITS_MS = ((100, 1_000, 1.0), (2_000, 100_000, 50.0), (2_000, 1_000_000, 1_000.0))
WEIGHTED_FACTOR = 3.0
ROUNDS = 5


def measure_planner() -> int:
    """Measure the planner."""
    print(
        "| workers | streams | weights | what | median, ms | limit, ms | moves | |\n|---|---|---|---|---|---|---|---|"
    )
    held_all = True
    for workers, streams, limit_ms in SIZES_AND_LIMITS_MS:
        for weighted in (False, True):
            limit = limit_ms * (WEIGHTED_FACTOR if weighted else 1.0)
            weights = _draw_weights(streams) if weighted else None
            names = [f"w{number}" for number in range(workers)]
            held = _settle(names, streams, weights)
            for what, present in _changes(names).items():
                took_ms, plan = _time(present, held, weights)
                holds = took_ms <= limit
                held_all &= holds
                kind = "drawn" if weighted else "alike"
                row = (workers, streams, kind, what, f"{took_ms:.2f}", f"{limit:g}", len(plan.moves))
                print(f"| {' | '.join(map(str, row))} | {'' if holds else 'NOT HELD'} |", flush=True)
    return 0 if held_all else 1


def _changes(names: Sequence[str]) -> dict[str, list[Worker]]:
    workers = [Worker(name) for name in names]
    return {"nothing": workers, "one is gone": workers[1:], "one joins": [*workers, Worker("joined")]}


def _draw_weights(streams: int) -> dict[str, float]:
    drawn = random.Random(1)
    return {f"s{number}": drawn.uniform(0.5, 2.0) for number in range(streams)}


def _settle(names: Sequence[str], streams: int, weights: Mapping[str, float] | None) -> dict[str, list[str]]:
    """Have all streams planned from nothing, as a first leader does."""
    plan = plan_streams([Worker(name) for name in names], {}, [f"s{number}" for number in range(streams)], weights)
    held: dict[str, list[str]] = {name: [] for name in names}
    for stream, name in plan.moves.items():
        held[name].append(stream)
    return held


def _time(
    workers: Sequence[Worker], held: Mapping[str, Sequence[str]], weights: Mapping[str, float] | None
) -> tuple[float, Plan]:
    taken_ms = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        plan = plan_streams(workers, held, (), weights)
        taken_ms.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken_ms), plan


def measure_judge() -> int:
    """Measure the judge of a stream."""
    from benchmarks import watch_judge

    return watch_judge.main()


def measure_worker() -> int:
    """Measure a worker with many hosts."""
    from benchmarks import watch_worker

    return watch_worker.main()


def measure_fleet(part: str) -> int:
    """Measure a part of what leads, with many workers."""
    from benchmarks import watch_fleet

    return watch_fleet.main(part)


PARTS: Mapping[str, Callable[[], int]] = {
    "planner": measure_planner,
    "judge": measure_judge,
    "worker": measure_worker,
    **{part: partial(measure_fleet, part) for part in ("consistency", "leader", "heartbeats", "scenarios", "failover")},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="these parts alone")
    options = parser.parse_args()
    return max(PARTS[part]() for part in options.parts or PARTS)


if __name__ == "__main__":
    sys.exit(main())
