"""A command loads what it needs: help, lists and completion answer without the SDKs, Ansible and the benches."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.ladder import judge
from harness.model import Depth, Evidence, HostRecord, HostState
from harness.store.ledger import Ledger

pytestmark = pytest.mark.programs

OF_RUNS = {"ansible_runner", "boto3", "botocore", "numpy", "pulumi", "rich", "yaml"} | {
    f"harness.{name}" for name in ("benches", "campaign.campaign", "host", "ladder", "probes", "runs")
}
"""Modules that only making, measuring and judging hosts needs."""

OF_COMMANDS = OF_RUNS | {"asyncio", "pydantic", "sqlalchemy", "harness.model", "harness.store", "harness.wiring"}
"""Modules that only carrying out a command needs."""


def loaded_modules(folder: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> set[str]:
    """The modules that are loaded when a command ends; it must end with 0."""
    listing = folder / "modules"
    program = (
        "import atexit, sys\n"
        "from pathlib import Path\n"
        f"atexit.register(lambda: Path({str(listing)!r}).write_text(chr(10).join(sys.modules)))\n"
        "from harness.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return set(listing.read_text().splitlines())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a command with state of its own."""
    state = {"STATE_DIR": str(tmp_path / "state"), "CACHE_DIR": str(tmp_path / "cache")}
    return os.environ | {f"PTP_HARNESS_{name}": value for name, value in state.items()}


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run with one judged host."""
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"})
    record = HostRecord(
        name="lab.phc",
        instance_type="lab.phc",
        verdict=judge(Evidence(interrupted=True), (), depth=Depth.QUICK, read_only=False),
        facts=None,
        stages={},
        state=HostState.RELEASED,
        address=None,
    )
    ledger.record_state(ledger.own_host(run, record.name).token, record)
    ledger.close()
    return run


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_and_version_load_no_part_of_a_command(
    tmp_path: Path, environ: dict[str, str], arguments: list[str]
) -> None:
    assert loaded_modules(tmp_path, arguments, environ) & OF_COMMANDS == set()


def test_the_list_of_a_group_loads_no_command_of_it(tmp_path: Path, environ: dict[str, str]) -> None:
    assert loaded_modules(tmp_path, ["lab", "--help"], environ) & (OF_RUNS | {"harness.cli.lab", "sqlalchemy"}) == set()


def test_the_list_of_runs_loads_no_part_that_makes_or_judges_hosts(
    tmp_path: Path, environ: dict[str, str], run: str
) -> None:
    assert loaded_modules(tmp_path, ["runs"], environ) & OF_RUNS == set()


def test_showing_a_run_loads_no_part_that_makes_or_judges_hosts(
    tmp_path: Path, environ: dict[str, str], run: str
) -> None:
    assert loaded_modules(tmp_path, ["show", run], environ) & OF_RUNS == set()


@pytest.mark.parametrize("words", [["pla"], ["lab", "sna"], ["lab", "snapshot", "cr"]], ids=" ".join)
def test_the_name_of_a_command_is_completed_without_its_parts(
    tmp_path: Path, environ: dict[str, str], words: list[str]
) -> None:
    completion = {
        "_PTP_HARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["ptp-harness", *words]),
        "COMP_CWORD": str(len(words)),
    }
    assert loaded_modules(tmp_path, [], environ | completion) & (OF_RUNS | {"sqlalchemy", "harness.cli.lab"}) == set()


def test_the_name_of_a_run_is_completed_from_the_ledger_alone(
    tmp_path: Path, environ: dict[str, str], run: str
) -> None:
    completion = {
        "_PTP_HARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": f"ptp-harness show {run[:2]}",
        "COMP_CWORD": "2",
    }
    assert loaded_modules(tmp_path, [], environ | completion) & OF_RUNS == set()


def test_watching_a_run_loads_no_numpy() -> None:
    """It would cost time at each start, and memory in each terminal that draws a run."""
    program = "import sys, harness.cli.watch, harness.runs.run_watch, harness.runs.campaign_run\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert {"numpy", "rich"} & {*done.stdout.split()} == set()


def test_a_worker_of_a_watch_loads_no_numpy_and_no_cloud() -> None:
    """Each worker stays small: a thousand of its streams take less than what these would."""
    program = (
        "import sys, harness.cli.watch_worker, harness.watch.worker, harness.watch.worker_figures\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert {"numpy", "pyarrow", "pandas", "boto3", "pydantic", "rich", "ansible_runner"} & {
        *done.stdout.split()
    } == set()
