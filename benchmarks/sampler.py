"""Measure what the sampler costs a host: processor time per second, and bytes per sample, on this machine's kernel.

    .venv/bin/python benchmarks/sampler.py [--seconds S]

A chronyd that steers nothing runs in a network of its own, so that chronyc has a real answer to fetch. This machine
needs no PTP clock, so that the time of its readings is missing in the figures. Needs root, unshare, ip and chronyd.
Prints medians with their limits; the exit code is 1 where one is not held.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path

SAMPLER = Path(__file__).parents[1] / "roles" / "clock_facts" / "files" / "sample.py"
TOOLS = ("unshare", "ip", "chronyd", "chronyc")
CHRONY = "local stratum 5\nbindcmdaddress 127.0.0.1\npidfile {folder}/pid\ndriftfile {folder}/drift\n"
SCRIPT = """
ip link set lo up
chronyd -x -d -u root -f "$1/chrony.conf" > "$1/log" 2>&1 &
sleep 1
"$2" "$3" --output "$1/samples.gz" --duration "$4" --foreground
kill %1
"""
MOST_SHARE, MOST_DAY_MB = 0.01, 50.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, metavar="S", help="of sampling, one a second (60)")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ptp-sampler-") as folder:
        Path(folder, "chrony.conf").write_text(CHRONY.format(folder=folder))
        words = ["bash", "-c", SCRIPT, "bash", folder, sys.executable, str(SAMPLER), str(options.seconds)]
        subprocess.run(["unshare", "--net", *words], check=True)
        written = Path(folder, "samples.gz").read_bytes()
    lines = [json.loads(line) for line in zlib.decompressobj(31).decompress(written).splitlines()]
    samples = [line for line in lines if line["kind"] == "sample"]
    if any(sample["chronyc"]["rc"] != 0 for sample in samples):
        print("chronyc did not reach chronyd", file=sys.stderr)
        return 2
    used = [after["cpu_ns"] - before["cpu_ns"] for before, after in pairwise(samples)]
    share, day_mb = statistics.median(used) / 1e9, len(written) / len(samples) * 86_400 / 1e6
    held = share <= MOST_SHARE and day_mb <= MOST_DAY_MB
    print(f"processor time per second: {share:.2%} of a core (at most {MOST_SHARE:.0%})")
    print(f"samples of a day, compressed: {day_mb:.1f} MB (at most {MOST_DAY_MB:g} MB)")
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
