"""Run a fuzz target: by atheris for some time, guided by coverage, or without atheris by seeds and plain mutations.

  python -m tools.fuzz probes --seconds 60
  python -m tools.fuzz device --replay 2000
  python -m tools.fuzz device --input .fuzz/device/crash-...

The folder .fuzz/TARGET keeps inputs that reach new code, from which the next run starts, and every input that failed as
`crash-*`, `timeout-*` or `oom-*`. Exit code 0: no input failed.
"""

import argparse
import importlib
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

from tools.fuzz import TARGETS
from tools.fuzz.replay import MOST_BYTES, FuzzTarget, mutations, run_within

ROOT = Path(__file__).parents[2]
SLOWEST_S = 120  # wall-clock time, for inputs that hang; run_within finds inputs that compute for long
MOST_MIB = 2048


def main() -> int:
    options = _parser().parse_args()
    sys.path.insert(0, str(ROOT / "lab"))
    if options.input:
        for path in options.input:
            run_within(_load_target(options.target), path.read_bytes())
            print(f"{path}: nothing is wrong")
        return 0
    if options.replay is not None:
        return _replay(options.target, options.replay, options.number)
    return _fuzz(options.target, options.seconds, options.folder / options.target)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("target", choices=TARGETS)
    add("--seconds", type=int, default=60, metavar="S", help="how long to look, with atheris (60)")
    add("--folder", type=Path, default=ROOT / ".fuzz", metavar="DIR", help="where inputs are kept (.fuzz)")
    add("--replay", type=int, metavar="N", help="run the seeds and N mutations of them; needs no atheris")
    add("--number", type=int, default=1, metavar="N", help="which mutations: the same number, the same inputs (1)")
    add("--input", type=Path, action="append", metavar="FILE", help="run this input alone; needs no atheris")
    return parser


def _load_target(name: str) -> FuzzTarget:
    return cast(FuzzTarget, importlib.import_module(TARGETS[name]))


def _replay(name: str, count: int, number: int) -> int:
    target = _load_target(name)
    seeds, started_s = target.seeds(), time.monotonic()
    for data in itertools.chain(seeds, itertools.islice(mutations(seeds, target.WORDS, number), count)):
        run_within(target, data)
    print(f"{name}: {len(seeds)} seeds and {count} mutations in {time.monotonic() - started_s:.0f} s, nothing is wrong")
    return 0


def _fuzz(name: str, seconds: int, folder: Path) -> int:
    """Fuzz by atheris. Returns only without atheris: libFuzzer ends the process with its own exit code."""
    try:
        import atheris
    except ImportError:
        print("atheris is missing: pip install -r requirements/soak.txt, or --replay N", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["harness", "ena_device"]):
        target = _load_target(name)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        seeds, dictionary = Path(scratch, "seeds"), Path(scratch, "words")
        seeds.mkdir()
        for number, data in enumerate(target.seeds()):
            (seeds / f"{number:04}").write_bytes(data)
        dictionary.write_text("".join(f'"{_escape(word)}"\n' for word in target.WORDS))
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={MOST_BYTES}",
            f"-timeout={SLOWEST_S}",
            f"-report_slow_units={SLOWEST_S}",
            f"-rss_limit_mb={MOST_MIB}",
            f"-dict={dictionary}",
            f"-artifact_prefix={folder}/",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, str(folder), str(seeds)], lambda data: run_within(target, data))
        atheris.Fuzz()
    return 0


def _escape(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
