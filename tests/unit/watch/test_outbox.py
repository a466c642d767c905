"""Does an outbox keep what a worker sampled safe while the ledger takes long?"""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from harness.model.watched import TickReading
from harness.store.ledger import Ledger
from harness.store.reading_columns import pack
from harness.store.watch_samples import Chunk, WatchSamples, pack_chunk
from harness.watch.ledger_calls import LedgerCalls
from harness.watch.outbox import Outbox
from harness.watch.spool import OpenRow, Spool
from tests.doubles.unjudged_ticks import NoStates
from tests.servers import postgresql

pytestmark = pytest.mark.programs


def make_reading(tick: int) -> TickReading:
    return TickReading(**dict.fromkeys(TickReading.__dataclass_fields__) | {"tick": tick, "offset_ns": 40})  # type: ignore[arg-type]


def count_open_rows(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as spool:
        return int(spool.execute("SELECT COUNT(*) FROM open_rows").fetchone()[0])


@pytest.mark.timeout(120)
def test_readings_go_to_the_spool_also_while_the_ledger_does_not_answer(
    own_server: postgresql.Server, tmp_path: Path
) -> None:
    """A process that is killed while a store hangs, for ten seconds at most, loses no more than at other times."""

    async def act(ledger: Ledger) -> None:
        spool = Spool(tmp_path / "w.spool", "w")
        outbox = Outbox("w", LedgerCalls(), WatchSamples(ledger.database), NoStates(), spool)
        readings = [make_reading(tick) for tick in range(5)]
        outbox.add_chunk(
            pack_chunk(Chunk(stream="s", epoch=1, interval_ns=10**9, first_tick=0, last_tick=4, readings=readings))
        )
        with own_server.paused():
            storing = asyncio.create_task(outbox.flush())
            await asyncio.sleep(0.2)
            outbox.add_row(OpenRow("s", 1, 5, 5, 10**9, pack(make_reading(5))))
            give_up_at = time.monotonic() + 5
            while count_open_rows(spool.file) < 1:
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.05)
            assert not storing.done()
        await storing
        outbox.close()
        assert [reading.tick for reading in WatchSamples(ledger.database).read("s", 0, 9, interval_ns=10**9)] == [
            0,
            1,
            2,
            3,
            4,
        ]
        again = Spool(tmp_path / "w.spool", "w")
        assert [(chunk.first_tick, chunk.last_tick) for chunk in again.read_oldest(9)] == [(5, 5)]
        again.close()

    ledger = Ledger(own_server.make_database("watch"))
    asyncio.run(act(ledger))
    ledger.close()
