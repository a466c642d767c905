"""Hold what a worker has of one stream: its sampler, the chunk that is being made, and its judge."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.model.watched import StateChange, StreamState, TickReading
from harness.store.reading_columns import MOST_READINGS, ReadingRows, pack
from harness.store.watch_samples import PackedChunk
from harness.store.watch_sources import StreamSetup
from harness.watch import grid
from harness.watch.judging import StateStore, TickJudge
from harness.watch.sampler import StreamSampler
from harness.watch.spool import OpenRow
from harness.watch.ssh_connection import HostConnectionError

CHUNK_S = 60.0
EARLY_S = 10.0
"""How long what a worker sampled of a stream is kept before it has it."""

_MOST_IN_CHUNK = min(600, MOST_READINGS)


class HeldStream:
    """A stream that a worker samples in an epoch, or is to sample: then `epoch` is None.

    Ticks that it samples before it has the stream are kept for a moment. `sampler`: None where the stream's source
    cannot be used; `unusable` then says why.
    """

    __slots__ = (
        "_chunk",
        "_chunk_s",
        "_early",
        "_interval_ns",
        "_most_early",
        "_rows",
        "cost_ns",
        "epoch",
        "judge",
        "last_tick",
        "leaving",
        "missed",
        "sampled",
        "sampler",
        "setup",
        "unusable",
    )

    def __init__(self, setup: StreamSetup, chunk_s: float = CHUNK_S) -> None:
        self.setup, self._chunk_s = setup, chunk_s
        self._interval_ns = grid.to_interval_ns(setup.interval_s)
        self.epoch: int | None = None
        self.sampler: StreamSampler | None = None
        self.unusable: HostConnectionError | None = None
        self.judge: TickJudge | None = None
        self.leaving = False
        self.last_tick: int | None = None
        self.sampled = self.missed = 0
        self.cost_ns = 0.0
        self._rows = ReadingRows()
        self._chunk = 0
        self._early: list[tuple[int, TickReading | None]] = []
        self._most_early = max(2, min(50, math.ceil(EARLY_S / setup.interval_s)))

    @property
    def trouble(self) -> HostConnectionError | None:
        """Why its host does not answer; None while it does."""
        return self.unusable or (self.sampler.trouble if self.sampler else None)

    @property
    def is_ready(self) -> bool:
        """Whether its host answers this worker, so that it may be taken from an owner that lives."""
        answered = any(reading is not None for _, reading in self._early)
        return self.sampler is not None and self.sampler.answers and (answered or self.setup.interval_s > EARLY_S)

    def begin_epoch(self, epoch: int) -> list[tuple[int, TickReading | None]]:
        """Begin to own the stream; return the ticks that were sampled before, to be added now.

        Their earlier owner may have ended before this worker learned that it is the next one.
        """
        early, self._early, self.epoch, self.leaving = self._early, [], epoch, False
        return early

    def add(
        self, tick: int, reading: TickReading | None
    ) -> tuple[PackedChunk | None, OpenRow | None, StateChange | None]:
        """Take a tick; return the chunk that it closes, the reading to be kept, and the change of state, if any."""
        if self.epoch is None:
            self._early = [*self._early, (tick, reading)][-self._most_early :]
            return None, None, None
        self.last_tick = tick
        chunk = grid.chunk_of(tick, self.setup.interval_s, self._chunk_s)
        closed = self.close_chunk() if chunk != self._chunk or len(self._rows) >= _MOST_IN_CHUNK else None
        self._chunk = chunk
        row = None
        if reading is None:
            self.missed += 1
        else:
            self.sampled += 1
            self._rows.append(reading)
            first = self._rows.first_tick
            begin = tick if first is None else first
            row = OpenRow(self.setup.stream, self.epoch, tick, begin, self._interval_ns, pack(reading))
        change = self.judge.add(reading, tick) if self.judge else None
        return closed, row, None if change is None else self._explain(change)

    def close_chunk(self) -> PackedChunk | None:
        """Close the chunk that is being made; None where it holds nothing."""
        rows, self._rows = self._rows, ReadingRows()
        if self.epoch is None or rows.first_tick is None or rows.last_tick is None:
            return None
        return PackedChunk(
            stream=self.setup.stream,
            epoch=self.epoch,
            interval_ns=self._interval_ns,
            first_tick=rows.first_tick,
            last_tick=rows.last_tick,
            columns=rows.encode(),
        )

    def _explain(self, change: StateChange) -> StateChange:
        """Add to a word that nobody could look why the host does not answer."""
        return replace(change, sentence=self._describe(change.state, change.sentence))

    def _describe(self, state: StreamState, sentence: str) -> str:
        trouble = self.trouble
        return f"{sentence}: {trouble.message}" if trouble and state is StreamState.UNKNOWN else sentence

    def make_line(self, states: StateStore, traits: Mapping[str, str], now_ns: int) -> Any:
        """Make the line of its state; None where there is nothing to say of it yet."""
        judge, tick, host = self.judge, self.last_tick, {**traits, **(self.sampler.facts if self.sampler else {})}
        if self.epoch is None:
            return None
        if judge is None or tick is None:
            if self.trouble is None:
                return None
            tick = grid.tick_at(now_ns, self.setup.interval_s)
            word = {"state": StreamState.UNKNOWN, "reason": None, "sentence": self.trouble.message, "since_tick": tick}
            judged: dict[str, Any] = {"latest": {}, "judging": {}}
        else:
            sentence = self._describe(judge.state, judge.sentence)
            word = {"state": judge.state, "reason": judge.reason, "sentence": sentence, "since_tick": judge.since_tick}
            judged = {"latest": judge.figures(), "judging": judge.save()}
        return states.make_line(stream=self.setup.stream, epoch=self.epoch, tick=tick, host=host, **word, **judged)
