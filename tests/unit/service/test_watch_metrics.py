"""The metrics of a watch over HTTP: with those of the service, and by a server of their own."""

import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SetupError
from harness.service.watch_metrics import WatchCollector, WorkerCollector, serve_metrics
from harness.store.ledger import Ledger
from harness.store.watch_streams import NewStream, WatchStreams


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_a_server_of_its_own_serves_the_watch_on_loopback(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    try:
        with serve_metrics(WatchCollector(ledger.database, counts_retries=True), port=0) as port:
            assert "ptp_harness_watch_streams" not in read(port)
            again = serve_metrics(WatchCollector(ledger.database), port=port)
            with pytest.raises(SetupError, match=f"metrics cannot be served on 127.0.0.1:{port}"):
                again.__enter__()
    finally:
        ledger.close()


def test_the_metrics_are_of_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    WatchStreams(ledger.database).add([NewStream(stream='a"\n\\b', source={}, limits={})], by="ada")
    try:
        with serve_metrics(WatchCollector(ledger.database), port=0) as port:
            text = read(port)
    finally:
        ledger.close()
    assert 'ptp_harness_watch_streams{state="unknown"} 1.0' in text
    assert 'ptp_harness_watch_clock_state{state="unknown",stream="a\\"\\n\\\\b"} 1.0' in text
    assert "ptp_harness_watch_clock_offset_seconds{" not in text
    assert "process_cpu_seconds_total" in text


def test_a_ledger_that_is_away_leaves_nothing_of_the_clocks(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger.close()
    (tmp_path / "ledger.sqlite").write_bytes(b"no database")
    with serve_metrics(WatchCollector(ledger.database), port=0) as port:
        assert "ptp_harness_watch_streams" not in read(port)


class Worker:
    def snapshot(self) -> Mapping[str, Any]:
        return {"worker": "w1", "ticks": 5, "streams": {"a": {}}}


def test_a_worker_serves_its_own() -> None:
    with serve_metrics(WorkerCollector(Worker()), port=0) as port:
        text = read(port)
    assert "ptp_harness_watch_worker_ticks_total 5.0" in text
    assert "w1" not in text


class Changing:
    """A worker that gets a stream while it describes itself, so many times."""

    def __init__(self, times: int) -> None:
        self._left = times

    def snapshot(self) -> Mapping[str, Any]:
        self._left -= 1
        streams: dict[str, Any] = {"a": {}, "b": {}}
        for stream in streams:
            if self._left >= 0:
                streams[f"{stream}!"] = {}
        return {"streams": streams}


@pytest.mark.parametrize(("times", "told"), [(2, True), (1000, False)])
def test_a_worker_that_changes_while_it_is_asked_is_asked_again(times: int, told: bool) -> None:
    with serve_metrics(WorkerCollector(Changing(times)), port=0) as port:
        assert ("ptp_harness_watch_worker_streams 2.0" in read(port)) is told
