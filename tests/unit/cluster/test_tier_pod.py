"""A pod runs a suite by pytest, streams what it prints, and leaves its JUnit; a pytest that was killed leaves none."""

import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.cluster.tier_pod import run_pytest
from harness.cluster.tier_report import judge_result
from harness.model import Outcome

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

TESTS = """
import os
import signal
import time
from pathlib import Path

import pytest


def test_good(tmp_path):
    assert tmp_path.is_dir()


def test_bad():
    assert 1 == 2


def test_environment():
    assert [name for name in os.environ if name.startswith(("PTP_HARNESS", "AWS"))] == []


@pytest.mark.truth
def test_rare():
    raise AssertionError("not selected")
"""
ENDED = """
import os, signal
def test_ended():
    os.kill(os.getpid(), signal.SIGKILL)
"""
WAITING = """
import time
def test_waiting():
    print("waits", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the image of the tests has: a source tree, and Python with pytest."""
    source = tmp_path / "source"
    (source / "tests").mkdir(parents=True)
    (source / "lab").mkdir()
    (source / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["truth: rare"]\naddopts = "-ra"\n')
    for name, content in {"all": TESTS, "ended": ENDED, "waiting": WAITING, "broken": "import nonsense\n"}.items():
        (source / "tests" / f"test_{name}.py").write_text(content)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def never() -> bool:
    return False


def test_failed_tests_are_a_result(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests get no variable of ours: no ledger of a team, no credentials."""
    monkeypatch.setenv("PTP_HARNESS_LEDGER_URL", "postgresql://team")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    lines: list[str] = []
    end = run_pytest(["tests/test_all.py"], "not truth", lines.append, never, home)
    assert end.status == 1
    assert end.result is not None
    judged = judge_result("unit", end.result, ())
    assert (judged.outcome, judged.counts) == (Outcome.FAIL, (3, 1, 0, 0))
    assert any("1 failed, 2 passed, 1 deselected" in line for line in lines)
    left = {path.name for path in (home / "source").rglob("*")}
    assert left & {"__pycache__", ".pytest_cache", ".hypothesis"} == set(), "the image's root is read-only"


def test_files_that_cannot_be_imported_are_a_result(home: Path) -> None:
    end = run_pytest(["tests/test_broken.py"], "", lambda _: None, never, home)
    assert end.status == 2
    assert end.result is not None
    assert judge_result("unit", end.result, ()).outcome is Outcome.FAIL


def test_without_junit_there_is_no_result(home: Path) -> None:
    lines: list[str] = []
    end = run_pytest(["tests/test_nowhere.py"], "", lines.append, never, home)
    assert end.status == 4
    assert end.result is None or judge_result("unit", end.result, ()).outcome is Outcome.INCONCLUSIVE
    assert any("file or directory not found" in line for line in lines)


def test_pytest_that_is_killed_leaves_no_result(home: Path) -> None:
    end = run_pytest(["tests/test_ended.py"], "", lambda _: None, never, home)
    assert (end.status, end.result) == (-signal.SIGKILL, None)


def test_a_pod_that_is_asked_to_end_interrupts_its_tests(home: Path) -> None:
    stop = threading.Event()
    begun = time.monotonic()
    seen: list[str] = []

    def read(line: str) -> None:
        seen.append(line)
        if line.endswith("waits"):  # the test has begun
            stop.set()

    end = run_pytest(["-s", "tests/test_waiting.py"], "", read, stop.is_set, home)
    assert time.monotonic() - begun < 60
    assert end.status == 2
    assert any("KeyboardInterrupt" in line for line in seen)
