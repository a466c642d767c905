"""Change the code that judges in small ways, and list the changes that no test notices.

  python -m tools.mutants
  python -m tools.mutants --only harness/ladder/bound_check.py
  python -m tools.mutants --sample 200 --seed 1

Files and tests are those of [tool.mutmut] in pyproject.toml. explained.toml lists the changes that no test should
notice, each with its reason. Exit code 1: a change was not noticed and is not explained, or an explanation is out of
date.
"""

import argparse
import json
import os
import random
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tools.mutants.changes import Mutant, make_mutants
from tools.mutants.trial import Result, Trial
from tools.mutants.types import find_refused

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")
LAST = ROOT / ".mutants"
PROGRESS_S = 15


def main() -> int:
    options = _parser().parse_args()
    os.chdir(ROOT)
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    files = [file for file in _list_files(configuration["only_mutate"]) if file.startswith(options.only)]
    if not files:
        print(f"{options.only} is none of the files of [tool.mutmut] in pyproject.toml", file=sys.stderr)
        return 2
    if options.again and not LAST.exists():
        print("there is no last run, of which something could be tried again", file=sys.stderr)
        return 2
    print(f"--- making the mutants of {len(files)} files", flush=True)
    mutants = [mutant for file in files for mutant in make_mutants(ROOT, file)]
    whole = len(mutants)
    if options.again:
        keys = {tuple(key) for key in json.loads(LAST.read_text())}
        mutants = [mutant for mutant in mutants if mutant.key in keys]
    if options.sample and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    print(f"--- trying {len(mutants)} of {whole}, {options.jobs} at once", flush=True)
    report = _Report(len(mutants), _read_explained())
    trial = Trial(mutants, options.jobs, report.note)
    if not _run_tests(configuration["pytest_add_cli_args_test_selection"], trial):
        return 2
    return report.finish(files if len(mutants) == whole else [])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", default="", metavar="PATH", help="the mutants of this file or folder alone")
    add("--again", action="store_true", help="only those that were alive without an explanation in the last run")
    add("--sample", type=int, metavar="N", help="try N mutants, chosen by chance")
    add("--seed", type=int, default=1, metavar="N", help="which sample: the same number, the same mutants (1)")
    add("--jobs", type=int, default=2, metavar="N", help="how many mutants at once (2)")
    return parser


def _list_files(patterns: list[str]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


def _run_tests(tests: list[str], trial: Trial) -> bool:
    settings.register_profile(
        "mutants",
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    arguments = ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no", "--timeout=0"]
    arguments += ["-o", "addopts=--import-mode=importlib"]
    arguments += ["--hypothesis-profile=mutants", "-m", "not slow and not programs", *tests]
    code = pytest.main(arguments, plugins=[trial])
    if trial.failed:
        print(f"these tests fail without any change: {', '.join(trial.failed)}", file=sys.stderr)
    elif code != 0:
        print(f"pytest ended with {code!r} before a mutant was tried: see `pytest {' '.join(tests)}`", file=sys.stderr)
    return code == 0 and not trial.failed


def _read_explained() -> dict[tuple[str, str, str], str]:
    """Read the reasons for which a mutant stays alive, by file, changed lines, and what they become."""
    entries = tomllib.loads(EXPLAINED.read_text()).get("mutant", [])
    return {(entry["file"], entry["was"], text): entry["reason"] for entry in entries for text in entry["becomes"]}


class _Report:
    """Prints each mutant that is alive without an explanation, how far the run is, and the counts at the end."""

    def __init__(self, count: int, explained: dict[tuple[str, str, str], str]) -> None:
        self.count, self.explained, self.results = count, explained, dict[Mutant, Result]()
        self._start = self._printed = time.monotonic()

    def note(self, mutant: Mutant, result: Result) -> None:
        if not self.results:
            self._start = time.monotonic()
        self.results[mutant] = result
        now, done = time.monotonic(), len(self.results)
        if now - self._printed > PROGRESS_S:
            self._printed = now
            left_s = (now - self._start) / done * (self.count - done)
            alive = len(self._list_alive())
            print(f"--- {done} of {self.count}, {alive} alive, about {left_s / 60:.0f} min to go", flush=True)

    def _list_alive(self) -> list[Mutant]:
        return [mutant for mutant, result in self.results.items() if result not in (Result.KILLED, Result.TIMEOUT)]

    def finish(self, files: list[str]) -> int:
        """Print what is alive, and the explanations of these files that nothing alive needs; return the exit code."""
        alive = self._list_alive()
        print(f"--- asking mypy about the {len(alive)} that no test noticed", flush=True)
        refused = find_refused(ROOT, alive)
        alive = sorted((mutant for mutant in alive if mutant not in refused), key=lambda each: (each.file, each.line))
        unexplained = [mutant for mutant in alive if mutant.key not in self.explained]
        for mutant in unexplained:
            print(f"{mutant.file}:{mutant.line} {mutant.function or ''}: {self.results[mutant].value}")
            print(f"  - {mutant.was}\n  + {mutant.becomes}")
        living = {mutant.key for mutant in alive}
        stale = [key for key in self.explained if key[0] in files and key not in living]
        for file, was, becomes in stale:
            print(f"{file}: {EXPLAINED.name} explains a change that is noticed; remove it\n  - {was}\n  + {becomes}")
        for file, count in sorted(Counter(mutant.file for mutant in self.results).items()):
            print(f"{sum(mutant.file == file for mutant in alive):5} of {count:4} alive  {file}")
        share = len(alive) / max(len(self.results), 1)
        print(f"--- {len(alive)} of {len(self.results)} alive ({share:.1%}), {len(unexplained)} of them unexplained")
        LAST.write_text(json.dumps([mutant.key for mutant in unexplained]))
        return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
