"""A run that is killed at any point loses nothing, does nothing twice and leaves nothing, on both databases.

`make soak` kills 20,000 times, with other seeds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PTP_HARNESS_TEST_KILLS", "1"))
LEAST = 250  # on each database


@pytest.mark.programs
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_run_killed_at_every_point_is_recovered(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite" if database == "sqlite" else request.getfixturevalue("new_database")
    argv = [sys.executable, "-m", "tests.programs.kill_everywhere", url, str(tmp_path / "trials")]
    done = subprocess.run([*argv, "--kills", str(KILLS // 2)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    said = json.loads(done.stdout)
    print(f"{said['kills']} kills in {said['trials']} trials: {said['ways']}")
    record_property("kills", said["kills"])
    assert said["faults"] == []
    assert said["kills"] >= max(LEAST, KILLS // 2)
    assert set(said["points"]) >= {
        f"{work}: {moment}"
        for work in (
            "Ledger._insert_run.insert",
            "Ledger.claim.claim",
            "WaitingEvents.write_with.both",
            "Ownership._record",
        )
        for moment in ("before", "not committed", "committed")
    } | {"bench: make", "bench: made", "bench: remove", "bench: removed", "evidence: before a file", "evidence: a file"}
