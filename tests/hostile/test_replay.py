"""Each fuzz target reads its seeds, and some thousand mutations of them, within bounds of memory and computing time.

The mutations are the same each time. `make soak` looks on, guided by coverage.
"""

import importlib
import itertools
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from tools.fuzz import TARGETS
from tools.fuzz.replay import MOST_CPU_S, FuzzTarget, TooSlow, mutations, run_within
from tools.fuzz.steps import DeviceStep, StepKind, decoded, recorded_session, rig

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COUNTS = {"probes": 20_000, "verdicts": 60, "device": 1500, "control": 600}
MODULES = {name: cast(FuzzTarget, importlib.import_module(module)) for name, module in TARGETS.items()}


@pytest.mark.usefixtures("memory_limit")
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_reads_what_was_really_said(name: str) -> None:
    seeds = MODULES[name].seeds()
    assert len(seeds) >= 5
    for data in seeds:
        run_within(MODULES[name], data)


@pytest.mark.usefixtures("memory_limit")
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_reads_or_refuses_what_was_never_said(name: str) -> None:
    target = MODULES[name]
    for data in itertools.islice(mutations(target.seeds(), target.WORDS, 20261128), COUNTS[name]):
        try:
            run_within(target, data)
        except Exception as error:
            raise AssertionError(f"{name} does not stand {data!r}") from error


def test_the_same_number_gives_the_same_mutations() -> None:
    first, again, other = (
        list(itertools.islice(mutations([b"abc", b"defgh"], [b"word"], number), 50)) for number in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) > 40


def test_what_takes_too_long_is_found() -> None:
    class Slow:
        WORDS = (b"",)

        def seeds(self) -> list[bytes]:
            return [b""]

        def run(self, data: bytes) -> None:
            end_s = time.process_time() + MOST_CPU_S * 1.1
            while time.process_time() < end_s:
                pass

    with pytest.raises(TooSlow):
        run_within(Slow(), b"")


def test_steps_are_read_as_they_were_written() -> None:
    steps = [
        DeviceStep(kind=StepKind.MESSAGE, command=9, flags=16, descriptors=0x21, data=b"abc"),
        DeviceStep(kind=StepKind.RAW, descriptors=0x10, data=b"\xff" * 300),
        DeviceStep(kind=StepKind.MEMORY, at=0x12345, data=b"x"),
        DeviceStep(kind=StepKind.REGISTER, at=0x2C, value=0xFFFFFFFF),
        DeviceStep(kind=StepKind.CONNECT),
        DeviceStep(kind=StepKind.LINE, data=b'{"state": true}'),
        DeviceStep(kind=StepKind.CHUNK, data=b"{"),
        DeviceStep(kind=StepKind.CLIENT),
        DeviceStep(kind=StepKind.FRAME, data=b"\xff" * 60),
    ]
    assert list(decoded(b"".join(step.encoded() for step in steps))) == steps


def test_a_recorded_session_reaches_the_clock_and_the_queues() -> None:
    """Else its mutations would all end at the door."""
    with rig() as device:
        configured = False
        for step in recorded_session():
            device.do(step)
            configured |= device.device.phc_configured
        state = device.server.state()
    assert (configured, state["asked"], state["resets"]) == (True, 1, [0, 3])
    assert (state["tx_packets"], state["rx_packets"], state["rx_dropped"]) == (1, 1, 0)


@pytest.mark.parametrize("arguments", [["control", "--replay", "20"], ["probes", "--input", "README.md"]])
def test_a_target_runs_alone_without_a_fuzzer(arguments: list[str]) -> None:
    argv = [sys.executable, "-m", "tools.fuzz", *arguments]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "nothing is wrong" in ran.stdout


def test_make_soak_fuzzes_every_target() -> None:
    named = re.search(r"^FUZZ := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    assert named[1].split() == list(TARGETS)
