"""A watch of real processes on real PostgreSQL that is disturbed in every way loses and doubles nothing.

`make soak` makes SOAK_WATCH_FAULTS (500) faults.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs.watch_faults import (
    OF_PROCESSES,
    OF_SERVERS,
    History,
    Line,
    Times,
    Window,
    find_doubles,
    find_gaps,
    find_lost,
)

ROOT = Path(__file__).parents[2]
FAULTS = int(os.environ.get("PTP_HARNESS_TEST_WATCH_FAULTS", "10"))  # each kind once

pytestmark = [pytest.mark.timeout(36_000)]


@pytest.mark.programs
def test_a_watch_that_is_disturbed_loses_and_doubles_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    argv = [sys.executable, "-m", "tests.programs.watch_faults", str(tmp_path), "--faults", str(FAULTS)]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}"}
    done = subprocess.run(argv, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(done.stdout)
    if "skipped" in said:
        pytest.skip(said["skipped"])
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(said["kinds"].items()))
    record_property(
        "counted",
        f"{said['faults_made']} faults of a watch ({kinds}): {said['sampled']} ticks sampled, {said['epochs']} epochs, "
        f"{said['gaps_excused']} gaps of killed or paused workers, {said['gaps_held_up']} for want of a processor",
    )
    assert said["faults"] == [], said["windows"]
    assert said["faults_made"] >= FAULTS
    if len(OF_PROCESSES) + len(OF_SERVERS) <= FAULTS:
        assert {*said["kinds"]} == {*OF_PROCESSES, *OF_SERVERS}


# -- the checker itself: each thing that it looks for is found

TIMES = Times(lease_s=3.0, interval_s=1.0)


def sampled(worker: str, epoch: int, ticks: range, pid: int = 1) -> list[Line]:
    return [Line(float(tick), worker, pid, "s", epoch, tick) for tick in ticks]


def gaps(lines: list[Line], windows: list[Window], *, present: range = range(100)) -> list[str]:
    history = History(lines=lines, present_s={name: [float(at) for at in present] for name in "ab"})
    return [*find_gaps(history, ["s"], windows, 1.0, 60.0, TIMES).lost]


def killed(worker: str, begun_s: float, ended_s: float) -> Window:
    return Window(kind="kill", begun_s=begun_s, ended_s=ended_s, hits=worker, killed_pid=1)


def test_two_workers_of_one_epoch_and_ticks_that_are_stored_twice_are_found() -> None:
    lines = sampled("a", 1, range(5)) + sampled("b", 1, range(5, 9))
    assert find_doubles(lines, []) == ["('s', 1) was sampled by ['a', 'b']"]
    assert find_doubles([], [("s", 1, 4), ("s", 1, 4)]) == ["('s', 1, 4) is stored 2 times"]
    assert find_doubles(sampled("a", 1, range(5)) + sampled("b", 2, range(3, 9)), [("s", 1, 4), ("s", 2, 4)]) == []


def test_a_tick_that_is_not_in_the_ledger_is_lost_unless_its_process_was_killed_just_then() -> None:
    lines = sampled("a", 1, range(10))
    stored = [("s", 1, tick) for tick in range(9)]
    assert len(find_lost(lines, stored, [])) == 1
    assert find_lost(lines, stored, [killed("a", 9.5, 20.0)]) == []
    assert len(find_lost(lines, stored[:5], [killed("a", 9.5, 20.0)])) == 3, "these had long been sampled"


def test_a_gap_is_a_loss_unless_its_owner_was_killed_or_paused_or_got_no_processor() -> None:
    whole = sampled("a", 1, range(61))
    assert gaps(whole, []) == []
    with_gap = sampled("a", 1, range(20)) + sampled("b", 2, range(26, 61))
    (found,) = gaps(with_gap, [])
    assert found == "s of a (epoch 1), then b (epoch 2): nothing from 19.0 to 26.0"
    assert gaps(with_gap, [killed("a", 19.5, 22.0)]) == []
    assert len(gaps(with_gap, [killed("b", 19.5, 22.0)])) == 1, "the other one had it"
    assert len(gaps(with_gap, [killed("a", 2.0, 3.0)])) == 1, "that was long ago"
    history = History(lines=with_gap, present_s={"a": [*map(float, range(20))], "b": [*map(float, range(61))]})
    assert find_gaps(history, ["s"], [], 1.0, 60.0, TIMES).held_up == 1


def test_a_gap_that_outlasts_the_bound_is_a_loss() -> None:
    late = sampled("a", 1, range(20)) + sampled("b", 2, range(45, 61))
    assert len(gaps(late, [killed("a", 19.5, 22.0)])) == 1
    assert len(gaps(sampled("a", 1, range(20)), [killed("a", 19.5, 22.0)])) == 1, "nobody ever took it"
