"""Measure how much the figures of equal clocks differ from run to run, which `diff` takes for chance.

    .venv/bin/python benchmarks/spread.py [--runs N] [--file FILE] [--of REPORT ...]

Makes N (10) equal runs of three types of the lab, which takes some 4 minutes each on two cores, or reads the JSON
reports of runs that were made. Prints the standard deviation of the logarithm of each figure, by type, and the pooled
one; FILE gets the figures of each run, as tests/data/spread/lab.json has them.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.analysis.comparison import list_figures
from harness.model.quality import ClockQuality

TYPES = ("lab.phc", "lab.two-cards", "lab.drifting")
Figures = dict[str, dict[str, list[float]]]
"""By type and figure the values of all runs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="equal runs (10)")
    parser.add_argument("--of", type=Path, nargs="+", metavar="REPORT", help="JSON reports of runs that were made")
    parser.add_argument("--file", type=Path, metavar="FILE", help="write the figures to this file")
    options = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in options.of] if options.of else make_runs(options.runs)
    figures = collect(reports)
    if options.file:
        options.file.write_text(json.dumps(figures, indent=1) + "\n")
    for name, values in figures.items():
        for figure, of_runs in values.items():
            spread, median = statistics.stdev(map(math.log, of_runs)), statistics.median(of_runs)
            print(f"{name:<15} {figure:<20} {len(of_runs):>3} runs  median {median:12.4g}  spread {spread:.3f}")
    print(f"pooled spread {pool(figures):.3f}")
    return 0


def make_runs(count: int) -> list[Any]:
    """Make equal runs, one after another."""
    reports = []
    with tempfile.TemporaryDirectory(prefix="ptp-spread-") as folder:
        for number in range(count):
            command = [sys.executable, "-m", "harness", "run", *TYPES, "--duration", "60s", "--json"]
            environ = {**os.environ, "PTP_HARNESS_STATE_DIR": folder}
            done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
            reports.append(json.loads(done.stdout))
            print(f"run {number + 1} of {count} ended with {done.returncode}", file=sys.stderr, flush=True)
    return reports


def collect(reports: Sequence[Any]) -> Figures:
    """Collect the figures that all runs of a type have."""
    adapter = TypeAdapter(ClockQuality)
    by_type: dict[str, list[dict[str, float]]] = {}
    for report in reports:
        for host in report["hosts"]:
            if host["quality"] is not None:
                quality = adapter.validate_python(host["quality"])
                values = {figure: value for figure, (value, _) in list_figures(quality).items()}
                by_type.setdefault(host["instance_type"], []).append(values)
    return {
        name: {
            figure: [run[figure] for run in runs] for figure in runs[0] if all(run.get(figure, 0) > 0 for run in runs)
        }
        for name, runs in by_type.items()
    }


def pool(figures: Figures) -> float:
    """Pool the variances of the logarithms over types and figures."""
    variances = [
        statistics.variance(map(math.log, values)) for by_figure in figures.values() for values in by_figure.values()
    ]
    return math.sqrt(statistics.fmean(variances))


if __name__ == "__main__":
    sys.exit(main())
