"""Measure what a worker costs, and describe it as JSON-ready data."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from harness.watch.held_stream import HeldStream
from harness.watch.ledger_calls import LedgerCalls
from harness.watch.outbox import Outbox
from harness.watch.tick_answers import parse_answer

_SMOOTHED_S = 30
_LAG_EVERY_S = 0.5
_SCORED_S, _TRIES, _TRIED_EVERY_S = 0.02, 5, 60.0
_REFERENCE_US = 70.0
"""The processor time in which a machine of score 1 parses `_ANSWER`."""

_ANSWER = (
    b'{"kind":"sample","tick":1795233824,"mono_ns":1,"raw_ns":1,"boot_ns":1,"utc_ns":2,"end_mono_ns":3,"chronyc":'
    b'{"rc":0,"out":"50484330,PHC0,1,1795233824.1,0.000000020,-0.000000084,0.000000090,0.3,0.0,0.003,0.000010,0.0000013,'
    b'1.0,Normal\\n#,*,PHC0,0,0,377,1,0.000000008,0.000000009,0.000005108\\n"},"phc":{"device":"ptp0","reads":'
    b'[[100,150,200],[300,350,400],[500,550,600],[700,750,800],[900,950,1000]],"errors":{}}}'
)


class WorkerFigures:
    """The processor time, the ticks, the lag and the score of a worker."""

    def __init__(self) -> None:
        self.ticks, self.score = 0, 1.0
        self.load = self.lag_s = self._cost_ns = 0.0
        self._spent = time.process_time(), time.monotonic(), 0

    def measure_load(self) -> float:
        """Measure the part of a core that this process used of late, and the processor time of a tick."""
        spent, at, ticks = self._spent
        now_spent, now = time.process_time(), time.monotonic()
        if now > at:
            blend = 1 - math.exp(-(now - at) / _SMOOTHED_S)
            self.load += blend * ((now_spent - spent) / (now - at) - self.load)
            if self.ticks > ticks:
                cost_ns = (now_spent - spent) * 1e9 / (self.ticks - ticks)
                self._cost_ns += (blend if self._cost_ns else 1.0) * (cost_ns - self._cost_ns)
        self._spent = now_spent, now, self.ticks
        return round(self.load, 3)

    async def measure_lag_on(self) -> None:
        """Measure how late the event loop is: what is asked of it beyond its processor shows here first."""
        while True:
            due_s = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.lag_s = max(time.monotonic() - due_s, 0.9 * self.lag_s)

    def describe(self) -> dict[str, Any]:
        return {
            "load": round(self.load, 3),
            "cpu_us_per_tick": round(self._cost_ns / 1e3, 1),
            "ticks": self.ticks,
            "lag_s": round(self.lag_s, 3),
            "score": self.score,
        }


class MachineScore:
    """The speed of this machine for a worker's work, beside others: 1 or another power of 2.

    The best of all tries, and in steps, so that what else runs here moves no streams. It is tried again while the
    worker works: one that began beside much other work is not slow for ever. `now`: monotonic, s.
    """

    def __init__(
        self, measure_us: Callable[[], float] | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._measure_us, self._now = measure_us or measure_parsing_us, now
        self._best_us = min(self._measure_us() for _ in range(_TRIES))
        self._tried_s = now()

    def read(self) -> float:
        """Return the score, measured once more (20 ms) where the latest try is a minute ago."""
        if self._now() - self._tried_s >= _TRIED_EVERY_S:
            self._tried_s = self._now()
            self._best_us = min(self._best_us, self._measure_us())
        return float(2.0 ** round(math.log2(_REFERENCE_US / self._best_us)))


def measure_parsing_us() -> float:
    """Measure the processor time in which this machine parses an answer now, us."""
    begun, count = time.thread_time(), 0
    while (passed := time.thread_time() - begun) < _SCORED_S:
        parse_answer(_ANSWER, fresh_s=1)
        count += 1
    return passed / count * 1e6


def describe_calls(calls: LedgerCalls) -> dict[str, Any]:
    """Describe the calls of the ledger: whether it is away, and what failed how often."""
    since_s = calls.away_since_s
    return {
        "local_mode": since_s is not None,
        "away_s": None if since_s is None else round(time.monotonic() - since_s, 1),
        "circuit": str(calls.state),
        "failures": dict(calls.failures),
        "slowest_call_s": round(calls.slowest_s, 3),
    }


def describe_outbox(outbox: Outbox) -> dict[str, Any]:
    """Describe what waits to be told, in memory and in the spool."""
    return {
        "waiting": outbox.waiting,
        "spooled_chunks": outbox.spooled,
        "spooled_bytes": outbox.spooled_bytes,
        "spool_thinned": outbox.spool.thinned,
        "spool_dropped": outbox.spool.dropped,
        "spool_fault": outbox.fault,
        "replayed_chunks": outbox.replayed,
        "stored_chunks": outbox.stored,
        "lost_chunks": outbox.lost,
    }


def describe_stream(held: HeldStream) -> dict[str, Any]:
    """Describe a stream of a worker: its state, its figures, and why its host does not answer."""
    judge, trouble = held.judge, held.trouble
    return {
        "epoch": held.epoch,
        "leaving": held.leaving,
        "tick": held.last_tick,
        "state": str(judge.state) if judge else None,
        "reason": str(judge.reason) if judge and judge.reason else None,
        "sentence": judge.sentence if judge else None,
        "figures": judge.figures() if judge else {},
        "sampled": held.sampled,
        "missed": held.missed,
        "trouble": str(trouble.trouble) if trouble else None,
        "trouble_sentence": trouble.message if trouble else None,
        "refused_lines": held.sampler.refused_lines if held.sampler else 0,
    }
