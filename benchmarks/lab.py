"""How fast is the lab? Medians and spread, with the real bench: python benchmarks/lab.py [--rounds N] [--golden].

Alone on the machine, or the figures are somebody else's. A round begins with the request for a `lab.phc` host and is
over when a login by SSH with the pinned key has succeeded and when /dev/ptp0 is there; both are tried all the time.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness import proc, settings, ssh, wiring
from harness.benches.lab.bench import LabBench, machine
from harness.benches.lab.truths import TRUTHS
from harness.model import Token
from harness.settings import Settings

TYPE = "lab.phc"
TOKEN = Token(run="benchmark", host="lab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="hosts to restore, one after another (10)")
    parser.add_argument("--golden", action="store_true", help="also build a golden guest, in a cache of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mine = replace(settings.load(), state_dir=Path(folder) / "state")
        bench = wiring.lab_bench(mine)
        bench.prepare([TYPE], print)
        print(f"load before: {os.getloadavg()[0]:.2f}")
        rounds = [one_round(bench, Path(folder)) for _ in range(options.rounds)]
        tell("restore to SSH", [seconds for seconds, _, _ in rounds])
        tell("restore to /dev/ptp0", [seconds for _, seconds, _ in rounds])
        tell("release", [seconds for _, _, seconds in rounds])
        if options.golden:
            tell("golden guest, boot and save", [golden_build(mine, Path(folder) / "cache")])


def one_round(bench: LabBench, folder: Path) -> tuple[float, float, float]:
    """Seconds from the request to SSH, to /dev/ptp0, and of the release."""
    begun = time.monotonic()
    ssh_s: list[float] = []
    login = threading.Thread(target=lambda: ssh_s.append(first_login(bench, folder) - begun))
    login.start()
    try:
        bench.provision(TOKEN, TYPE, lambda line: None)  # a lab.phc host is given out when its clock is there
        clock_s = time.monotonic() - begun
        login.join()
    finally:
        released = timed(lambda: bench.release(TOKEN))
    return ssh_s[0], clock_s, released


def first_login(bench: LabBench, folder: Path) -> float:
    """When the first login with the pinned key succeeded, beginning as soon as the host's address is on record."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        record = bench.records.find(TOKEN)
        if record is not None and record.intent.startswith(("plug", "wait", "running")):
            there = machine(record, TRUTHS[TYPE])
            words = ssh.command(there, ssh.pin(there, folder), "true")
            if proc.run(words, timeout_s=60, check=False).status == 0:
                return time.monotonic()
        time.sleep(0.01)
    raise SystemExit("no login within 120 s")


def golden_build(mine: Settings, cache: Path) -> float:
    """Seconds to boot and save one golden guest, with QEMU and the image at hand."""
    (cache / "lab").mkdir(parents=True)
    for part in (mine.cache_dir / "lab").iterdir():
        if part.name.startswith(("qemu-", "image-", "acceleration")) and not part.name.endswith((".lock", ".half")):
            (cache / "lab" / part.name).symlink_to(part)
    bench = wiring.lab_bench(replace(mine, cache_dir=cache))
    return timed(lambda: bench.prepare([TYPE], lambda line: None))


def timed(act: Callable[[], None]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def tell(what: str, seconds: Sequence[float]) -> None:
    print(
        f"{what:<28} median {statistics.median(seconds):5.2f} s   "
        f"least {min(seconds):5.2f}   most {max(seconds):5.2f}   of {len(seconds)}"
    )


if __name__ == "__main__":
    main()
