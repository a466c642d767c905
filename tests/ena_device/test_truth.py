"""The truth page: both sides' bounds hold the offset that a stand-in guest really has."""

import json
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ena_device.running import LAB, RunningDevice
from ena_device.truth import GUEST_TIME, PAGE_WORDS, measure

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page"
    path.write_bytes(bytes(4096))
    return path


@pytest.fixture
def guest_program(tmp_path: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc) to build lab/image/truth.c")
    program = tmp_path / "truth"
    source = ROOT / "lab" / "image" / "truth.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return program


@pytest.mark.parametrize("offset_ns", [0, 5_000_000, -5_000_000])
def test_bounds_hold_the_offset(socket_device: RunningDevice, page: Path, guest_program: Path, offset_ns: int) -> None:
    """The stand-in guest runs on this machine: its clock is the host's, so the device's offset is what is seen."""
    socket_device.ask(offset_ns=offset_ns)
    guest = subprocess.Popen([guest_program, page, "4"])
    argv = [sys.executable, "-m", "ena_device.truth", "--page", page, "--control", socket_device.control]
    env = {**os.environ, "PYTHONPATH": str(LAB)}
    host = subprocess.run([*argv, "--seconds", "3"], env=env, capture_output=True, text=True, check=True, timeout=20)
    guest.wait()
    last = json.loads(host.stdout.splitlines()[-1])
    assert last.keys() == {"at", "low_ns", "high_ns", "seen", "guest_seen"}
    assert min(last["seen"], last["guest_seen"]) > 10  # hundreds, where others leave them the processor
    assert -offset_ns - 100_000 < last["low_ns"] <= last["high_ns"] + 50_000
    assert last["high_ns"] < -offset_ns + 100_000


def test_silence_is_no_bound(socket_device: RunningDevice, page: Path) -> None:
    with page.open("r+b") as file:
        words = memoryview(mmap.mmap(file.fileno(), PAGE_WORDS * 8)).cast("q")
    words[GUEST_TIME] = 12345  # left over from an earlier run
    (bounds,) = measure(words, socket_device.control, 1)
    assert (bounds.low_ns, bounds.high_ns, bounds.seen, bounds.guest_seen) == (None, None, 0, 0)


def test_device_that_is_not_there(page: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "ena_device.truth", "--page", page, "--control", tmp_path / "none"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(LAB)}, capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such file or directory" in done.stderr
