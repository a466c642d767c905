"""A worker of the watch whose sampler only counts ticks: the protocol, local mode and the spool are real.

    python -m tests.programs.watch_worker NAME URL FOLDER [--capacity N] [--lease S] [--interval S]

Each tick that it samples is first written to FOLDER/NAME.journal, one line a tick: what the watch then knows of it is
held against that. What was sampled is in FOLDER/NAME.spool until the ledger has it, also beyond the end of this
process.
"""

import argparse
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from harness.errors import ConflictError, HarnessError
from harness.model.watched import TickReading
from harness.store.database import Timeouts
from harness.store.watch_database import open_watch_database
from harness.store.watch_samples import Chunk, WatchSamples
from harness.store.watch_streams import WatchStreams
from harness.store.watch_view import WatchViews
from harness.watch.grid import to_interval_ns
from harness.watch.holdings import Holdings, boot_time_s

Sampled = dict[tuple[str, int], list[int]]
"""Ticks by stream and epoch."""

_NOT_OBSERVED = dict.fromkeys(TickReading.__dataclass_fields__)
_ANSWERS_AFTER_S, _NEWS_EVERY_S = 0.2, 0.4


class CountingWorker:
    """Samples on a grid in the main thread, and asks the ledger in another one."""

    def __init__(
        self, name: str, url: str, folder: Path, *, capacity: float, lease_s: float, interval_s: float
    ) -> None:
        timeouts = Timeouts(connect_s=2.0, answer_s=2.0, give_up_s=lease_s / 3)
        self._database = open_watch_database(url, timeouts=timeouts)
        self._holdings = Holdings(
            streams=WatchStreams(self._database, lease_s=lease_s),
            worker=name,
            process=f"{os.getpid()}",
            version="1",
            capacity=capacity,
            lease_s=lease_s,
        )
        self._samples = WatchSamples(self._database)
        self._name, self._lease_s, self._interval_s = name, lease_s, interval_s
        self._journal = os.open(folder / f"{name}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._spool = folder / f"{name}.spool"
        with self._open_spool() as spool:
            spool.execute("PRAGMA journal_mode=WAL")
            columns = "stream, first, epoch, ticks, late, PRIMARY KEY (stream, epoch, first)"
            spool.execute(f"CREATE TABLE IF NOT EXISTS chunks ({columns})")
        self._grid_s = WatchViews(self._database, lease_s=lease_s).read_now() / 1e9 - boot_time_s()
        self._answered_s = boot_time_s()
        self._owned: dict[str, int] = {}
        self._connected: dict[str, float] = {}
        self._sampled: Sampled = defaultdict(list)
        self._lock, self.stopping = threading.Lock(), threading.Event()

    def run(self) -> None:
        """Work until `stopping`; then give the streams back."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._ask_on, self._spool_on)]
        for thread in threads:
            thread.start()
        tick = self._tick_now()
        while not self.stopping.is_set():
            self.stopping.wait(max(0.0, (tick + 1) * self._interval_s - self._grid_s - boot_time_s()))
            if not self.stopping.is_set() and self._tick_now() > tick:
                tick = self._tick_now()
                self._sample(tick)
        for thread in threads:
            thread.join(self._lease_s)
        self._keep()
        self._send()
        self._holdings.leave()

    def _tick_now(self) -> int:
        return int((boot_time_s() + self._grid_s) / self._interval_s)

    def _sample(self, tick: int) -> None:
        """Sample the streams whose hosts answer: the journal first, since that is the truth."""
        now_s, holdings = boot_time_s(), self._holdings
        streams = dict(self._owned if self._is_away() else holdings.current())
        for stream in streams.keys() | holdings.coming:
            self._connected.setdefault(stream, now_s)
        for stream in [*self._connected]:
            if stream not in streams and stream not in holdings.coming:
                del self._connected[stream]
        answering = [stream for stream in streams if now_s - self._connected[stream] >= _ANSWERS_AFTER_S]
        holdings.ready |= {
            stream for stream in holdings.coming if now_s - self._connected.get(stream, now_s) >= _ANSWERS_AFTER_S
        }
        at_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        lines = [f"{at_s:.3f} {os.getpid()} {stream} {streams[stream]} {tick}\n" for stream in answering]
        lines.append(f"{at_s:.3f} {os.getpid()} - 0 {tick}\n")  # this process was there at this tick
        os.write(self._journal, "".join(lines).encode())
        with self._lock:
            for stream in answering:
                self._sampled[stream, streams[stream]].append(tick)

    def _is_away(self) -> bool:
        """Whether the ledger was silent for so long that the lease may soon be over: then this worker goes on alone."""
        return boot_time_s() - self._answered_s > 0.6 * self._lease_s

    def _ask_on(self) -> None:
        beat_at_s = send_at_s = asked_at_s = 0.0
        while not self.stopping.is_set():
            now_s = boot_time_s()
            try:
                has_news = now_s >= asked_at_s and self._holdings.has_news()
                asked_at_s = now_s + _NEWS_EVERY_S if now_s >= asked_at_s else asked_at_s
                if now_s >= beat_at_s or has_news:
                    beat_at_s = now_s + self._lease_s / 3
                    self._holdings.step(load=0.1)
                    self._owned, self._answered_s = dict(self._holdings.epochs), now_s
            except ConflictError as error:
                print(error, file=sys.stderr, flush=True)
                self._owned = {}
            except HarnessError as error:
                print(error, file=sys.stderr, flush=True)
            if now_s >= send_at_s:
                send_at_s = now_s + 1.0
                self._send()
            self.stopping.wait(0.1)

    def _spool_on(self) -> None:
        while not self.stopping.is_set():
            self._keep()
            self.stopping.wait(0.5)

    def _keep(self) -> None:
        """Keep what was sampled in the spool, in the chunks that are to be stored."""
        with self._lock:
            sampled, self._sampled = self._sampled, defaultdict(list)
        chunks = [
            chunk for sampling, ticks in sampled.items() for chunk in make_chunks(*sampling, ticks, self._interval_s)
        ]
        late = self._is_away()
        rows = [(*chunk.key, json.dumps([reading.tick for reading in chunk.readings]), late) for chunk in chunks]
        with self._open_spool() as spool:
            spool.executemany("INSERT OR IGNORE INTO chunks VALUES (?, ?, ?, ?, ?)", rows)

    def _send(self) -> None:
        """Store what is in the spool, the latest first. Where an answer was lost, the same chunks are there already."""
        with self._open_spool() as spool:
            query = "SELECT rowid, late, stream, epoch, ticks FROM chunks ORDER BY first DESC LIMIT 500"
            rows = spool.execute(query).fetchall()
        for replayed in (False, True):
            part = [
                (row, chunk)
                for row, late, stream, epoch, ticks in rows
                if bool(late) is replayed
                for chunk in make_chunks(stream, epoch, json.loads(ticks), self._interval_s)
            ]
            if part and not self._is_away():
                try:
                    self._samples.store([chunk for _, chunk in part], worker=self._name, replayed=replayed)
                except HarnessError:
                    return
                with self._open_spool() as spool:
                    spool.executemany("DELETE FROM chunks WHERE rowid = ?", [(row,) for row, _ in part])

    @contextmanager
    def _open_spool(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._spool, timeout=30)) as spool, spool:
            yield spool


def make_chunks(stream: str, epoch: int, ticks: list[int], interval_s: float) -> Iterator[Chunk]:
    """Make chunks of at most 300 ticks."""
    for first in range(0, len(ticks), 300):
        part = ticks[first : first + 300]
        readings = [TickReading(**_NOT_OBSERVED | {"tick": tick}) for tick in part]  # type: ignore[arg-type]
        yield Chunk(
            stream=stream,
            epoch=epoch,
            interval_ns=to_interval_ns(interval_s),
            first_tick=part[0],
            last_tick=part[-1],
            readings=readings,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--capacity", type=float, default=1000.0)
    parser.add_argument("--lease", type=float, default=6.0)
    parser.add_argument("--interval", type=float, default=1.0)
    given = parser.parse_args()
    worker = CountingWorker(
        given.name,
        given.url,
        given.folder,
        capacity=given.capacity,
        lease_s=given.lease,
        interval_s=given.interval,
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    worker.run()


if __name__ == "__main__":
    main()
