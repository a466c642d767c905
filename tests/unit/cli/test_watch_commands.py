"""`watch serve`, `watch status` and `watch check`, as a person calls them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.store.ledger import Ledger
from harness.store.tables import WATCH_STREAMS
from harness.store.watch_streams import NewStream, WatchStreams
from harness.store.watch_view import WatchViews
from harness.watch.holdings import Holdings

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Ledger]:
    """The ledger of `call`."""
    (tmp_path / "state").mkdir(mode=0o700)
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    yield ledger
    ledger.close()


def add(ledger: Ledger, *names: str) -> WatchStreams:
    streams = WatchStreams(ledger.database)
    streams.add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada")
    return streams


def test_a_ledger_without_a_watch_has_a_status_and_nothing_wrong(watch: Ledger, call: Call) -> None:
    status = call("watch", "status")
    assert status.returncode == 0
    assert "streams  0" in status.stdout
    assert "workers  none" in status.stdout
    check = call("watch", "check")
    assert (check.returncode, check.stdout) == (0, "")
    assert "fits together" in check.stderr


def test_the_status_shows_workers_and_what_is_left_out(watch: Ledger, call: Call) -> None:
    streams = add(watch, "a", "b")
    worker = Holdings(streams=streams, worker="w", process="rack7/1", version="1", capacity=1.0)
    worker.step(load=0.5)
    status = call("watch", "status")
    assert "leader   nobody" in status.stdout
    assert "2 left out: a, b" in status.stdout
    (line,) = [line for line in status.stdout.splitlines() if line.startswith("w ")]
    assert line.split()[:6] == ["w", "serving", "0", "0", "1", "0.50"]
    document = json.loads(call("watch", "status", "--json").stdout)
    assert (document["streams"], document["left_out"], document["states"]["unknown"]) == (2, ["a", "b"], 2)
    assert document["workers"][0]["capacity"] == 1.0


def test_check_says_what_to_do_and_mends_what_is_safe(watch: Ledger, call: Call) -> None:
    add(watch, "a")
    long_ago = WATCH_STREAMS.update().values(owner="gone", epoch=3, until_ns=1)
    watch.database.write(lambda db: db.execute(long_ago) and None)
    check = call("watch", "check")
    assert check.returncode == 1
    assert "no leader: nobody leads the watch\n  next: start `ptp-harness watch serve`" in check.stdout
    assert "stale lease: the lease of stream a is over" in check.stdout
    found = json.loads(call("watch", "check", "--json").stdout)
    assert {"no leader", "no worker", "stale lease"} == {each["kind"] for each in found}
    mended = call("watch", "check", "--mend")
    assert "stream a is freed: its lease was over" in mended.stderr
    assert "stale lease" not in call("watch", "check").stdout


def test_a_ledger_that_is_not_there_is_one_sentence(call: Call) -> None:
    done = call("watch", "status", "--ledger", "postgresql://nobody@127.0.0.1:1/nothing")
    assert done.returncode == 2
    assert "cannot use the ledger" in done.stderr


@pytest.mark.programs
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_serve_leads_until_a_signal_and_gives_the_leadership_up(
    watch: Ledger, tmp_path: Path, how: signal.Signals
) -> None:
    add(watch, "a")
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    argv = [sys.executable, "-m", "harness", "watch", "serve"]
    views = WatchViews(watch.database)
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "leading the watch, or ready to; Ctrl-C stops it\n"
            give_up_at = time.monotonic() + 60
            while (leader := views.read_leader()) is None or not leader.leads:
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
            process.send_signal(how)
            assert process.wait(10) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
    leader = views.read_leader()
    assert leader is not None
    assert not leader.leads


@pytest.mark.programs
def test_the_service_leads_too_unless_it_is_told_not_to(watch: Ledger, tmp_path: Path) -> None:
    add(watch, "a")
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    views = WatchViews(watch.database)
    for flag, leads in (("--no-watch", False), ("--watch", True)):
        argv = [sys.executable, "-m", "harness", "serve", "--no-work", "--listen", "127.0.0.1:0", flag]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environ) as process:
            try:
                assert process.stderr is not None
                assert "serving on" in process.stderr.readline()
                give_up_at = time.monotonic() + (60 if leads else 4)
                while views.read_leader() is None and time.monotonic() < give_up_at:
                    time.sleep(0.1)
                assert (views.read_leader() is not None) is leads
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                process.kill()
