"""Measure how even the planner leaves the work in the scenarios of the field: python benchmarks/watch.py scenarios."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.watch.planner import Worker, divide, plan_streams  # noqa: E402

BALANCE_LIMIT = 0.98


def measure_scenarios() -> Iterator[tuple[str, str, str, bool]]:
    """Balance score: the part of all weight that is where an exact division by shares and limits would have it."""
    for weighted in (False, True):
        for name, scenario in SCENARIOS.items():
            field = _Field(weighted)
            scenario(field)
            kind = "drawn weights" if weighted else "alike"
            measured = f"{min(field.scores):.4f} at worst, {field.moves} moves in {len(field.scores)} plans"
            yield f"{name}, {kind}", measured, f"> {BALANCE_LIMIT:g}", min(field.scores) > BALANCE_LIMIT


class _Field:
    """100 workers with 10,000 streams, whose plan is made and carried out after each change."""

    def __init__(self, weighted: bool) -> None:
        self.drawn = random.Random(1)
        self.weights = {f"s{number}": self.drawn.uniform(0.5, 2.0) if weighted else 1.0 for number in range(10_000)}
        self.weighted = weighted
        self.workers = {f"w{number}": Worker(f"w{number}") for number in range(100)}
        self.held: dict[str, list[str]] = {}
        self.scores: list[float] = []
        self.moves = 0

    def plan(self) -> None:
        """Plan, carry it out, and note how even the work is then."""
        held = {name: streams for name, streams in self.held.items() if name in self.workers}
        there = {stream for streams in held.values() for stream in streams}
        orphans = [stream for stream in self.weights if stream not in there]
        plan = plan_streams([*self.workers.values()], held, orphans, self.weights if self.weighted else None)
        owners = {stream: name for name, streams in held.items() for stream in streams} | plan.moves
        self.held = {name: [] for name in self.workers}
        for stream, name in owners.items():
            if stream in self.weights:
                self.held[name].append(stream)
        self.moves += len(plan.moves)
        self.scores.append(self.score())

    def score(self) -> float:
        workers = [*self.workers.values()]
        parts = divide(sum(self.weights.values()), workers)
        loads = [sum(self.weights[stream] for stream in self.held[worker.name]) for worker in workers]
        off = sum(abs(load - part) for load, part in zip(loads, parts, strict=True))
        return 1.0 - off / (2 * sum(parts))

    def lose(self, count: int) -> None:
        for name in self.drawn.sample(sorted(self.workers), count):
            del self.workers[name]

    def join(self, count: int, *, share: float = 1.0) -> None:
        for _ in range(count):
            name = f"j{self.drawn.getrandbits(64):x}"
            self.workers[name] = Worker(name, share)

    def change_shares(self, lowest: float, highest: float) -> None:
        self.workers = {
            name: Worker(name, self.drawn.uniform(lowest, highest), worker.limit)
            for name, worker in self.workers.items()
        }


def _keep_balanced(field: _Field) -> None:
    for _ in range(5):
        field.plan()


def _load_high(field: _Field) -> None:
    """Each worker is at 95 % of its limit."""
    limit = sum(field.weights.values()) / 100 / 0.95
    field.workers = {name: Worker(name, 1.0, limit) for name in field.workers}
    _keep_balanced(field)


def _fail(field: _Field) -> None:
    field.plan()
    for count in (1, 5, 10, 25):
        field.lose(count)
        field.plan()


def _vary(field: _Field) -> None:
    field.plan()
    for _ in range(5):
        field.change_shares(0.5, 2.0)
        field.plan()


def _tilt(field: _Field) -> None:
    """All streams are at one worker at first."""
    field.held = {"w0": [*field.weights]}
    field.plan()
    field.plan()


def _scale(field: _Field) -> None:
    field.plan()
    for count in (50, 100, 200):
        field.join(count)
        field.plan()
    for count in (200, 100, 100):
        field.lose(count)
        field.plan()


SCENARIOS: Mapping[str, Callable[[_Field], None]] = {
    "balanced": _keep_balanced,
    "high load": _load_high,
    "instance failures": _fail,
    "capacity variation": _vary,
    "extreme imbalance": _tilt,
    "rapid scaling": _scale,
}
