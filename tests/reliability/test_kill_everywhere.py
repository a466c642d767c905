"""A run that is killed at any point loses nothing, does nothing twice and leaves nothing, on both databases.

`make soak` kills 20,000 times, and with another `SOAK_SEED` other runs at other moments.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PTP_HARNESS_TEST_KILLS", "1"))
SEED = int(os.environ.get("PTP_HARNESS_TEST_SEED", "1"))
LEAST = 200  # on each database


@pytest.mark.programs
@pytest.mark.timeout(36_000)
def test_a_run_killed_at_every_point_is_recovered(
    ledger_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    database = ledger_url.partition(":")[0]
    argv = [sys.executable, "-m", "tests.programs.kill_everywhere", ledger_url, str(tmp_path / "trials")]
    # Until more is asked for, each database has every second point, and both together have all.
    first, every = (1 if database == "sqlite" else 2, 2) if KILLS == 1 else (1, 1)
    argv += ["--kills", str(KILLS // 2), "--every", str(every), "--first", str(first), "--seed", str(SEED)]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    said = json.loads(done.stdout)
    record_property("counted", f"{said['kills']} kills in {said['trials']} trials on {database}: {said['ways']}")
    assert said["faults"] == []
    assert said["kills"] >= max(LEAST, KILLS // 2)
    assert set(said["points"]) >= {
        f"{work}: {moment}"
        for work in (
            "Ledger._insert_run.insert",
            "Ledger.claim.claim",
            "Ledger.begin_step.begin",
            "Ledger.end_step.<lambda>",
            "Ledger._change_host.change_host",
            "Ledger.close_run.close",
            "Ownership._record",
        )
        for moment in ("before", "not committed", "committed")
    } | {"bench: make", "bench: made", "bench: remove", "bench: removed", "evidence: before a file", "evidence: a file"}
