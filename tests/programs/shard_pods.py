"""Do what the pods of a suite would do on nodes without machines: claim the hosts of a run, and judge each at once.

    python -m tests.programs.shard_pods URL RUN [--hosts-per-pod N] [--claim-only]

A process is a pod: one owner in the ledger at URL, with threads that claim by the code of real pods until no host is
left. Nothing is made and nothing is measured: types that begin with `good` pass. It prints how many hosts it claimed.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harness.model import HostRecord, HostState, Outcome, Reason, Verdict
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine

ROOT = Path(__file__).parents[2]


def judge(line: HostLine) -> HostRecord:
    """Make the record of a host by its type alone."""
    passed = line.instance_type.startswith("good")
    verdict = Verdict(
        outcome=Outcome.PASS if passed else Outcome.INCONCLUSIVE,
        reason=Reason.SYNCHRONISED if passed else Reason.INTERRUPTED,
        sentence=f"{line.token}: judged by its type",
        rungs=(),
        findings=(),
        contradictions=(),
        unobserved=(),
        remarks=(),
        remedy=None,
    )
    return HostRecord(
        name=line.host,
        instance_type=line.instance_type,
        verdict=verdict,
        facts=None,
        stages={},
        state=HostState.RELEASED,
        address=None,
        attempt=line.attempt,
    )


def work(ledger: Ledger, run: str, *, claim_only: bool) -> int:
    """Claim hosts until none is left, and settle them unless told otherwise; return how many."""
    claimed = 0
    while (line := ledger.claim(run)) is not None:
        claimed += 1
        if not claim_only:
            record = judge(line)
            ledger.record_verdict(line.token, replace(record, state=HostState.UNDECIDED))
            ledger.record_state(line.token, record)
    return claimed


@contextmanager
def shard_pods(url: str, run: str, pods: int, *flags: str) -> Iterator[Sequence["subprocess.Popen[str]"]]:
    """Start so many processes that do what pods would do; they end by themselves once no host is left."""
    argv = [sys.executable, "-m", "tests.programs.shard_pods", url, run, *flags]
    processes = [
        subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(pods)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def begin(processes: Sequence["subprocess.Popen[str]"]) -> None:
    """Have processes that are ready claim hosts."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()


def count_claimed(processes: Sequence["subprocess.Popen[str]"]) -> list[int]:
    """Wait until all processes have ended; return how many hosts each has claimed."""
    claimed = []
    for process in processes:
        answer, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        claimed.append(int(answer))
    return claimed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("run")
    parser.add_argument("--hosts-per-pod", type=int, default=8, metavar="N")
    parser.add_argument("--claim-only", action="store_true", help="settle no host")
    options = parser.parse_args()
    ledger = Ledger(options.url)
    assert ledger.owner
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(options.hosts_per_pod) as pool:
        workers = [
            pool.submit(work, ledger, options.run, claim_only=options.claim_only) for _ in range(options.hosts_per_pod)
        ]
        print(sum(worker.result() for worker in workers), flush=True)
    ledger.close()


if __name__ == "__main__":
    main()
