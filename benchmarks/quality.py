"""Measure the statistics of a clock, with allantools in the same process, and judging runs again.

    .venv/bin/python benchmarks/quality.py [--only PART] [--rounds N]

statistics  86,400 and 1,000,000 offsets of a clock that a servo holds: MTIE, deviations and quantiles at octaves, MTIE
            at every observation interval; allantools' MTIE at octaves (86,400)
judge       50 hosts of 3,600 samples judged again from their stored evidence: by the columns beside the sampler's
            lines, and by the lines alone
memory      one host of 86,400 samples: the largest memory of a process that takes the sampler's lines as they arrive,
            and of processes that judge the host again, by its columns and by its lines
import      `import harness.cli` loads no numpy

Prints medians, and the limit of each where there is one. The exit code is 1 where a limit is not held.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.analysis import stability
from harness.analysis.offset_series import OffsetSeries
from harness.analysis.quality import describe
from harness.analysis.time_interval_error import MtieTable, compute_mtie
from harness.campaign import campaign
from harness.model import HostState, Outcome, Reason
from harness.probes.samples import SampleReader
from harness.runs import judging
from harness.store import host_evidence, parsed_samples
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger_lines import HostLine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.doubles.records import make_host, make_verdict

LAB = Path(__file__).parents[1] / "tests" / "data" / "lab" / "driver-off"
LINES, COLUMNS = host_evidence.SAMPLES, parsed_samples.name_columns(host_evidence.SAMPLES)
HOSTS, SAMPLES, DAY = 50, 3600, 86_400
MOST_MIB = 256
UNKNOWN = make_verdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.NOT_OBSERVED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("statistics", "judge", "memory", "import"), help="only this part")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="times that each is measured (7)")
    options = parser.parse_args()
    parts = {
        "statistics": measure_statistics,
        "judge": measure_judging,
        "memory": measure_memory,
        "import": check_import,
    }
    chosen = [parts[options.only]] if options.only else [*parts.values()]
    held = [part(options.rounds) for part in chosen]
    return int(not all(held))


def median_ms(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def tell(what: str, value: float, unit: str, *, most: float | None = None, least: float | None = None) -> bool:
    """Print a figure with its limit; return whether it is held."""
    limit = f" (at most {most:g})" if most is not None else f" (at least {least:g})" if least is not None else ""
    held = (most is None or value <= most) and (least is None or value >= least)
    print(f"{what:<44} {value:10.1f} {unit}{limit}{'' if held else '  NOT HELD'}", flush=True)
    return held


def make_locked(count: int) -> OffsetSeries:
    """Make the offsets of a clock that a servo with a memory of 30 s holds to its PHC."""
    generator = np.random.default_rng(count)
    noise = generator.normal(size=count + 300)
    wander = np.convolve(noise, np.exp(-np.arange(300) / 30), mode="valid")[:count] * 15
    offsets = (wander + generator.normal(size=count) * 40).round().astype(np.int32)
    return OffsetSeries(offsets_ns=offsets, seen=np.ones(count, dtype=np.bool_), slot_s=1.0)


def measure_statistics(rounds: int) -> bool:
    import allantools  # with SciPy, whose memory is none of ours

    held = []
    for count, most_all_ms, most_mtie_ms, most_every_ms in (
        (86_400, 15.0, None, 50.0),
        (1_000_000, 350.0, 100.0, None),
    ):
        series, windows = make_locked(count), stability.octaves(count)

        def compute_all(series: OffsetSeries = series, windows: list[int] = windows) -> None:
            compute_mtie(series, windows)
            stability.compute_deviations(series, windows)
            describe(series.offsets_ns)

        every_ms = median_ms(lambda series=series: MtieTable(series).compute_all(), rounds)  # type: ignore[misc]
        mtie_ms = median_ms(lambda series=series, windows=windows: compute_mtie(series, windows), rounds)  # type: ignore[misc]
        held.append(tell(f"{count:>9} MTIE at octaves", mtie_ms, "ms", most=most_mtie_ms))
        held.append(tell(f"{count:>9} all at octaves", median_ms(compute_all, rounds), "ms", most=most_all_ms))
        held.append(tell(f"{count:>9} MTIE at every interval", every_ms, "ms", most=most_every_ms))
        if count == 86_400:
            seconds = series.offsets_ns * 1e-9
            theirs_ms = median_ms(
                lambda data=seconds, taus=windows: allantools.mtie(data, data_type="phase", taus=taus),  # type: ignore[misc]
                max(1, rounds // 3),
            )
            held.append(tell(f"{count:>9} allantools' MTIE over ours", theirs_ms / mtie_ms, "x", least=400))
    return all(held)


def measure_judging(rounds: int) -> bool:
    """Judge hosts again whose samples are one recorded minute, repeated to an hour."""
    asked = campaign.from_mapping({"instance_types": ("lab.phc",), "measure": {"duration": f"{SAMPLES}s"}})
    lines = [make_line(f"host-{number}") for number in range(HOSTS)]
    with tempfile.TemporaryDirectory(prefix="ptp-bench-") as name:
        folder = Path(name)
        first = make_host_folder(folder, lines[0].host, SAMPLES)
        write_columns(first, SAMPLES)
        for line in lines[1:]:
            host = EvidenceFolder(folder).host(line.host)
            for path in first.path.iterdir():
                (host.path / path.name).hardlink_to(path)
        begun = time.process_time()
        columns_ms = median_ms(lambda: judging.judge_again(lines, folder, asked), rounds)
        processor_ms = (time.process_time() - begun) / rounds * 1000
        for line in lines:
            (folder / line.host / COLUMNS).unlink()
        lines_ms = median_ms(lambda: judging.judge_again(lines, folder, asked), 1)
    held = tell(f"judge {HOSTS} hosts of {SAMPLES} samples again", columns_ms, "ms", most=2000)
    tell("  time of a processor in it", processor_ms, "ms")
    tell(f"  the same without {COLUMNS}", lines_ms, "ms")
    return held


def make_host_folder(folder: Path, name: str, count: int) -> EvidenceFolder:
    """Make the evidence of a host with this number of samples, one recorded minute again and again."""
    recorded = [json.loads(line) for line in (LAB / LINES).read_text().splitlines()]
    samples = [line for line in recorded if line["kind"] == "sample"]
    host = EvidenceFolder(folder).host(name)
    with host.stream(LINES) as file:
        for slot in range(count):
            sample = {**samples[slot % len(samples)], "seq": slot, "mono_ns": slot * 10**9}
            file.write(json.dumps(sample).encode() + b"\n")
        file.write(json.dumps({"kind": "end", "samples": count, "reason": "done"}).encode() + b"\n")
    for facts in ("facts.json", "facts-final.json"):
        host.write(facts, (LAB / facts).read_text())
    evidence = host_evidence.read_evidence(host.path, make_host(name=name, verdict=UNKNOWN), most_samples=count)
    host_evidence.write_evidence(host, evidence)
    return host


def write_columns(host: EvidenceFolder, count: int) -> None:
    """Take the sampler's lines as a run does, and write their columns."""
    reader = SampleReader(LINES, most=count)
    with (host.path / LINES).open() as lines:
        for line in lines:
            reader.read_line(line)
    parsed_samples.write_columns(host, LINES, reader)


def judge_host(folder: Path, name: str, count: int) -> None:
    """Judge one host again, with its figures."""
    asked = campaign.from_mapping({"instance_types": ("lab.phc",), "measure": {"duration": f"{count}s"}})
    judging.judge_again([make_line(name)], folder, asked)


def measure_memory(_rounds: int) -> bool:
    """Measure processes that take and judge a day of samples. A process that only loads all modules is the least."""
    with tempfile.TemporaryDirectory(prefix="ptp-bench-") as folder:
        make_host_folder(Path(folder), "host", DAY)
        host = f"EvidenceFolder(Path({folder!r}) / 'host')"
        judge = f"judge_host(Path({folder!r}), 'host', {DAY})"
        held = [
            tell("memory with all modules loaded", measure_peak_mib("pass"), "MiB"),
            tell(f"judge {DAY} samples by their lines", measure_peak_mib(judge), "MiB", most=MOST_MIB),
            tell(f"take {DAY} samples", measure_peak_mib(f"write_columns({host}, {DAY})"), "MiB", most=MOST_MIB),
            tell(f"judge {DAY} samples by their columns", measure_peak_mib(judge), "MiB", most=MOST_MIB),
        ]
    return all(held)


def measure_peak_mib(work: str) -> float:
    """Return the largest memory of a process that does this work, in MiB."""
    program = f"import resource\nfrom benchmarks.quality import *\n{work}\n"
    program += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    argv = [sys.executable, "-c", program]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return float(subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout)


def make_line(name: str) -> HostLine:
    return HostLine(
        run="k3f9",
        host=name,
        instance_type="lab.phc",
        attempt=1,
        state=HostState.RELEASED,
        record=make_host(name=name, verdict=UNKNOWN),
    )


def check_import(_rounds: int) -> bool:
    program = "import sys, harness.cli.app; print('numpy' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    print(f"import harness.cli loads numpy: {loaded}")
    return loaded == "False"


if __name__ == "__main__":
    sys.exit(main())
