"""Watched clocks of known truth: readings of each tick, by the noise of a clock, and faults that begin at a tick."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis import sample_values
from harness.model import Sample
from harness.model.watched import StateChange, TickReading
from harness.watch.judge import StreamJudge

FIRST_TICK = 1_795_233_600
_SPREAD = Path(__file__).parents[1] / "data" / "spread" / "lab.json"

Fault = Callable[[TickReading], TickReading | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of a good clock, ns. `offset_ns`: RMS of its true offset; `window_ns`: the median time of a reading."""

    offset_ns: float
    window_ns: float
    bound_ns: float
    device_ns: int | None
    opinion_ns: float


EC2_NOISE = Noise(offset_ns=80, window_ns=4_000, bound_ns=6_000, device_ns=18_000, opinion_ns=60_000)


def lab_noises() -> list[Noise]:
    """Return the noise of ten real runs of lab.phc."""
    runs = json.loads(_SPREAD.read_text())["lab.phc"]
    columns = (runs["offset RMS"], runs["read delay median"], runs["chrony bound p99"])
    return [
        Noise(offset_ns=offset, window_ns=window, bound_ns=bound, device_ns=None, opinion_ns=300_000)
        for offset, window, bound in zip(*columns, strict=True)
    ]


def watch_clock(noise: Noise, ticks: int, *, seed: int = 0, first: int = FIRST_TICK) -> Iterator[TickReading]:
    """Yield the readings of a good clock: its true offset wanders, and each reading has it within its time."""
    drawn, true_ns = random.Random(seed), 0.0
    for tick in range(first, first + ticks):
        true_ns = 0.9 * true_ns + drawn.gauss(0, noise.offset_ns) * 0.43
        window_ns = noise.window_ns * drawn.lognormvariate(0, 0.35) * (8 if drawn.random() < 0.002 else 1)
        bound_ns = max(noise.bound_ns * drawn.uniform(0.5, 1.0), abs(true_ns) * 1.2)
        yield TickReading(
            tick=tick,
            offset_ns=round(true_ns + drawn.uniform(-0.4, 0.4) * window_ns),
            window_ns=round(window_ns),
            reads=5,
            read_errors=0,
            device_bound_ns=noise.device_ns,
            chrony_offset_ns=round(true_ns + drawn.gauss(0, noise.offset_ns / 4)),
            chrony_bound_ns=round(bound_ns),
            follows_phc=True,
            opinion_ns=round(true_ns + drawn.gauss(0, noise.opinion_ns)) if tick % 16 == 0 else None,
        )


def bring_fault(readings: Sequence[TickReading], fault: Fault, at: int) -> list[tuple[int, TickReading | None]]:
    """Bring a fault from a place in the readings on."""
    return [(each.tick, fault(each) if place >= at else each) for place, each in enumerate(readings)]


def judge_ticks(judge: StreamJudge, ticks: Sequence[tuple[int, TickReading | None]]) -> list[StateChange]:
    """Judge ticks one after another; return the changes."""
    changes = (judge.add(reading, tick) for tick, reading in ticks)
    return [change for change in changes if change is not None]


def step_of(size_ns: int) -> Fault:
    """Return a fault: the system clock is ahead by so much more, and nobody corrects it."""

    def step(reading: TickReading) -> TickReading:
        return replace(reading, offset_ns=(reading.offset_ns or 0) + size_ns)

    return step


def lose_phc(reading: TickReading) -> TickReading:
    """Take the PHC away: its device does not open, which is one refusal a tick."""
    return replace(reading, offset_ns=None, window_ns=None, reads=0, read_errors=1, device_bound_ns=None)


def to_reading(sample: Sample, tick: int) -> TickReading:
    """Return what a watch keeps of a sample."""
    phc = next((source for source in sample.sources or () if source.mode == "#"), None)
    server = next((source for source in sample.sources or () if source.mode == "^"), None)
    fresh = server is not None and server.last_rx_s is not None and server.last_rx_s <= 1 and server.reach
    return TickReading(
        tick=tick,
        offset_ns=sample_values.phc_offset(sample),
        window_ns=sample_values.fastest(sample.reads).window_ns if sample.reads else None,
        reads=None if sample.reads is None else len(sample.reads),
        read_errors=sample.read_errors,
        device_bound_ns=sample.error_bound_ns,
        chrony_offset_ns=sample.tracking.last_offset_ns if sample.tracking else None,
        chrony_bound_ns=sample_values.chrony_bound(sample),
        follows_phc=None if sample.sources is None else phc is not None and phc.state == "*",
        opinion_ns=server.offset_ns if server is not None and fresh else None,
    )
