"""Pods count the lines that they print, and readers find out how many of them were lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.line_count import COUNT_LINES, MARK_EVERY, LineCheck, make_mark

ROOT = Path(__file__).parents[3]
GAP = re.compile(r"-- ([0-9]+) lines? up to here cannot be had")


def print_in_pod(program: str, **environ: str) -> tuple[list[str], str]:
    """Carry out a program as the command of a pod; return the lines of its standard output, and its errors."""
    begin = "import os, sys\nfrom harness.cli import output\nfrom harness.cluster.line_count import *\n"
    env = os.environ | {"PYTHONPATH": str(ROOT), COUNT_LINES: "true"} | environ
    argv = [sys.executable, "-c", begin + program]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines(), done.stderr


def test_both_streams_are_one_with_a_mark_after_fifty_lines_and_at_the_end() -> None:
    lines, errors = print_in_pod(
        "with counting_lines():\n  for n in range(60): (output.show, output.say)[n % 2](str(n))"
    )
    assert errors == ""
    assert lines == [
        *map(str, range(MARK_EVERY)),
        make_mark(MARK_EVERY),
        *map(str, range(MARK_EVERY, 60)),
        make_mark(60),
    ]


def test_outside_a_pod_nothing_is_changed() -> None:
    program = "del os.environ[COUNT_LINES]\nwith counting_lines(): output.show('a'); output.say('b')"
    assert print_in_pod(program) == (["a"], "b\n")


def test_a_process_that_ends_in_the_middle_leaves_its_last_mark() -> None:
    lines, _ = print_in_pod(
        "with counting_lines():\n  output.show('a'); sys.stderr.write('b\\n'); end_count(); os._exit(3)"
    )
    assert lines == ["a", "b", make_mark(2)]


def test_a_traceback_is_counted_and_what_follows_is_printed_as_before() -> None:
    program = "with counting_lines():\n  sys.stderr.write('one\\ntwo')\noutput.say('after')"
    assert print_in_pod(program) == (["one", "two", make_mark(2)], "after\n")


@given(st.integers(0, 400), st.sets(st.integers(0, 399)))
def test_every_line_that_is_lost_before_a_mark_is_told(printed: int, lost: set[int]) -> None:
    """What is shown and what is told to be missing add up to what was printed, up to the last mark that is read."""
    log = []
    for number in range(printed):
        log.append(str(number))
        if (number + 1) % MARK_EVERY == 0:
            log.append(make_mark(number + 1))
    log.append(make_mark(printed))
    check = LineCheck()
    shown = [line for entry in log if not (entry.isdigit() and int(entry) in lost) for line in check.take(entry)]
    came = [int(line) for line in shown if line.isdigit()]
    assert came == [number for number in range(printed) if number not in lost]
    assert len(came) + sum(int(gap[1]) for line in shown if (gap := GAP.match(line))) == printed


def test_a_mark_of_fewer_lines_than_came_is_no_gap() -> None:
    check = LineCheck()
    assert [line for entry in ("a", "b", make_mark(1), make_mark(2)) for line in check.take(entry)] == ["a", "b"]
