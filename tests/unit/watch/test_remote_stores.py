"""Real stores take what is sent: Prometheus and VictoriaMetrics, each sample once, late ones too."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sql

from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CURSORS
from harness.store.watch_cursors import WatchCursors
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from harness.watch import remote_write
from harness.watch.remote_write import RemoteStore, RemoteWriter
from tests.doubles.readings import make_chunk
from tests.servers import prometheus

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

OFFSET = "ptp_harness_watch_sample_offset_seconds"


@dataclass(frozen=True)
class SeriesStore:
    """A running store of series."""

    address: str

    @property
    def write_url(self) -> str:
        return f"http://{self.address}/api/v1/write"

    def read(self, series: str, *, end: int, seconds: int) -> list[tuple[int, float]]:
        """Read the raw samples of one series: time in s, and value."""
        parameters = urllib.parse.urlencode({"query": f"{series}[{seconds}s]", "time": end})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{parameters}", timeout=30) as answer:
            result = json.loads(answer.read())["data"]["result"]
        return [(round(moment), float(value)) for each in result for moment, value in each["values"]]


@contextmanager
def serve(name: str, folder: Path) -> Iterator[SeriesStore]:
    program = prometheus.find_program(name)
    if program is None:
        pytest.skip(f"needs {name}, which is not installed")
    if name == "victoria-metrics":
        with prometheus.serve_victoria_metrics(program, folder) as address:
            yield SeriesStore(address)
    else:
        with prometheus.serve_receiver(program, folder, oldest="30m") as server:
            yield SeriesStore(server.address)


@pytest.fixture(params=["prometheus", "victoria-metrics"])
def series_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SeriesStore]:
    with serve(request.param, tmp_path) as store:
        yield store


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    WatchStreams(opened.database).add([NewStream(stream="host-1", source={}, limits={})], by="ada")
    yield opened
    opened.close()


def send(ledger: Ledger, store: SeriesStore) -> None:
    """Send all that waits, as a process that began just now."""
    writer = RemoteWriter(ledger.database, RemoteStore(name="store", label="store", url=store.write_url))
    give_up_at = time.monotonic() + 60
    while writer.step() != remote_write.IDLE_S:
        assert time.monotonic() < give_up_at, WatchCursors(ledger.database).read_lags()
    writer.close()


def wait_for(read: Callable[[], list[tuple[int, float]]], samples: int) -> list[tuple[int, float]]:
    """Read until there are so many samples: VictoriaMetrics shows what it takes after a second."""
    give_up_at = time.monotonic() + 30
    while len(found := read()) < samples and time.monotonic() < give_up_at:
        time.sleep(0.2)
    return found


def test_samples_are_there_once_with_their_times_and_values_also_late_ones_and_those_sent_twice(
    ledger: Ledger, series_store: SeriesStore
) -> None:
    samples, now = WatchSamples(ledger.database), int(time.time())
    live = make_chunk("host-1", range(now - 60, now))
    samples.store([live], worker="w", replayed=False)
    send(ledger, series_store)
    with ledger.database.connect() as db:  # the process ended after the store answered, and before it wrote that down
        db.execute(WATCH_CURSORS.update().values(sent={}, revision=WATCH_CURSORS.c.revision + 1))
    send(ledger, series_store)
    late = make_chunk("host-1", range(now - 1200, now - 1140), opinion_ns=None, chrony_bound_ns=None)
    samples.store([late], worker="w", replayed=True)
    send(ledger, series_store)
    readings = {reading.tick: float(reading.offset_ns or 0) / 1e9 for reading in (*late.readings, *live.readings)}
    series = f'{OFFSET}{{stream="host-1"}}'
    found = wait_for(lambda: series_store.read(series, end=now, seconds=1300), len(readings))
    assert found == sorted(readings.items())
    bound = series_store.read(f'{PREFIX}_chrony_bound_seconds{{stream="host-1"}}', end=now, seconds=1300)
    assert [moment for moment, _ in bound] == [reading.tick for reading in live.readings]
    with ledger.database.connect() as db:
        assert db.execute(sql.select(sql.func.sum(WATCH_CURSORS.c.refused))).scalar() == 0


PREFIX = "ptp_harness_watch_sample"


def test_what_is_too_old_for_prometheus_is_counted_and_holds_up_nothing(tmp_path: Path, ledger: Ledger) -> None:
    samples, now = WatchSamples(ledger.database), int(time.time())
    with serve("prometheus", tmp_path) as store:
        samples.store([make_chunk("host-1", range(now - 60, now))], worker="w", replayed=False)
        send(ledger, store)
        for minute in (600, 300, 10):
            first = now - 60 * minute
            samples.store([make_chunk("host-1", range(first, first + 60))], worker="w", replayed=True)
        send(ledger, store)
        found = store.read(f'{OFFSET}{{stream="host-1"}}', end=now, seconds=40_000)
        assert [moment for moment, _ in found] == [*range(now - 600, now - 540), *range(now - 60, now)]
        assert [(lag.samples, lag.refused) for lag in WatchCursors(ledger.database).read_lags()] == [
            (420, 0),
            (420, 840),
        ]


def test_a_wrong_address_is_told_and_nothing_is_lost(tmp_path: Path, ledger: Ledger) -> None:
    samples, now = WatchSamples(ledger.database), int(time.time())
    samples.store([make_chunk("host-1", range(now - 60, now))], worker="w", replayed=False)
    with serve("prometheus", tmp_path) as store:
        wrong = RemoteStore(name="store", label="store", url=f"http://{store.address}/api/v1/nonsense")
        writer = RemoteWriter(ledger.database, wrong)
        assert writer.step() > 60
        writer.close()
        assert str(WatchCursors(ledger.database).read_lags()[0].problem).startswith("answers 404")
        send(ledger, store)
        assert len(store.read(f'{OFFSET}{{stream="host-1"}}', end=now, seconds=70)) == 60
