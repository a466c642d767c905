"""Watch streams as a worker: sample and judge in one event loop, tell the ledger, and go on where it is away.

The ledger is asked in a thread (`ledger_calls`), the spool in another one: neither holds up a tick. Where the ledger
does not answer, the streams that this worker had are sampled on, in *local mode*: whoever may have taken them meanwhile
does so in a later epoch, which counts.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from harness.errors import ConflictError, HarnessError
from harness.model.watched import TickReading
from harness.store.watch_findings import WorkerFindings
from harness.store.watch_samples import WatchSamples
from harness.store.watch_sources import StreamSetup, WatchSources
from harness.store.watch_streams import HEARTBEAT_S
from harness.watch.grid import Grid
from harness.watch.held_stream import CHUNK_S, HeldStream
from harness.watch.holdings import TRUSTED_PART, Holdings
from harness.watch.host_route import StreamSourceError, read_route
from harness.watch.judging import MakeJudge, StateStore
from harness.watch.ledger_calls import LedgerCalls, LedgerSilentError, Urgency
from harness.watch.outbox import Outbox
from harness.watch.sampler import SamplerProgram, StreamSampler
from harness.watch.self_check import SelfCheck
from harness.watch.spool import Spool
from harness.watch.ssh_connection import Connector, HostConnectionError, Trouble
from harness.watch.worker_figures import WorkerFigures, describe_calls, describe_outbox, describe_stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTimes:
    """The periods and deadlines of a worker, s.

    `store_s`: between two words about a state; `drain_s`: until others have taken its streams.
    """

    heartbeat_s: float = HEARTBEAT_S
    news_s: float = 0.5  # between two looks, in between, whether there are other streams to have
    answer_s: float = HEARTBEAT_S  # within which the ledger answers a heartbeat, else it is away
    store_s: float = 5.0
    flush_s: float = 1.0
    drain_s: float = 20.0
    chunk_s: float = CHUNK_S  # how long a chunk of readings is made
    name_s: float = 15.0  # as long as another process may have this worker's name: its lease ends meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """The parts that a worker is made of."""

    holdings: Holdings
    sources: WatchSources
    samples: WatchSamples
    states: StateStore
    findings: WorkerFindings
    make_judge: MakeJudge
    program: SamplerProgram
    spool: Spool
    connector: Callable[[], Connector] = Connector
    grid: Grid = field(default_factory=Grid)
    times: WorkerTimes = field(default_factory=WorkerTimes)
    read_score: Callable[[], float] = lambda: 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The result of a heartbeat. `setups`: of streams that were not known; `saved`: of judges of earlier owners."""

    owned: Mapping[str, int]
    coming: frozenset[str]
    setups: Mapping[str, StreamSetup]
    saved: Mapping[str, Mapping[str, Any]]
    ledger_id: str
    database_ns: int
    asked_ns: int
    answered_ns: int


class StreamWorker:
    """A worker, from `run` until it is stopped by `stop`."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts, self._times, self._grid = parts, parts.times, parts.grid
        self._holdings = parts.holdings
        self._streams: dict[str, HeldStream] = {}
        self._traits: dict[str, Mapping[str, str]] = {}
        self._owned: dict[str, int] = {}
        self._coming: frozenset[str] = frozenset()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._connector = parts.connector()
        self._calls = LedgerCalls()
        self.outbox = Outbox(self._holdings.worker, self._calls, parts.samples, parts.states, parts.spool)
        self._ledger_id: str | None = None
        self._refused_since_s: float | None = None
        self._trusted_until_s = 0.0
        self._flushing = asyncio.Lock()
        self._figures = WorkerFigures()
        self._self_check = SelfCheck(self._holdings, self._grid, self.outbox, self._calls, parts.findings)

    # -- life

    async def run(self) -> None:
        """Work until `stop`; then give the streams to others, and leave. Raises ConflictError for a taken name."""
        loops = (self._beat_on(), self._tell_states_on(), self._flush_on(), self._figures.measure_lag_on())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(each) for each in loops]
        stopping: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            failed = [task for task in tasks if task.done()]
            if not failed:
                await self._drain()
            for task in failed:
                task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await self._end()

    def stop(self) -> None:
        """Have the worker give its streams to others, and end. A second call ends it without waiting for them."""
        if self._stopping.is_set():
            self._times = replace(self._times, drain_s=0.0)
        self._stopping.set()

    async def _drain(self) -> None:
        """Get no more streams, and sample those that there are until others have them, or for `drain_s`."""
        try:
            await self._calls.call(self._holdings.drain, urgency=Urgency.HEARTBEAT, within_s=self._times.answer_s)
        except HarnessError:
            return
        begun_s = time.monotonic()
        while self._streams and time.monotonic() < begun_s + self._times.drain_s and self._calls.away_since_s is None:
            await asyncio.sleep(0.1)

    async def _end(self) -> None:
        """Close all chunks, tell or spool them, and leave the ledger."""
        for stream in [*self._streams]:
            self._drop(stream)
        await self._flush()
        try:
            await self._calls.call(self._holdings.leave, urgency=Urgency.STATES, within_s=self._times.answer_s)
        except HarnessError as error:
            _log.warning("the streams are not given back, and go to others when their lease ends: %s", error)
        await self._calls.end(self._times.answer_s)
        self.outbox.close()

    # -- heartbeats

    async def _beat_on(self) -> None:
        while True:
            begun_s = time.monotonic()
            await self._beat()
            pause_s = self._times.heartbeat_s - (time.monotonic() - begun_s)
            if self._calls.away_since_s is not None:
                pause_s *= random.uniform(0.5, 1.0)  # workers do not come back all at one moment
                await asyncio.sleep(max(0.05, pause_s))
            else:
                await self._wait_for_news(pause_s)

    async def _wait_for_news(self, pause_s: float) -> None:
        """Wait for so long, or until this worker is to have other streams, or can take one from its owner."""
        until_s = time.monotonic() + pause_s
        calls, news, answer_s = self._calls, self._holdings.has_news, self._times.answer_s
        while until_s - time.monotonic() > self._times.news_s:
            await asyncio.sleep(self._times.news_s)
            with suppress(HarnessError):  # the heartbeat finds out what it is
                if bool(self._find_ready()) or await calls.call(news, urgency=Urgency.HEARTBEAT, within_s=answer_s):
                    return
        await asyncio.sleep(max(0.05, until_s - time.monotonic()))

    def _find_ready(self) -> set[str]:
        """Find the streams that are to come whose hosts answer this worker."""
        return {stream for stream in self._coming if stream in self._streams and self._streams[stream].is_ready}

    async def _beat(self) -> None:
        step = partial(
            self._step, self._find_ready(), self._figures.measure_load(), {*self._streams}, dict(self._owned)
        )
        begun_s = self._holdings.now()
        try:
            done = await self._calls.call(step, urgency=Urgency.HEARTBEAT, within_s=self._times.answer_s)
        except ConflictError:
            self._refused_since_s = self._refused_since_s or time.monotonic()
            if time.monotonic() - self._refused_since_s > self._times.name_s:
                raise
            return
        except HarnessError as error:
            self._self_check.note_absence(error.message, len(self._owned))
            return
        self._self_check.note_answer(len(self._owned))
        self._refused_since_s = None
        self._trusted_until_s = begun_s + TRUSTED_PART * self._holdings.lease_s
        if self._ledger_id is None:
            await self.outbox.check_ledger(done.ledger_id)
            self._ledger_id = done.ledger_id
        moments = {"asked_ns": done.asked_ns, "answered_ns": done.answered_ns}
        self._self_check.compare_grid(
            done.database_ns, **moments, may_change=not (self._streams or self._figures.ticks)
        )
        self._take_over(done)

    def _step(self, ready: set[str], load: float, known: set[str], before: Mapping[str, int]) -> _Step:
        """Make a heartbeat, in the ledger's thread, and read what it demands to know."""
        holdings, sources = self._holdings, self._parts.sources
        score = self._figures.score = self._parts.read_score()
        holdings.ready = ready
        holdings.step(load=load, score=score)
        if before and not holdings.epochs:  # it may have been told to register anew, which the next step does
            holdings.step(load=load, score=score)
        owned, coming = dict(holdings.epochs), holdings.coming
        unknown = (owned.keys() | coming) - known
        taken = [stream for stream, epoch in owned.items() if before.get(stream) != epoch]
        asked_ns = self._grid.now_ns()
        database_ns = sources.read_time_ns()
        return _Step(
            owned=owned,
            coming=coming,
            setups=sources.read(unknown) if unknown else {},
            saved=self._parts.states.read_saved(taken) if taken else {},
            ledger_id=self._ledger_id or sources.read_ledger_id(),
            database_ns=database_ns,
            asked_ns=asked_ns,
            answered_ns=self._grid.now_ns(),
        )

    def _take_over(self, step: _Step) -> None:
        """Begin with the streams that came, and end with those that went."""
        self._owned, self._coming = dict(step.owned), step.coming
        for stream, setup in step.setups.items():
            if stream not in self._streams:
                self._streams[stream] = self._hold(setup)
        for stream, held in [*self._streams.items()]:
            epoch = self._owned.get(stream)
            if epoch is not None:
                self._begin(held, epoch, step.saved.get(stream))
            elif held.epoch is None and stream not in self._coming:
                self._drop(stream)
            elif held.epoch is not None and not held.leaving:
                self._let_go(held)

    def _hold(self, setup: StreamSetup) -> HeldStream:
        held = HeldStream(setup, self._times.chunk_s)
        try:
            route = read_route(setup.source, stream=setup.stream)
        except StreamSourceError as error:
            held.unusable = HostConnectionError(Trouble.BAD_SOURCE, error.message, next_step=error.next_step)
            return held
        self._traits[setup.stream] = route.traits
        held.sampler = StreamSampler(
            setup.stream,
            route,
            setup.interval_s,
            connector=self._connector,
            program=self._parts.program,
            time_grid=self._grid,
            on_tick=self._take_tick,
            changed=self._hear_change,
            may_ask=self._may_ask,
        )
        held.sampler.connect()
        held.sampler.begin()
        return held

    def _begin(self, held: HeldStream, epoch: int, saved: Mapping[str, Any] | None) -> None:
        """Sample a stream in an epoch from the next tick on."""
        if held.epoch == epoch and not held.leaving:
            return
        self._close_chunk(held)
        setup, early = held.setup, held.begin_epoch(epoch)
        if held.judge is None or saved:
            try:
                held.judge = self._parts.make_judge(setup.limits, setup.interval_s, restored=saved)
            except HarnessError as error:
                held.unusable = HostConnectionError(Trouble.BAD_SOURCE, f"{setup.stream}: {error.message}")
        if held.sampler is not None:
            held.sampler.begin()
        for tick, reading in early:
            self._take_tick(setup.stream, tick, reading)

    def _let_go(self, held: HeldStream) -> None:
        """Sample the next tick of a stream that another worker has from now on, whose grid may be a little behind."""
        held.leaving = True
        if held.sampler is None or not held.sampler.is_sampling:
            self._drop(held.setup.stream)
        else:
            held.sampler.end()

    def _drop(self, stream: str) -> None:
        held = self._streams.pop(stream)
        self._traits.pop(stream, None)
        if held.sampler is not None:
            held.sampler.close()
        self._close_chunk(held)

    def _close_chunk(self, held: HeldStream) -> None:
        chunk = held.close_chunk()
        if chunk is not None:
            self.outbox.add_chunk(chunk)
            self._wake.set()

    # -- ticks

    def _may_ask(self) -> bool:
        """Whether ticks may be asked for: while the lease surely goes on, or in local mode.

        A process that was paused for longer than its lease asks for none before it has heard what is still its own.
        """
        return self._calls.away_since_s is not None or self._holdings.now() < self._trusted_until_s

    def _take_tick(self, stream: str, tick: int, reading: TickReading | None) -> None:
        held = self._streams.get(stream)
        if held is None:
            return
        self._figures.ticks += 1
        chunk, row, change = held.add(tick, reading)
        if row is not None:
            self.outbox.add_row(row)
        if chunk is not None:
            self.outbox.add_chunk(chunk)
        if change is not None and held.epoch is not None:
            self.outbox.add_change((stream, held.epoch, change))
            self._wake.set()

    def _hear_change(self, stream: str) -> None:
        """Drop a stream whose last tick is told."""
        held = self._streams.get(stream)
        if held is not None and held.leaving and held.sampler is not None and not held.sampler.is_sampling:
            self._drop(stream)

    # -- telling

    async def _tell_states_on(self) -> None:
        """Tell the state of each stream every `store_s`: words that grow old are UNKNOWN to who reads them."""
        while True:
            await asyncio.sleep(self._times.store_s * random.uniform(0.9, 1.1))
            await self._tell_states()
            await self._self_check.tell(self._streams, self._holdings.registration, 2 * self._times.store_s)

    async def _tell_states(self) -> None:
        states, worker = self._parts.states, self._holdings.worker
        now_ns = self._grid.now_ns()
        lines = [held.make_line(states, self._traits.get(name, {}), now_ns) for name, held in [*self._streams.items()]]
        told = [line for line in lines if line is not None]
        write = partial(states.write, told, [], worker=worker, replayed=False)
        try:
            if told:
                await self._calls.call(write, urgency=Urgency.STATES, within_s=2 * self._times.store_s)
        except LedgerSilentError:
            return
        except HarnessError as error:
            _log.warning("states are not told: %s", error)

    async def _flush_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._times.flush_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await asyncio.shield(self._flush())  # what is on its way arrives, also where this worker ends meanwhile
            if self.outbox.spooled:
                await self.outbox.replay(self._times.flush_s / 2)

    async def _flush(self) -> None:
        async with self._flushing:
            await self.outbox.flush()

    def snapshot(self) -> dict[str, Any]:
        """Describe this worker now, as JSON-ready data: its streams, its lag, the spool, the circuit to the ledger."""
        return {
            "worker": self._holdings.worker,
            **describe_calls(self._calls),
            **self._figures.describe(),
            "grid_apart_s": self._grid.ledger_apart_s,
            "wall_apart_s": round(self._grid.wall_apart_s(), 3),
            **describe_outbox(self.outbox),
            "coming": sorted(self._coming),
            "streams": {name: describe_stream(held) for name, held in sorted(self._streams.items())},
        }
