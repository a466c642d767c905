"""Bring chunks and changes of state to the ledger; while it is away, to the spool, and from there once it is back.

What is live goes before what was spooled. Nothing is given up: what the ledger did not take in time is spooled, and
where the ledger took it after all, it is stored once. Readings of chunks that are being made go to the spool each
second, also while the ledger is waited for: a process that is killed then loses no more than usual.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from harness.errors import HarnessError
from harness.model.watched import StateChange
from harness.store.watch_samples import PackedChunk, WatchSamples
from harness.watch.judging import StateStore
from harness.watch.ledger_calls import LedgerCalls, Urgency
from harness.watch.spool import OpenRow, Spool

Result = TypeVar("Result")
Change = tuple[str, int, StateChange]

AT_ONCE = 200
_STORE_WITHIN_S, _REPLAY_WITHIN_S = 10.0, 20.0
_KEEP_EVERY_S = 0.5
_MOST_WAITING = 50_000
_log = logging.getLogger(__name__)


class Outbox:
    """The way of a worker's chunks, changes and readings to the ledger. The spool is used by one thread."""

    def __init__(
        self, worker: str, calls: LedgerCalls, samples: WatchSamples, states: StateStore, spool: Spool
    ) -> None:
        self._worker, self._calls, self._samples, self._states, self.spool = worker, calls, samples, states, spool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._chunks: list[PackedChunk] = []
        self._changes: list[Change] = []
        self._rows: list[OpenRow] = []
        self.spooled = self.spooled_bytes = 0
        self.replayed = self.stored = self.lost = 0
        self.may_replay = False
        self.fault: str | None = None

    @property
    def waiting(self) -> int:
        """How many chunks and changes wait in memory."""
        return len(self._chunks) + len(self._changes)

    def add_row(self, row: OpenRow) -> None:
        self._rows.append(row)

    def add_chunk(self, chunk: PackedChunk) -> None:
        self._chunks.append(chunk)

    def add_change(self, change: Change) -> None:
        self._changes.append(change)

    async def flush(self) -> None:
        """Send what waits: to the ledger, or to the spool where it is away. Keeps open readings safe before."""
        await self._keep_rows()
        while self._changes or self._chunks:
            changes, self._changes = self._changes[:AT_ONCE], self._changes[AT_ONCE:]
            chunks, self._chunks = self._chunks[:AT_ONCE], self._chunks[AT_ONCE:]
            await self._keep_rows()  # theirs, which are forgotten once they are stored: none may come later
            if await self._store(changes, chunks):
                self.stored += len(chunks)
            elif not await self._put_aside(changes, chunks):
                self._changes, self._chunks = changes + self._changes, chunks + self._chunks
                self._bound_waiting()
                return

    async def _keep_rows(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            await self._use_spool(partial(self.spool.keep_open, rows))

    async def _store(self, changes: Sequence[Change], chunks: Sequence[PackedChunk]) -> bool:
        def store() -> None:
            if changes:
                self._states.write([], changes, worker=self._worker, replayed=False)
            self._samples.store_packed(chunks, worker=self._worker, replayed=False)

        try:
            await self._call(store, urgency=Urgency.LIVE, within_s=_STORE_WITHIN_S)
        except HarnessError:
            return False
        if chunks:
            await self._use_spool(partial(self.spool.forget_open, chunks))
        return True

    async def _call(self, work: Callable[[], None], *, urgency: Urgency, within_s: float) -> None:
        """Call the ledger; keep open readings safe meanwhile, since its answer may take long."""
        calling = asyncio.ensure_future(self._calls.call(work, urgency=urgency, within_s=within_s))
        try:
            while not (await asyncio.wait([calling], timeout=_KEEP_EVERY_S))[0]:
                await self._keep_rows()
            await calling
        finally:
            calling.cancel()

    async def _put_aside(self, changes: Sequence[Change], chunks: Sequence[PackedChunk]) -> bool:
        def put() -> tuple[int, int]:
            self.spool.add_changes(changes)
            self.spool.add(chunks)
            return self.spool.count(), self.spool.count_bytes()

        counted = await self._use_spool(put)
        if counted is None:
            return False
        self.spooled, self.spooled_bytes = counted
        return True

    def _bound_waiting(self) -> None:
        """Drop the oldest chunks where neither ledger nor spool takes them, before memory is full; it is told."""
        excess = len(self._chunks) - _MOST_WAITING
        if excess > 0:
            del self._chunks[:excess]
            self.lost += excess
            _log.error("neither the ledger nor the spool takes chunks: %d are lost (%s)", self.lost, self.fault)

    async def count(self) -> None:
        """Count what is spooled."""
        counted = await self._use_spool(lambda: (self.spool.count(), self.spool.count_bytes()))
        if counted is not None:
            self.spooled, self.spooled_bytes = counted

    async def replay(self, for_s: float) -> None:
        """Send what is spooled, for so long; nothing while the ledger is away."""
        give_up_at = time.monotonic() + for_s
        while await self._replay_part() and time.monotonic() < give_up_at:
            pass

    async def _replay_part(self) -> bool:
        """Send a part of what is spooled; whether more is left."""
        if not self.may_replay or self._calls.away_since_s is not None:
            return False
        read = await self._use_spool(lambda: (self.spool.read_changes(AT_ONCE), self.spool.read_oldest(AT_ONCE)))
        if read is None or not any(read):
            return False
        changes, chunks = read

        def send() -> None:
            if changes:
                self._states.write([], changes, worker=self._worker, replayed=True)
            self._samples.store_packed(chunks, worker=self._worker, replayed=True)

        try:
            await self._call(send, urgency=Urgency.REPLAY, within_s=_REPLAY_WITHIN_S)
        except HarnessError:
            return False

        def forget() -> None:
            self.spool.drop([(chunk.stream, chunk.first_tick, chunk.epoch) for chunk in chunks])
            self.spool.drop_changes(changes)

        await self._use_spool(forget)
        self.replayed += len(chunks)
        await self.count()
        return self.spooled > 0

    async def check_ledger(self, ledger_id: str) -> None:
        """Allow replays to a ledger. Raises ConflictError where the spool is of another one."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.spool.check_ledger, ledger_id)
        self.may_replay = True
        await self.count()

    async def _use_spool(self, work: Callable[[], Result]) -> Result | None:
        """Do something with the spool; None where that fails, which is told once."""
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Exception as error:
            if self.fault is None:
                _log.error("the spool %s cannot be used: %s", self.spool.file, error)
            self.fault = str(error)
            return None
        self.fault = None
        return result

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self.spool.close()
