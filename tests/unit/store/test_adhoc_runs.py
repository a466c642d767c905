"""A run's name tells which process keeps its hosts, so that no sweep takes those of a living one."""

import os
import subprocess
import sys

from harness.store import adhoc_runs
from harness.system import proc


def test_the_name_tells_its_process() -> None:
    name = adhoc_runs.make_run_name()
    assert adhoc_runs.find_owner(name) == proc.identify(os.getpid())
    assert adhoc_runs.make_run_name() != name


def test_a_process_that_ended_is_not_alive() -> None:
    program = "from harness.store import adhoc_runs; print(adhoc_runs.make_run_name())"
    name = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    owner = adhoc_runs.find_owner(name)
    assert owner is not None
    assert not owner.alive()


def test_other_runs_have_no_keeper() -> None:
    assert [adhoc_runs.find_owner(name) for name in ("lab", "srb2", "pool", "pool1x2", "pool1x2x00zz")] == [None] * 5
