"""Runs are led, helped, paused, killed, resumed, swept and kept in any order, from two machines, on both databases.

`make soak` tries 2,000 orders on each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("PTP_HARNESS_TEST_SEED", "1"))
ORDERS = int(os.environ.get("PTP_HARNESS_TEST_ORDERS", "8"))


@pytest.mark.programs
@pytest.mark.timeout(36_000)
def test_in_any_order_nothing_is_lost_and_nothing_left(
    ledger_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    database = ledger_url.partition(":")[0]
    argv = [sys.executable, "-m", "tests.programs.any_order", ledger_url, str(tmp_path / "orders")]
    seed = 2 * SEED - (database == "sqlite")
    argv += ["--examples", str(ORDERS), "--steps", "25", "--seed", str(seed)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-20_000:]
    counted = json.loads(done.stdout)
    record_property("counted", f"steps in any order on {database}: {counted}")
    assert counted["orders"] >= ORDERS
    assert sum(counted.values()) > 5 * ORDERS
