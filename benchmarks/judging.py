"""Measure the time of reading, judging and reporting, and the memory of 24 hours of samples.

    .venv/bin/python benchmarks/judging.py [--other CHECKOUT] [--samples N] [--rounds N]

Each round is a new process. It reads and judges the samples of a real minute of the lab and reports ten hosts in every
format; then it reads and judges a host with 24 h of samples, one a second (86,400 by default). With `--other`, another
checkout of the project does the same work in turns with this one, and the ratio of the medians is printed: other
programs on the machine slow both alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FIGURES = ("read_ms", "judge_ms", "report_ms", "day_judge_s", "day_peak_mib")

WORK = """
import json, resource, sys, time
from pathlib import Path
from harness import ladder
from harness.model import Depth, Evidence, HostRecord, HostState, RunRecord
from harness.report.formats import Format, render
try:
    from harness.campaign import limits
    from harness.probes.facts import read_facts
    from harness.probes.samples import SampleReader, read_samples
except ImportError:  # a checkout of before harness/campaign
    from harness import limits
    from harness.probes import samples
    from harness.probes.facts import read as read_facts
    from harness.probes.samples import read as read_samples
    SampleReader = getattr(samples, "Reader", None)

data, day = Path(sys.argv[1]), Path(sys.argv[2])
required = limits.requirements("lab")
figures = {}

def timed(name, work, times):
    begun = time.process_time()
    for _ in range(times):
        made = work()
    figures[name] = (time.process_time() - begun) / times * 1000
    return made

def read():
    found, refused = read_facts((data / "facts.json").read_text(), where="facts.json")
    taken, also, slots = read_samples((data / "samples.jsonl").read_text(), where="samples.jsonl")
    return Evidence(facts=found, final_facts=found, samples=taken, slots=slots, unparsed=refused + also)

def judge():
    return ladder.judge(evidence, required, depth=Depth.STANDARD, read_only=False)

def report():
    host = HostRecord(name="a", instance_type="a", verdict=verdict, facts=evidence.facts, stages={},
                      state=HostState.RELEASED, address=None)
    record = RunRecord(run="abcd", bench="lab", started="", seconds=1.0, interrupted=False, hosts=(host,) * 10,
                       leftovers=())
    return [render(record, form) for form in Format]

evidence = timed("read_ms", read, 5)
verdict = timed("judge_ms", judge, 20)
timed("report_ms", report, 3)
if day.exists():
    found = evidence.facts
    if SampleReader is not None:
        reader = SampleReader("samples.jsonl")
        with day.open() as lines:
            for line in lines:
                reader.read_line(line)
        taken, slots = reader.samples, reader.slots
    else:
        taken, _, slots = read_samples(day.read_text(), where="samples.jsonl")
    evidence = Evidence(facts=found, final_facts=found, samples=taken, slots=slots)
    begun = time.process_time()
    judge()
    figures["day_judge_s"] = time.process_time() - begun
    figures["day_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(figures))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, metavar="CHECKOUT", help="another checkout of this project")
    parser.add_argument("--samples", type=int, default=86_400, metavar="N", help="of the long run (86400)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each (3)")
    options = parser.parse_args()
    data, day = ROOT / "tests/data/lab/driver-off", ROOT / "benchmarks/.day.jsonl"
    checkouts = {"this": ROOT, **({"other": options.other.absolute()} if options.other else {})}
    rounds_by_name: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    try:
        with day.open("w") as file:
            file.writelines(long_run(data, options.samples))
        for _ in range(options.rounds):
            for name, checkout in checkouts.items():
                rounds_by_name[name].append(measure_checkout(checkout, data, day))
    finally:
        day.unlink(missing_ok=True)
    for figure in FIGURES:
        medians = {
            name: statistics.median(figures[figure] for figures in rounds) for name, rounds in rounds_by_name.items()
        }
        ratio = f"   this / other {medians['this'] / medians['other']:.2f}" if "other" in medians else ""
        print(f"{figure:<14}" + "".join(f"{name} {value:10.2f}  " for name, value in medians.items()) + ratio)
    return 0


def measure_checkout(checkout: Path, data: Path, day: Path) -> dict[str, float]:
    argv = [sys.executable, "-c", WORK, str(data), str(day)]
    env = os.environ | {"PYTHONPATH": str(checkout)}
    completed = subprocess.run(argv, env=env, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(completed.stdout))


def long_run(data: Path, count: int) -> Iterator[str]:
    """Yield the lines of a real minute again and again, with increasing times."""
    records = [json.loads(line) for line in (data / "samples.jsonl").read_text().splitlines()]
    minute = [record for record in records if record["kind"] == "sample"]
    yield json.dumps(records[0]) + "\n"
    for seq in range(count):
        yield json.dumps(later(minute[seq % len(minute)], seq, minute[0])) + "\n"
    yield json.dumps({"kind": "end", "samples": count, "reason": "done"}) + "\n"


def later(sample: dict[str, Any], seq: int, first: dict[str, Any]) -> dict[str, Any]:
    ahead_ns = (seq - sample["seq"]) * 10**9
    reads = [[time_ns + ahead_ns for time_ns in read] for read in sample["phc"]["reads"]]
    times = {name: first[name] + seq * 10**9 for name in ("mono_ns", "utc_ns")}
    return sample | times | {"seq": seq, "phc": sample["phc"] | {"reads": reads}}


if __name__ == "__main__":
    sys.exit(main())
