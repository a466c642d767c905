#!/usr/bin/python3
"""Sample this host's PTP clock, its driver's counters and chronyd whenever this is asked for.

    sample_asked.py [--interval S] [--reads N] [--device PATH] [--clock-name PATTERN]

Takes a sample, as sample.py does, for each tick that standard input names, a number or {"tick": N} a line, and answers
with one line of JSON on standard output (docs/evidence-format.md), until standard input ends, or at SIGTERM or SIGHUP.
Where several ticks wait, since the host was held up, it answers the latest one alone.

It reads the clock at most 10 times a second, and needs sample.py beside it, or as a module that is loaded.
Runs on the measured host as root: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import signal
import sys
import time
from collections import deque

import sample

SHORTEST_S = 0.1
LONGEST_QUESTION, MOST_TICK = 1024, 2**63


class ReadBudget:
    """Counts readings of the clock: at most sample.MOST_READS in any second, however often a sample is asked for."""

    def __init__(self) -> None:
        self._spent: deque[tuple[int, int]] = deque()

    def take(self, reads: int, now_ns: int) -> bool:
        """Take readings for a sample that begins now; false where too many were taken within the last second."""
        while self._spent and self._spent[0][0] <= now_ns - 10**9:
            self._spent.popleft()
        if sum(count for _, count in self._spent) + reads > sample.MOST_READS:
            return False
        self._spent.append((now_ns + round(reads * sample.READ_GAP_S * 1e9), reads))
        return True


class AskedSampler:
    """Answers questions for samples: a line for each tick, in the order of the questions, on a file descriptor."""

    def __init__(self, arguments: argparse.Namespace, source: int = 0, answers: int = 1) -> None:
        self._clock = sample.SampledClock(arguments.device, arguments.clock_name, arguments.reads)
        self._reads, self._interval_ns = arguments.reads, round(arguments.interval * 1e9)
        self._source, self._answers = source, answers
        self._budget, self._rest, self._ended, self._last = ReadBudget(), b"", False, -1

    def run(self) -> None:
        """Answer until the questions end."""
        module = "/sys/module/ena/version"
        self._write(kind="start", schema=sample.SCHEMA, asked=True, reads=self._reads, pid=os.getpid(),
                    boot_id=sample.read_word("/proc/sys/kernel/random/boot_id"), kernel=platform.release(),
                    driver=sample.read_word(module) or ("in-tree" if os.path.isdir(os.path.dirname(module)) else None),
                    mono_ns=time.monotonic_ns(), utc_ns=time.time_ns())  # fmt: skip
        while not self._ended:
            question = self._wait_for_latest()
            if question:
                self._answer(question)

    def _wait_for_latest(self) -> bytes:
        """Wait for questions; return the latest of those that have come, without what comes after its line."""
        latest = b""
        select.select([self._source], [], [])
        while select.select([self._source], [], [], 0)[0]:
            part = os.read(self._source, 65536)
            if not part:
                self._ended = True
                break
            *lines, self._rest = (self._rest + part).split(b"\n")
            latest = next((line for line in reversed(lines) if line.strip()), latest)
            if len(self._rest) > LONGEST_QUESTION:
                raise SystemExit("a question for a sample has no end")
        return latest

    def _answer(self, question: bytes) -> None:
        tick = parse_tick(question)
        if tick is None or tick <= self._last:
            self._write(kind="refused", question=question[:100].decode(errors="replace"))
            return
        self._last = tick
        if not self._budget.take(self._reads, time.monotonic_ns()):
            self._write(kind="skipped", tick=tick, reason="the readings of the clock are used up")
            return
        record = sample.sample(tick, self._clock)
        del record["slot"]
        if record["end_mono_ns"] - record["mono_ns"] > 2 * self._interval_ns:
            record["kind"] = "late"
        self._write(**{"kind": record["kind"], "tick": tick, **record})

    def _write(self, **line: object) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self._answers, data) :]


def parse_tick(question: bytes) -> int | None:
    """Parse a question: the number of a tick, or an object that holds it as `tick`; None where it is neither."""
    try:
        asked = json.loads(question)
    except (ValueError, RecursionError):
        return None
    tick = asked.get("tick") if isinstance(asked, dict) else asked
    return tick if type(tick) is int and 0 <= tick < MOST_TICK else None


def answer_questions(arguments: argparse.Namespace) -> None:
    """Answer until standard input or the reader of the answers is gone, or a signal comes."""

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    for number in (*sample.STOPPING, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        AskedSampler(arguments).run()
    except BrokenPipeError:
        return


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Answer each tick with how this host's clock does.")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="between two ticks, as a rule")
    sample.add_clock_arguments(parser)
    arguments = parser.parse_args()
    if not arguments.interval >= SHORTEST_S:
        parser.error(f"--interval must be at least {SHORTEST_S:g} seconds")
    if not 1 <= arguments.reads <= sample.MOST_READS:
        parser.error(f"--reads must be from 1 to {sample.MOST_READS}")
    return arguments


def main() -> int:
    answer_questions(parse_arguments())
    return 0


if __name__ == "__main__":
    sys.exit(main())
