"""Measure the HTML report: the time of writing it, its size, and that of computing what it shows.

    .venv/bin/python benchmarks/report.py [--hosts N] [--samples N] [--rounds N] [--file FILE]

Each host (50) has N samples (3600) of its own, one a second, of a clock that a servo holds to its PHC: noise of 40 ns
for a reading, 60 ns of slow wander, and a slow reading now and then. `compute` is the figures and plots of one host,
which the run that measured it pays; `write` is the page of all hosts. The exit code is 1 where the page takes more than
a second or has more than 2 MB.
"""

import argparse
import gzip
import math
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness import ladder
from harness.analysis.plot_series import reduce_samples
from harness.analysis.quality import compute_quality
from harness.campaign import limits
from harness.model import Depth, Evidence, HostRecord, HostState, RunRecord, Stage
from harness.model.observed import PhcRead, Sample
from harness.model.plots import ClockPlots
from harness.model.sample_table import SampleTable
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.report.formats import Format, render
from harness.system.profile_files import load_standards

LAB = Path(__file__).parents[1] / "tests" / "data" / "lab" / "driver-off"
START_NS = 1_795_233_824 * 10**9
MOST_S, MOST_BYTES = 1.0, 2_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=50, metavar="N", help="hosts of the run (50)")
    parser.add_argument("--samples", type=int, default=3600, metavar="N", help="samples of each host (3600)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="times that the page is written (5)")
    parser.add_argument("--file", type=Path, metavar="FILE", help="write the page to this file")
    options = parser.parse_args()
    record, plots, compute_s = make_run(options.hosts, options.samples)
    times_s = []
    for _ in range(options.rounds):
        begun = time.perf_counter()
        page = render(record, Format.HTML, plots)
        times_s.append(time.perf_counter() - begun)
    data, write_s = page.encode(), statistics.median(times_s)
    if options.file:
        options.file.write_bytes(data)
    print(f"compute   {compute_s * 1000:8.1f} ms a host, median")
    print(f"write     {write_s * 1000:8.1f} ms, median of {options.rounds} (at most {MOST_S * 1000:.0f})")
    size_mb, compressed_mb = len(data) / 1e6, len(gzip.compress(data)) / 1e6
    print(f"size      {size_mb:8.2f} MB (at most {MOST_BYTES / 1e6:.0f}); {compressed_mb:.2f} MB compressed")
    print(f"plots     {page.count('<svg'):8d}")
    return int(write_s > MOST_S or len(data) > MOST_BYTES)


def make_run(hosts: int, samples: int) -> tuple[RunRecord, dict[str, ClockPlots], float]:
    """Make a run of hosts with their plots; return the median time of computing the figures and plots of one, too."""
    facts, _ = read_facts((LAB / "facts.json").read_text(), where="facts.json")
    recorded, _, _ = read_samples((LAB / "samples.jsonl").read_text(), where="samples.jsonl")
    records: list[HostRecord] = []
    plots: dict[str, ClockPlots] = {}
    times_s: list[float] = []
    for number in range(hosts):
        made = SampleTable(simulate(recorded[5], samples, random.Random(number)))
        evidence = Evidence(facts=facts, final_facts=facts, samples=made, slots=samples)
        verdict = ladder.judge(evidence, limits.requirements("ec2"), depth=Depth.STANDARD, read_only=False)
        begun = time.perf_counter()
        quality = compute_quality(evidence, interval_s=1.0, profiles=load_standards())
        reduced = reduce_samples(evidence, interval_s=1.0)
        times_s.append(time.perf_counter() - begun)
        name = f"m7i.{number + 1}xlarge"
        if reduced is not None:
            plots[name] = reduced
        records.append(
            HostRecord(
                name=name,
                instance_type=name,
                verdict=verdict,
                facts=facts,
                stages={Stage.MEASURE: float(samples)},
                state=HostState.RELEASED,
                address=None,
                quality=quality,
            )
        )
    record = RunRecord(
        run="abcd", bench="ec2", started="", seconds=samples, interrupted=False, hosts=tuple(records), leftovers=()
    )
    return record, plots, statistics.median(times_s)


def simulate(pattern: Sample, count: int, source: random.Random) -> Iterator[Sample]:
    """Yield samples of a good clock, whose other parts are those of a recorded one."""
    memory = math.exp(-1 / 30)
    wander_ns = 0.0
    for slot in range(count):
        wander_ns = memory * wander_ns + source.gauss(0, 60 * math.sqrt(1 - memory**2))
        delay_ns = max(900, round(source.gauss(1400, 120)))
        delay_ns += source.randrange(20_000) if source.random() < 0.002 else 0
        phc_ns = START_NS + slot * 10**9
        middle_ns = phc_ns + round(wander_ns + source.gauss(0, 40))
        read = PhcRead(
            before_ns=middle_ns - delay_ns // 2, phc_ns=phc_ns, after_ns=middle_ns - delay_ns // 2 + delay_ns
        )
        tracking = pattern.tracking and replace(
            pattern.tracking,
            reference_time_s=phc_ns / 1e9,
            root_delay_ns=10_000,
            root_dispersion_ns=6_000 + round(800 * math.sin(slot / 200) + abs(source.gauss(0, 200))),
        )
        yield replace(
            pattern,
            slot=slot,
            mono_ns=slot * 10**9,
            utc_ns=middle_ns,
            raw_ns=slot * (10**9 + 12_300),
            tracking=tracking,
            reads=(read,),
        )


if __name__ == "__main__":
    sys.exit(main())
