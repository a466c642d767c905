"""Measure whether the estimated error bound covers the true error while a clock is disturbed, and after it.

    PYTHONPATH=lab .venv/bin/python benchmarks/disturbances.py [--only NAME] [--settle S]

One lab.phc host follows its emulated clock. Each disturbance of a campaign is caused as a campaign causes it. From 10 s
before it until 60 s after it, the guest's true error (from the truth page) is compared each second with the bound that
the harness would report, as benchmarks/coverage.py does. Seconds in which the guest does not run have no error. The
exit code is 1 where less than 99 % of the seconds are covered; a paused guest cannot know of its pause, so its seconds
are printed and not counted.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from harness import wiring
from harness.benches.lab.bench import LabBench
from harness.errors import HarnessError
from harness.host import reboot, ssh
from harness.host.disturbing import DisturbedHost
from harness.host.playbooks import Target
from harness.model.disturbances import AFTER_S, BEFORE_S, KINDS, Disturbance
from harness.system import settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.coverage import STRAIGHT, Second, compare_seconds
from benchmarks.emulated_clock import ROOT, TYPE, Guest, configure, provision

MARKS = "/var/lib/ptp-harness/benchmark.marks"
SCRIPT = ROOT / "roles" / "clock_facts" / "files" / "disturb.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=int, default=60, metavar="S", help="for chrony, before each (60)")
    parser.add_argument("--only", choices=list(Disturbance), metavar="NAME", help="only this disturbance")
    options = parser.parse_args()
    chosen = [Disturbance(options.only)] if options.only else list(Disturbance)
    counted = covered = 0
    with tempfile.TemporaryDirectory(prefix="ptp-disturb-") as folder, ExitStack() as cleanup:
        bench = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": folder}))
        bench.prepare([TYPE], print)
        print(f"load before: {os.getloadavg()[0]:.2f}", file=sys.stderr)
        guest = provision(bench, Path(folder), 0, cleanup)
        configure(guest)
        print("| disturbance | seconds | covered | true error, largest | bound, median | bound, largest |")
        print("|---|---|---|---|---|---|")
        with ssh.shared_connection() as control:
            target = Target(machine=guest.machine, known_hosts=guest.known_hosts, control=control)
            for disturbance in chosen:
                time.sleep(options.settle)
                seconds = watch(disturbance, bench, guest, target)
                print_row(disturbance, seconds)
                if disturbance is not Disturbance.GUEST_PAUSED:
                    counted += len(seconds)
                    covered += sum(second.covered for second in seconds)
    print(f"| all but {Disturbance.GUEST_PAUSED} | {counted} | {covered / max(counted, 1):.2%} | | | |")
    return 0 if counted and covered / counted >= 0.99 else 1


def watch(disturbance: Disturbance, bench: LabBench, guest: Guest, target: Target) -> list[Second]:
    """Cause a disturbance, and compare truth and bound before, during and after it."""
    lasts_s = KINDS[disturbance].lasts_s
    if disturbance is Disturbance.REBOOT:  # nothing of the guest can be compared while it boots
        reach = reboot.reboot(target, progress=lambda text: None, pause=time.sleep)
        assert reach.reached, reach.detail
        return list(compare_seconds(guest, STRAIGHT, round(AFTER_S)))
    cause = threading.Timer(BEFORE_S, disturb, (disturbance, bench, guest, target))
    cause.start()
    try:
        return list(compare_seconds(guest, STRAIGHT, round(BEFORE_S + lasts_s + AFTER_S)))
    finally:
        cause.join()


def disturb(disturbance: Disturbance, bench: LabBench, guest: Guest, target: Target) -> None:
    kind = KINDS[disturbance]
    if kind.by_bench:
        bench.disturb(guest.token, disturbance, kind.lasts_s, time.sleep)
    else:
        DisturbedHost(target, SCRIPT, MARKS).disturb(disturbance)


def print_row(disturbance: Disturbance, seconds: list[Second]) -> None:
    if not seconds:
        raise SystemExit(f"{disturbance}: no second of which both the truth and the bound are known")
    covered = sum(second.covered for second in seconds)
    largest = max(max(abs(second.low_ns), abs(second.high_ns)) for second in seconds)
    bounds = [second.bound_ns for second in seconds]
    print(
        f"| {disturbance} | {len(seconds)} | {covered / len(seconds):.1%} | {largest / 1e3:.1f} us "
        f"| {statistics.median(bounds) / 1e3:.1f} us | {max(bounds) / 1e3:.1f} us |",
        flush=True,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        sys.exit(str(error))
