"""A service that is killed at any point loses no campaign, doubles none and leaves no host, on both databases.

`make soak` kills the service and its processes 200 times on each, and a process of a task at each of its points.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PTP_HARNESS_TEST_SERVICE_KILLS", "4"))
AT_LENGTH = KILLS >= 200
TAKEN_WITHIN_S = 10.0

pytestmark = [pytest.mark.programs, pytest.mark.timeout(36_000)]


def said_by(program: str, url: str, folder: Path, *flags: str) -> dict[str, Any]:
    """What a program that kills prints at its end."""
    argv = [sys.executable, "-m", f"tests.programs.{program}", url, str(folder), *flags]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}"}
    done = subprocess.run(argv, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_process_of_a_task_killed_at_every_point_is_followed_by_another(
    ledger_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    database = ledger_url.partition(":")[0]
    every = "1" if AT_LENGTH else "37"
    said = said_by("kill_tasks", ledger_url, tmp_path / "trials", "--every", every)
    record_property("counted", f"{said['kills']} kills in {said['trials']} trials of a task on {database}")
    assert said["faults"] == []
    assert said["kills"] >= said["trials"] >= 10
    assert {
        "TaskQueue._insert.insert",
        "TaskQueue.claim.claim",
        "TaskQueue.finish.finish",
        "Ledger.close_run.close",
    } <= {point.partition(":")[0] for point in said["points"]}


def test_a_service_that_is_killed_again_and_again_loses_and_doubles_nothing(
    ledger_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    database = ledger_url.partition(":")[0]
    seed = "1" if database == "sqlite" else "2"
    said = said_by("kill_service", ledger_url, tmp_path, "--kills", str(KILLS), "--seed", seed)
    record_property("counted", f"{said['kills']} kills of the service on {database}: {said['points']}")
    assert said["faults"] == []
    assert said["kills"] == KILLS
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    assert said["taken_within_s"] < TAKEN_WITHIN_S * busy
