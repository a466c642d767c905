"""The command `ptp-harness`, whole, but the hosts of its bench `lab` are files: no virtual machine, and no SSH.

    python -m tests.programs.scripted_harness serve --open --listen 127.0.0.1:0

Hosts are made in the folder PTP_TEST_BENCH; each stage of a host takes PTP_TEST_STAGE_S. The processes that a service
starts for its tasks are this program again.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness import wiring
from harness.benches.bench import Bench
from harness.cli import app
from harness.model import Stage
from harness.runs.qualification import Qualification
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.scripted_bench import ScriptedBench

ARGV = (sys.executable, "-m", "tests.programs.scripted_harness")
SEED = 27
ROOT = Path(__file__).parents[2]


def command_environ(folder: Path, *, stage_s: float = 0.0, **more: str) -> dict[str, str]:
    """The environment of this program: its ledger, evidence and hosts are in the folder."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "lab")])
    ours = {"PTP_TEST_BENCH": str(folder / "bench"), "PTP_TEST_STAGE_S": str(stage_s), "PYTHONPATH": paths}
    return {**os.environ, "PTP_HARNESS_STATE_DIR": str(folder / "state"), **ours, **more}


def observe_slowly(host: Qualification, _cleanup: ExitStack) -> None:
    """Each stage takes its time, says something and writes evidence meanwhile."""
    if not host.provision():
        return
    for stage in (Stage.REACH, Stage.CONFIGURE, Stage.MEASURE):
        with host.steps.step(stage) as progress:
            for number in range(4):
                progress(f"{stage} of {host.token}: part {number}")
                host.steps.pause(float(os.environ["PTP_TEST_STAGE_S"]) / 4)
            host.collected.folder.write(f"{stage}.txt", str(host.token))


def make_bench(name: str, *_settings: Any, **_options: Any) -> Bench:
    """Make the scripted bench for every name."""
    return ScriptedBench(Path(os.environ["PTP_TEST_BENCH"]), SEED, refuses=0)


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_ssh(patch)
        patch.setattr(Qualification, "observe", observe_slowly)
        patch.setattr(wiring, "bench", make_bench)
        patch.setattr("harness.service.executor.COMMAND", ARGV)
        patch.setattr(sys, "argv", [app.NAME, *argv])
        app.main()


if __name__ == "__main__":
    main(sys.argv[1:])
