"""Measure the CPU time of commands that only look something up, as ratios to that of Python and of its CLI library.

    .venv/bin/python benchmarks/startup.py [--rounds N]

Every round starts each program once, in turns, so that other work on the machine slows all of them alike. A row is the
least CPU time of a program (user and system), and its ratio to `python -c pass` and to `python -c "import typer"`.
The commands read the ledger that PTP_HARNESS_STATE_DIR names; `show` takes part where that has a run.
"""

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
BARE, LIBRARY = "python -c pass", 'python -c "import typer"'


def completion_environment(*arguments: str) -> dict[str, str]:
    """Build the environment in which a shell requests completions of the last word."""
    return {
        "_PTP_HARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["ptp-harness", *arguments]),
        "COMP_CWORD": str(len(arguments)),
    }


def programs(run: str | None) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
    """List the rows: name, arguments of Python, and variables."""
    command = ["-m", "harness"]
    rows: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
        BARE: (["-c", "pass"], {}),
        LIBRARY: (["-c", "import typer"], {}),
        'python -c "import sqlalchemy"': (["-c", "import sqlalchemy"], {}),
        "ptp-harness --help": ([*command, "--help"], {}),
        "ptp-harness lab --help": ([*command, "lab", "--help"], {}),
        "ptp-harness run --help": ([*command, "run", "--help"], {}),
        "ptp-harness la<Tab>": (command, completion_environment("la")),
        "ptp-harness run lab.ph<Tab>": (command, completion_environment("run", "lab.ph")),
        "ptp-harness show <Tab>": (command, completion_environment("show", "")),
        "ptp-harness runs": ([*command, "runs"], {}),
    }
    return rows | ({"ptp-harness show RUN": ([*command, "show", run], {})} if run else {})


def cpu_s(arguments: Sequence[str], environ: Mapping[str, str]) -> float:
    """Measure the CPU time of one Python process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], env=os.environ | environ, cwd=ROOT, capture_output=True, timeout=300, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def newest_run() -> str | None:
    """Find the name of the newest run in the ledger; None without one."""
    argv = [sys.executable, "-m", "harness", "runs", "--json"]
    listing = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    names = [line.split('"')[3] for line in listing.stdout.splitlines() if line.strip().startswith('"run":')]
    return names[0] if names else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    rows = programs(newest_run())
    least = dict.fromkeys(rows, float("inf"))
    for _ in range(rounds):
        for name, (arguments, environ) in rows.items():
            least[name] = min(least[name], cpu_s(arguments, environ))
    print(f"{'program':<32} {'CPU s':>7} {'to pass':>9} {'to typer':>9}")
    for name, seconds in least.items():
        print(f"{name:<32} {seconds:>7.3f} {seconds / least[BARE]:>9.1f} {seconds / least[LIBRARY]:>9.1f}")


if __name__ == "__main__":
    main()
