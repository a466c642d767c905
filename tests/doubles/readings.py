"""Readings and chunks of watched clocks for tests."""

from collections.abc import Iterable
from typing import Any

from harness.model.watched import TickReading
from harness.store.watch_samples import Chunk


def make_reading(tick: int, **values: Any) -> TickReading:
    """Make a reading of a good clock, with other values where they are given."""
    usual: dict[str, Any] = {
        "offset_ns": 120 + tick % 7,
        "window_ns": 800,
        "reads": 5,
        "read_errors": 0,
        "device_bound_ns": None,
        "chrony_offset_ns": -15,
        "chrony_bound_ns": 1500,
        "follows_phc": True,
        "opinion_ns": None,
    }
    return TickReading(**{**usual, **values, "tick": tick})


def make_chunk(stream: str, ticks: Iterable[int], *, epoch: int = 1, interval_ns: int = 10**9, **values: Any) -> Chunk:
    """Make the chunk of those ticks."""
    readings = [make_reading(tick, **values) for tick in ticks]
    return Chunk(
        stream=stream,
        epoch=epoch,
        interval_ns=interval_ns,
        first_tick=readings[0].tick,
        last_tick=readings[-1].tick,
        readings=readings,
    )
