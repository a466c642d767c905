"""Do what the pods of a suite would do on nodes without machines: claim the hosts of a run, and judge each at once.

    python -m tests.programs.shard_pods URL RUN [--hosts-per-pod N] [--claim-only]

A process is a pod, or many: one owner in the ledger at URL, with threads that claim by the code of real pods. A number
on its standard input allows so many claims more. It ends when its input has ended, and no host is left or nothing more
is allowed; then it prints how many hosts it claimed. Nothing is made or measured: types that begin with `good` pass.
"""

import argparse
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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


class Claims:
    """The claims that a process may make, and the hosts that it has claimed and not judged. Threads share it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed, self._closed = 0, False
        self.claimed: queue.Queue[HostLine | None] = queue.Queue()
        self.number = 0

    def allow(self, number: int) -> None:
        with self._changed:
            self._allowed += number
            self._changed.notify_all()

    def close(self) -> None:
        """Allow none beyond those that are allowed by now."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def claim(self, ledger: Ledger, run: str) -> None:
        """Claim hosts as far as that is allowed, until none is left."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._allowed > 0 or self._closed)
                if self._allowed <= 0:
                    return
                self._allowed -= 1
            line = ledger.claim(run)
            if line is None:
                return
            with self._changed:
                self.number += 1
            self.claimed.put(line)

    def judge(self, ledger: Ledger) -> None:
        """Judge and settle hosts that were claimed, until there is a None among them."""
        while (line := self.claimed.get()) is not None:
            record = judge(line)
            ledger.record_verdict(line.token, replace(record, state=HostState.UNDECIDED))
            ledger.record_state(line.token, record)


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


def allow(processes: Sequence["subprocess.Popen[str]"], number: int) -> None:
    """Allow so many claims more, shared out over processes that are ready."""
    for index, process in enumerate(processes):
        share = (number + index) // len(processes)
        assert process.stdin is not None
        process.stdin.write(f"{share}\n")
        process.stdin.flush()


def follow_pods(processes: Sequence["subprocess.Popen[str]"], count_made: Callable[[], int], number: int) -> None:
    """Allow a claim for each pod that was made, until so many were."""
    allowed = 0
    while allowed < number:
        made = min(number, count_made())
        if made > allowed:
            allow(processes, made - allowed)
            allowed = made
        time.sleep(0.1)


def close_input(processes: Sequence["subprocess.Popen[str]"]) -> None:
    """Allow processes no claim more than they were allowed by now."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
            process.stdin = None


def count_claimed(processes: Sequence["subprocess.Popen[str]"]) -> list[int]:
    """Wait until all processes have ended; return how many hosts each has claimed."""
    claimed = []
    close_input(processes)
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
    claims = Claims()
    print("ready", flush=True)
    with ThreadPoolExecutor(2 * options.hosts_per_pod) as pool:
        claimers = [pool.submit(claims.claim, ledger, options.run) for _ in range(options.hosts_per_pod)]
        judges = [] if options.claim_only else [pool.submit(claims.judge, ledger) for _ in claimers]
        for line in sys.stdin:
            claims.allow(int(line))
        claims.close()
        for claimer in claimers:
            claimer.result()
        for _ in judges:
            claims.claimed.put(None)
        for each in judges:
            each.result()
    print(claims.number, flush=True)
    ledger.close()


if __name__ == "__main__":
    main()
