"""Does sample_asked.py answer each tick once, keep the clock's budget, and end with its asker?"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = pytest.mark.programs

OLDEST = Path.home() / ".pyenv/versions/3.9.18/bin/python3.9"
PYTHONS = [sys.executable, *([str(OLDEST)] if OLDEST.exists() else [])]


class Asked:
    """A sampler that is asked; `source` is where the ticks go."""

    def __init__(self, program: Path, *arguments: str, python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, str(program), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.start = self.read()

    @property
    def source(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def ask(self, *lines: str) -> None:
        self.source.write("".join(f"{line}\n" for line in lines).encode())
        self.source.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        record: dict[str, Any] = json.loads(self.process.stdout.readline())
        return record

    def rest(self) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        return [json.loads(line) for line in self.process.stdout.read().splitlines()]


@pytest.fixture
def program(roles: Path) -> Path:
    return roles / "clock_facts/files/sample_asked.py"


@pytest.fixture
def asked(program: Path) -> Iterator[Asked]:
    sampler = Asked(program)
    yield sampler
    sampler.process.kill()
    sampler.process.wait()


@pytest.mark.parametrize("python", PYTHONS)
def test_each_question_has_one_answer_with_its_tick_and_the_end_of_questions_ends_it(
    program: Path, python: str
) -> None:
    asked = Asked(program, python=python)
    assert asked.start["kind"] == "start"
    assert asked.start["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    asked.ask("1795233824")
    first = asked.read()
    asked.ask('{"tick": 1795233825}')
    second = asked.read()
    assert [(answer["kind"], answer["tick"]) for answer in (first, second)] == [
        ("sample", 1795233824),
        ("sample", 1795233825),
    ]
    assert {"mono_ns", "raw_ns", "boot_ns", "utc_ns", "phc", "chronyc", "kernel", "cpu_ns"} <= first.keys()
    asked.source.close()
    assert (asked.process.wait(10), asked.rest()) == (0, [])


def test_of_questions_that_waited_the_latest_alone_is_answered(asked: Asked) -> None:
    asked.ask("1")
    assert asked.read()["tick"] == 1
    asked.process.send_signal(signal.SIGSTOP)
    asked.ask("2", "3", "4")
    time.sleep(0.2)
    asked.process.send_signal(signal.SIGCONT)
    assert asked.read()["tick"] == 4
    asked.ask("5")
    assert asked.read()["tick"] == 5


@pytest.mark.parametrize("question", ["x", "-1", "1.5", "true", "[1]", '{"tick": "7"}', "7", str(2**63), "[" * 500])
def test_a_question_that_names_no_later_tick_is_refused_and_the_next_one_is_answered(
    asked: Asked, question: str
) -> None:
    asked.ask("7")
    assert asked.read()["tick"] == 7
    asked.ask(question)
    assert asked.read() == {"kind": "refused", "question": question[:100]}
    asked.ask("8")
    assert asked.read()["tick"] == 8


def test_questions_without_an_end_end_it(asked: Asked) -> None:
    asked.source.write(b"1" * 5000)
    asked.source.flush()
    assert asked.process.wait(10) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it(asked: Asked, number: signal.Signals) -> None:
    asked.process.send_signal(number)
    assert asked.process.wait(10) == 0


def test_more_readings_than_the_clock_allows_are_not_taken(program: Path) -> None:
    asked = Asked(program, "--reads", "5")
    begun, taken = time.monotonic(), 0
    for tick in range(20):
        asked.ask(str(tick))
        answer = asked.read()
        assert answer["tick"] == tick
        taken += answer["kind"] == "sample"
        assert answer["kind"] == "sample" or answer == {
            "kind": "skipped", "tick": tick, "reason": "the readings of the clock are used up"
        }  # fmt: skip
    seconds = time.monotonic() - begun
    assert 2 <= taken <= 2 + 2 * seconds


def test_it_needs_a_file_or_questions_and_no_more_reads_than_allowed(program: Path) -> None:
    for name, arguments, word in (
        ("sample.py", [], "--output"),
        ("sample_asked.py", ["--interval", "0.05"], "0.1"),
        ("sample_asked.py", ["--reads", "11"], "10"),
    ):
        argv = [sys.executable, str(program.with_name(name)), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert (done.returncode, word in done.stderr) == (2, True)
