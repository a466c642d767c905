"""Do workers sample every tick of their streams through moves, a ledger that is away, and their own end?

The hosts are real SSH servers on loopback addresses, the ledger is a real one; ticks are 0.2 s apart to be quick.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from harness.errors import ConflictError, HarnessError
from harness.model.enums import Reason
from harness.model.watched import StateChange, StreamState, TickReading
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CHUNKS
from harness.store.watch_findings import FindingKind, WorkerFindings
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_samples import WatchSamples
from harness.store.watch_sources import WatchSources
from harness.store.watch_streams import NewStream, WatchStreams
from harness.system.settings import assets_dir
from harness.watch.grid import to_interval_ns
from harness.watch.holdings import Holdings
from harness.watch.leader import Leader
from harness.watch.sampler import SamplerProgram
from harness.watch.spool import Spool
from harness.watch.ssh_connection import ConnectionTimes, Connector
from harness.watch.worker import StreamWorker, WorkerParts, WorkerTimes
from tests.doubles.unjudged_ticks import NoStates, UnjudgedTicks
from tests.servers import postgresql
from tests.servers.clock_hosts import ClockHosts

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

INTERVAL_S, LEASE_S = 0.2, 4.0
TIMES = WorkerTimes(heartbeat_s=0.4, answer_s=1.5, store_s=0.5, flush_s=0.1, drain_s=30.0, chunk_s=2.0, name_s=2.0)
CONNECTION = ConnectionTimes(connect_s=10, login_s=30, start_s=30, first_pause_s=0.1, longest_pause_s=0.5)
PROGRAM = SamplerProgram.load(assets_dir() / "roles")


class Watch:
    """A ledger with streams of simulated hosts, a leader, and workers."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.ledger = Ledger(url)
        self.samples = WatchSamples(self.ledger.database)
        self.streams = WatchStreams(self.ledger.database, lease_s=LEASE_S)
        self.hosts = ClockHosts(folder)
        self.workers: dict[str, StreamWorker] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ledgers: list[Ledger] = []
        self._processes = itertools.count()
        self._leads = True

    async def add(self, count: int, **settings: Any) -> list[str]:
        hosts = await self.hosts.add(count, **settings)
        lines = [
            NewStream(stream=host.name, source=self.hosts.source(host), limits={}, interval_s=INTERVAL_S)
            for host in hosts
        ]
        self.streams.add(lines, by="ada")
        return [host.name for host in hosts]

    def start(
        self,
        name: str,
        *,
        make_judge: Any = UnjudgedTicks,
        states: Any = None,
        spool: str = "",
        sources: WatchSources | None = None,
    ) -> StreamWorker:
        ledger = Ledger(self.url)
        self._ledgers.append(ledger)
        holdings = Holdings(
            streams=WatchStreams(ledger.database, lease_s=LEASE_S),
            worker=name,
            process=f"here/{next(self._processes)}",
            version="1",
            capacity=1000.0,
            lease_s=LEASE_S,
        )
        worker = self.workers[name] = StreamWorker(
            WorkerParts(
                holdings=holdings,
                sources=sources or WatchSources(ledger.database),
                samples=WatchSamples(ledger.database),
                states=states or NoStates(),
                findings=WorkerFindings(ledger.database),
                make_judge=make_judge,
                program=PROGRAM,
                spool=Spool(self.folder / f"{spool or name}.spool", name),
                connector=lambda: Connector(CONNECTION),
                times=TIMES,
            )
        )
        self.tasks[name] = asyncio.create_task(worker.run())
        return worker

    async def stop(self, name: str) -> None:
        self.workers.pop(name).stop()
        await self.tasks.pop(name)

    async def lead(self) -> None:
        leader = Leader(self.streams, "hub", lease_s=LEASE_S)
        loop = asyncio.get_running_loop()
        while self._leads:
            with suppress(HarnessError):
                await loop.run_in_executor(None, leader.step)
            await asyncio.sleep(0.3)

    async def end(self) -> None:
        self._leads = False
        for worker in self.workers.values():
            worker.stop()
            worker.stop()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self.hosts.close()
        for ledger in (self.ledger, *self._ledgers):
            ledger.close()

    def sampled(self, worker: str) -> dict[str, int]:
        """How many ticks a worker has sampled of each stream."""
        return {name: each["sampled"] for name, each in self.workers[worker].snapshot()["streams"].items()}

    def read(self, stream: str) -> list[TickReading]:
        """Read all that is stored of a stream."""
        return self.samples.read(stream, 0, 2**60, interval_ns=to_interval_ns(INTERVAL_S))

    def gaps(self, streams: list[str]) -> dict[str, list[int]]:
        """The ticks that are missing between the first and the last reading of each stream."""
        found = {}
        for stream in streams:
            ticks = [reading.tick for reading in self.read(stream)]
            found[stream] = sorted({*range(ticks[0], ticks[-1] + 1)} - {*ticks})
        return {stream: gaps for stream, gaps in found.items() if gaps}

    def doubled(self) -> list[tuple[str, int, int]]:
        """Ticks that are stored twice in one epoch."""
        keys = self.samples.list_finished(2**60)
        counts = Counter(
            (chunk.stream, chunk.epoch, reading.tick)
            for chunk in self.samples.read_chunks(keys)
            for reading in chunk.readings
        )
        return [key for key, count in counts.items() if count > 1]


async def until(
    condition: Callable[[], object], within_s: float = 90, tell: Callable[[], object] = lambda: None
) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, tell()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def watching(url: str, folder: Path) -> AsyncIterator[Watch]:
    watch = Watch(url, folder)
    leading = asyncio.create_task(watch.lead())
    try:
        yield watch
    finally:
        await watch.end()
        await leading


def run(url: str, folder: Path, act: Callable[[Watch], Awaitable[None]]) -> None:
    async def main() -> None:
        async with watching(url, folder) as watch:
            await act(watch)

    asyncio.run(main())


@pytest.fixture
def slow_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks that a busy machine keeps up with, where each of them counts."""
    monkeypatch.setitem(globals(), "INTERVAL_S", 1.0)


def test_fifty_hosts_are_sampled_each_tick_and_stored_once(ledger_url: str, tmp_path: Path) -> None:
    async def act(watch: Watch) -> None:
        streams = await watch.add(50)
        watch.start("w1")
        await until(lambda: len(watch.sampled("w1")) == 50 and min(watch.sampled("w1").values()) >= 20)
        told = watch.workers["w1"].snapshot()
        assert (told["local_mode"], told["circuit"], told["lost_chunks"]) == (False, "closed", 0)
        await watch.stop("w1")
        stored = {stream: watch.read(stream) for stream in streams}
        assert min(len(readings) for readings in stored.values()) >= 20
        assert {reading.offset_ns for readings in stored.values() for reading in readings} == {40}
        assert watch.doubled() == []
        assert watch.streams.list_workers() == []
        assert {line.owner for line in watch.streams.list_streams()} == {None}

    run(ledger_url, tmp_path, act)


def test_a_stream_that_moves_to_another_worker_loses_no_tick(ledger_url: str, tmp_path: Path, slow_ticks: None) -> None:
    async def act(watch: Watch) -> None:
        streams = await watch.add(20)
        watch.start("w1")
        await until(lambda: len(watch.sampled("w1")) == 20 and min(watch.sampled("w1").values()) >= 3)
        watch.start("w2")
        await until(lambda: len(watch.sampled("w2")) == 10 and min(watch.sampled("w2").values()) >= 3)
        await until(lambda: len(watch.sampled("w1")) == 10)
        await watch.stop("w2")  # and back, since it is told to end
        await until(lambda: len(watch.sampled("w1")) == 20 and min(watch.sampled("w1").values()) >= 3)
        await watch.stop("w1")
        assert watch.gaps(streams) == {}
        assert watch.doubled() == []
        epochs = Counter(line.epoch for line in watch.streams.list_streams())
        assert epochs == {1: 10, 3: 10}

    run(ledger_url, tmp_path, act)


def test_a_ledger_that_is_away_costs_no_sample_and_moves_nothing(
    own_server: postgresql.Server, tmp_path: Path, slow_ticks: None
) -> None:
    async def act(watch: Watch) -> None:
        streams = await watch.add(10)
        worker = watch.start("w1")
        await until(lambda: len(watch.sampled("w1")) == 10 and min(watch.sampled("w1").values()) >= 3)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, own_server.stop)
        await until(lambda: worker.snapshot()["local_mode"])
        await until(lambda: worker.snapshot()["spooled_chunks"] >= 30)
        await loop.run_in_executor(None, own_server.start)
        await until(lambda: not worker.snapshot()["local_mode"])
        await until(lambda: worker.snapshot()["spooled_chunks"] == 0)
        assert worker.snapshot()["replayed_chunks"] >= 30
        log = WatchLog(watch.ledger.database)
        await until(lambda: log.list_lines(kinds=[LogKind.FINDING]))
        assert "cut off: the worker w1 did not reach the ledger for" in log.list_lines()[0].entry.sentence
        await watch.stop("w1")
        assert watch.gaps(streams) == {}
        assert watch.doubled() == []
        assert {line.epoch for line in watch.streams.list_streams()} == {1}
        rows = watch.ledger.database.read(
            lambda db: db.execute(sql.select(WATCH_CHUNKS.c.replayed, sql.func.count()).group_by("replayed")).all()
        )
        assert {replayed for replayed, _ in rows} == {True, False}

    run(own_server.make_database("watch"), tmp_path, act)


def test_a_worker_that_ends_while_the_ledger_is_away_leaves_its_samples_for_the_next_one_of_its_name(
    own_server: postgresql.Server, tmp_path: Path
) -> None:
    async def act(watch: Watch) -> None:
        streams = await watch.add(5)
        worker = watch.start("w1")
        await until(lambda: len(watch.sampled("w1")) == 5 and min(watch.sampled("w1").values()) >= 10)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, own_server.stop)
        await until(lambda: worker.snapshot()["local_mode"])
        before = {name: each["sampled"] for name, each in worker.snapshot()["streams"].items()}
        await until(lambda: all(count >= before[name] + 10 for name, count in watch.sampled("w1").items()))
        await watch.stop("w1")
        await loop.run_in_executor(None, own_server.start)
        again = watch.start("w1")
        await until(
            lambda: again.snapshot()["replayed_chunks"] >= 5 and again.snapshot()["spooled_chunks"] == 0,
            tell=lambda: (watch.tasks["w1"], again.snapshot()),
        )
        for stream in streams:
            assert len(watch.read(stream)) >= before[stream] + 10
        assert watch.doubled() == []

    run(own_server.make_database("watch"), tmp_path, act)


def test_a_stream_that_cannot_be_sampled_says_why(ledger_url: str, tmp_path: Path) -> None:
    async def act(watch: Watch) -> None:
        await watch.add(2)
        host = watch.hosts.hosts["host-1"]
        source = watch.hosts.source(host)
        watch.streams.add(
            [
                NewStream(stream="no-key", source=source | {"key": "/nowhere"}, limits={}, interval_s=INTERVAL_S),
                NewStream(stream="no-source", source={"kind": "inventory"}, limits={}, interval_s=INTERVAL_S),
            ]
        )
        await watch.hosts.unlisten(host)
        await watch.hosts.listen(host, watch.hosts.other_key)
        worker = watch.start("w1")

        def troubles() -> dict[str, str | None]:
            return {name: each["trouble"] for name, each in worker.snapshot()["streams"].items()}

        await until(
            lambda: (
                troubles()
                == {
                    "host-0": None,
                    "host-1": "wrong host key",
                    "no-key": "a source that cannot be used",
                    "no-source": "a source that cannot be used",
                }
            )
        )
        await until(lambda: watch.sampled("w1")["host-0"] > 2)
        await until(lambda: watch.streams.list_workers()[0].findings)
        (finding,) = watch.streams.list_workers()[0].findings
        assert (finding.kind, [*finding.streams]) == (FindingKind.HOST_KEY, ["host-1"])
        (entry,) = WatchLog(watch.ledger.database).list_lines(kinds=[LogKind.FINDING])
        assert (entry.entry.worker, entry.entry.stream) == ("w1", "host-1")

    run(ledger_url, tmp_path, act)


class OffsetJudge(UnjudgedTicks):
    """Calls a clock broken while its latest reading is off by 1 us."""

    def add(self, reading: TickReading | None, tick: int) -> StateChange | None:
        super().add(reading, tick)
        broken = reading is not None and abs(reading.offset_ns or 0) > 1000
        state = StreamState.BROKEN if broken else StreamState.OK
        if reading is None or state is self.state:
            return None
        self.state = state
        return StateChange(
            tick=tick,
            interval_ns=to_interval_ns(INTERVAL_S),
            state=state,
            reason=Reason.OUT_OF_LIMITS if broken else None,
            sentence="offset",
        )


def test_each_tick_is_judged_and_a_change_is_told_at_once(ledger_url: str, tmp_path: Path) -> None:
    told: list[tuple[str, int, StateChange]] = []

    class Noted(NoStates):
        def write(self, lines: Any, changes: Any, *, worker: str, replayed: bool) -> set[str]:
            told.extend(changes)
            return set()

    async def act(watch: Watch) -> None:
        await watch.add(3)
        worker = watch.start("w1", make_judge=OffsetJudge, states=Noted())
        await until(lambda: len(told) == 3)
        watch.hosts.hosts["host-1"].clock.offset_ns = 5000
        begun = time.monotonic()
        await until(lambda: len(told) == 4)
        assert time.monotonic() - begun < 5
        stream, epoch, change = told[-1]
        assert (stream, epoch, change.state, change.reason) == ("host-1", 1, StreamState.BROKEN, Reason.OUT_OF_LIMITS)
        assert worker.snapshot()["streams"]["host-1"]["state"] == "broken"

    run(ledger_url, tmp_path, act)


def test_what_a_worker_has_sampled_is_stored_when_it_ends(ledger_url: str, tmp_path: Path) -> None:
    async def act(watch: Watch) -> None:
        streams = await watch.add(30)
        worker = watch.start("w1")
        await until(lambda: len(watch.sampled("w1")) == 30 and min(watch.sampled("w1").values()) >= 12)
        before = watch.sampled("w1")
        worker.stop()
        await watch.stop("w1")
        assert {stream: len(watch.read(stream)) >= before[stream] for stream in streams} == (
            dict.fromkeys(streams, True)
        )
        assert worker.snapshot()["waiting"] == 0

    run(ledger_url, tmp_path, act)


def test_a_name_that_another_worker_has_is_refused(ledger_url: str, tmp_path: Path) -> None:
    async def act(watch: Watch) -> None:
        await watch.add(1)
        first = watch.start("w1")
        await until(lambda: watch.streams.list_workers())
        running = watch.tasks.pop("w1")
        watch.start("w1", spool="other")
        with pytest.raises(ConflictError, match="there is a worker w1 already"):
            await watch.tasks.pop("w1")
        first.stop()
        await running

    run(ledger_url, tmp_path, act)


def test_a_stream_that_is_removed_is_no_longer_asked(ledger_url: str, tmp_path: Path) -> None:
    async def act(watch: Watch) -> None:
        await watch.add(2)
        watch.start("w1")
        await until(lambda: len(watch.sampled("w1")) == 2 and min(watch.sampled("w1").values()) >= 3)
        watch.streams.remove(["host-0"])
        await until(lambda: {*watch.sampled("w1")} == {"host-1"})
        await until(lambda: not watch.hosts.hosts["host-0"].sessions)
        asked = len(watch.hosts.hosts["host-0"].asked)
        await asyncio.sleep(1)
        assert len(watch.hosts.hosts["host-0"].asked) == asked

    run(ledger_url, tmp_path, act)


class SetClock(WatchSources):
    """Reads the database's time as it would be with its clock set."""

    ahead_s = 0.0

    def read_time_ns(self) -> int:
        return super().read_time_ns() + round(self.ahead_s * 1e9)


def test_only_a_worker_that_has_had_no_stream_yet_takes_another_time_of_the_ledger(
    ledger_url: str, tmp_path: Path, slow_ticks: None
) -> None:
    async def act(watch: Watch) -> None:
        sources = SetClock(watch.ledger.database)
        (first,) = await watch.add(1)
        worker = watch.start("w1", sources=sources)
        await until(lambda: watch.sampled("w1").get(first, 0) >= 2)
        watch.streams.remove([first])
        await until(lambda: not watch.sampled("w1"))
        sources.ahead_s = 3600.0
        await until(lambda: worker.snapshot()["grid_apart_s"] < -3500)
        (second,) = await watch.add(1, prefix="other", network=20)
        await until(lambda: watch.sampled("w1").get(second, 0) >= 3)
        sources.ahead_s = -3600.0
        watch.start("w2", sources=sources)
        other = watch.workers["w2"]
        await until(lambda: other.snapshot()["grid_apart_s"] is not None and abs(other.snapshot()["grid_apart_s"]) < 60)
        assert other.snapshot()["wall_apart_s"] == pytest.approx(0.0, abs=1.0), "nobody set its clock"
        await watch.stop("w2")
        await watch.stop("w1")
        now_s = time.time()
        for stream in (first, second):
            ticks = [reading.tick for reading in watch.read(stream)]
            assert all(now_s - 100 < tick <= now_s + 1 for tick in ticks), "it numbers ticks as before"
            assert ticks

    run(ledger_url, tmp_path, act)
