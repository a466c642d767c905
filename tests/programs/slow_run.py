"""Lead a run of six hosts whose stages take a while, so that something can happen to its ledger meanwhile.

    python -m tests.programs.slow_run URL FOLDER {run,recover}

`run` prints a line as soon as the first host is being measured, and at its end the run's record; `recover` sweeps what
is left, and prints what does not hold then.
"""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.model import Stage
from harness.runs.qualification import Qualification
from tests.doubles.campaign_of_six import Surroundings, leave_out_ssh
from tests.doubles.scripted_bench import ScriptedBench

STAGE_S = 0.7
SEED = 27  # of hosts that neither come late nor hang: time.sleep fails under libfaketime


def observe_slowly(host: Qualification, _cleanup: ExitStack) -> None:
    """As without SSH, but each stage takes its time, says something and writes evidence meanwhile."""
    if not host.provision():
        return
    for stage in (Stage.REACH, Stage.CONFIGURE, Stage.MEASURE):
        with host.steps.step(stage) as progress:
            for number in range(4):
                progress(f"{stage} of {host.token}: part {number}")
                host.steps.pause(STAGE_S / 4)
            host.collected.folder.write(f"{stage}.txt", str(host.token))
            if stage is Stage.REACH:
                print("under way", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("action", choices=["run", "recover"])
    options = parser.parse_args()
    with pytest.MonkeyPatch.context() as patch:
        leave_out_ssh(patch)
        patch.setattr(Qualification, "observe", observe_slowly)
        begun = time.monotonic()
        try:
            here = Surroundings(options.url, ScriptedBench(options.folder / "bench", SEED), options.folder, SEED)
            if options.action == "run":
                print(json.dumps(asdict(here.start()), default=str), flush=True)
            else:
                here.sweep()
                print(json.dumps(here.find_faults({})))
            here.ledger.close()
        except HarnessError as error:
            print(json.dumps({"error": str(error), "seconds": time.monotonic() - begun}))
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
