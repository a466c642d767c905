"""Buckets of requests: all threads and processes share a rate, and a ledger that is away stops nobody."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.model import Stage
from harness.model.cloud import HostInUse
from harness.store.account_limits import LedgerLimits
from harness.store.ledger import Ledger
from tests.doubles.records import make_host

ROOT = Path(__file__).parents[3]
SIZE, PER_S = 5, 0.001
"""A token comes back so slowly that what a busy machine delays does not matter."""

PROCESSES, TAKEN = 4, 15
TAKE = """
import json, sys
from harness.store.ledger import Ledger
from tests.doubles.records import make_host
from harness.model import HostState, Stage
from harness.model.cloud import HostInUse
from harness.store.account_limits import LedgerLimits
buckets = LedgerLimits(Ledger(sys.argv[1]).database)
sys.stdin.readline()
print(json.dumps([buckets.take("one", 5, 0.001) for _ in range(int(sys.argv[2]))]))
"""


def require_shared(waits_s: Sequence[float]) -> None:
    """A full bucket gave its tokens at once; whoever came later has a place of its own in the queue."""
    ordered = sorted(waits_s)
    assert ordered[:SIZE] == [0.0] * SIZE
    for place, wait_s in enumerate(ordered[SIZE:], 1):
        assert place / PER_S - 200 < wait_s <= place / PER_S


def test_a_full_bucket_gives_its_tokens_at_once_and_then_at_its_rate(ledger: Ledger) -> None:
    buckets = LedgerLimits(ledger.database)
    waits_s = [buckets.take("one", SIZE, PER_S) for _ in range(3 * SIZE)]
    assert waits_s == sorted(waits_s)
    require_shared(waits_s)
    assert buckets.take("another", SIZE, PER_S) == 0.0


def test_tokens_come_back(ledger: Ledger) -> None:
    buckets = LedgerLimits(ledger.database)
    assert buckets.take("one", 1, 5.0) == 0.0
    assert 0.0 <= buckets.take("one", 1, 5.0) <= 0.2
    time.sleep(0.5)  # two come back, and one fits in
    assert buckets.take("one", 1, 5.0) == 0.0


def test_an_emptied_bucket_fills_again_after_the_pause(ledger: Ledger) -> None:
    buckets = LedgerLimits(ledger.database)
    buckets.empty("one", SIZE, PER_S, 20_000.0)
    assert 20_800 < buckets.take("one", SIZE, PER_S) <= 21_000
    buckets.empty("one", SIZE, PER_S, 5_000.0)
    assert 21_800 < buckets.take("one", SIZE, PER_S) <= 22_000, "what is empty for longer stays so"


def test_processes_share_a_bucket(ledger: Ledger, ledger_url: str) -> None:
    argv = [sys.executable, "-c", TAKE, ledger_url, str(TAKEN)]
    processes = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    waits_s = [wait_s for process in processes for wait_s in json.loads(process.communicate(timeout=120)[0])]
    assert len(waits_s) == PROCESSES * TAKEN
    require_shared(waits_s)


def test_threads_share_a_bucket(ledger: Ledger) -> None:
    buckets = LedgerLimits(ledger.database)
    with ThreadPoolExecutor(8) as pool:
        require_shared([*pool.map(lambda _: buckets.take("one", SIZE, PER_S), range(60))])


def test_a_ledger_that_is_away_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger.close()
    (tmp_path / "ledger.sqlite").unlink()
    (tmp_path / "ledger.sqlite").mkdir()
    buckets = LedgerLimits(ledger.database)
    assert [buckets.take("one", SIZE, PER_S) for _ in range(3 * SIZE)] == [0.0] * 3 * SIZE
    assert caplog.text.count("requests are limited by each process alone") == 1


def test_the_hosts_in_use_are_those_of_ec2_that_a_process_works_on(ledger: Ledger) -> None:
    here = {"region": "eu-north-1"}
    types = {"free": "m7i.large", "begun": "m7i.large", "launched": "c7i.large", "released": "m7i.large"}
    run = ledger.open_run(bench="ec2", campaign=here, hosts=types)
    other_bench = ledger.open_run(bench="lab", campaign={}, hosts={"h0": "lab.phc"})
    elsewhere = ledger.open_run(bench="ec2", campaign={"region": None}, hosts={"h0": "p5.48xlarge"})
    tokens = {name: ledger.own_host(run, name).token for name in ("begun", "launched", "released")}
    for token in tokens.values():
        ledger.begin_step(token, Stage.PROVISION)
    for name in ("launched", "released"):
        ledger.begin_step(tokens[name], Stage.REACH)
    ledger.record_state(tokens["released"], make_host(name="released"))
    ledger.own_host(other_bench, "h0")
    far = ledger.own_host(elsewhere, "h0").token
    found = {host.token: host for host in LedgerLimits(ledger.database).list_hosts_in_use()}
    assert found == {
        tokens["begun"]: HostInUse(
            token=tokens["begun"], instance_type="m7i.large", region="eu-north-1", launched=False
        ),
        tokens["launched"]: HostInUse(
            token=tokens["launched"], instance_type="c7i.large", region="eu-north-1", launched=True
        ),
        far: HostInUse(token=far, instance_type="p5.48xlarge", region=None, launched=False),
    }
