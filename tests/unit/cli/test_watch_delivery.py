"""`watch serve` as a process delivers: metrics, samples to a store, incidents to a webhook."""

import base64
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_INCIDENTS
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from tests.doubles.readings import make_chunk
from tests.servers.receiver import serve_receiver

pytestmark = pytest.mark.programs


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def test_the_process_that_leads_delivers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger(url)
    WatchStreams(ledger.database).add([NewStream(stream="host-1", source={}, limits={})], by="ada")
    WatchSamples(ledger.database).store([make_chunk("host-1", range(60))], worker="w", replayed=False)
    values = {"kind": "k", "cause": "c", "streams": [], "sentence": "s", "recommendation": "r", "told": {}}
    insert = WATCH_INCIDENTS.insert().values(incident="i", **values, began_ns=now_ns())
    ledger.database.write(lambda db: db.execute(insert))
    with serve_receiver() as receiver:
        environ = {
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "PTP_HARNESS_LEDGER_URL": url,
            "PTP_HARNESS_WATCH_REMOTE_WRITE_URL": receiver.url.replace("hook", "write"),
            "PTP_HARNESS_WATCH_WEBHOOK_URL": receiver.url,
            "PTP_HARNESS_WATCH_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"s" * 32).decode(),
            "PTP_HARNESS_WATCH_WEBHOOK_HOSTS": "127.0.0.1",
        }
        argv = [sys.executable, "-m", "harness", "watch", "serve", "--metrics-port", "0"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(argv, env=environ, stdout=log, stderr=log, cwd=Path(__file__).parents[3])
        try:
            wait_until(lambda: {post.path for post in receiver.posts} == {"/write", "/hook"})
            port = re.search(r"http://127.0.0.1:(\d+)/metrics", (tmp_path / "log").read_text())
            assert port is not None
            with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            assert 'ptp_harness_watch_streams{state="unknown"} 1.0' in text
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, (tmp_path / "log").read_text()
    ledger.close()
