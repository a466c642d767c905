"""The progress of preparing the lab says which step it is at, and of how many."""

import re
from pathlib import Path
from typing import Any

import pytest

from harness.benches.lab.bench import LabBench
from harness.benches.lab.parts import acceleration, disk_image, golden, qemu
from harness.benches.lab.parts.build_steps import BuildSteps
from harness.benches.lab.truths.truth_model import Image, Kernel
from harness.system import settings


def test_each_line_carries_the_number_of_its_step_and_the_last_one_the_time() -> None:
    lines: list[str] = []
    steps = BuildSteps(lines.append, total=2)
    with steps.step("guest image") as progress:
        progress("building the guest image, usually 60 s")
    assert lines == ["step 1 of 2: building the guest image, usually 60 s", "step 1 of 2: guest image: done in 0 s"]


def test_a_step_whose_part_is_there_already_says_nothing_and_counts() -> None:
    lines: list[str] = []
    steps = BuildSteps(lines.append, total=2)
    with steps.step("QEMU"):
        pass
    with steps.step("guest image") as progress:
        progress("building it")
    assert lines[0] == "step 2 of 2: building it"


def test_a_step_that_fails_is_not_called_done() -> None:
    lines: list[str] = []

    def fail() -> None:
        with BuildSteps(lines.append, total=1).step("QEMU") as progress:
            progress("unpacking it")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert lines == ["step 1 of 1: unpacking it"]


def test_without_a_total_lines_stay_as_they_are() -> None:
    lines: list[str] = []
    with BuildSteps(lines.append).step("QEMU") as progress:
        progress("unpacking it")
    assert lines == ["unpacking it"]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that the bench asks for, each of which says one line and builds nothing."""
    parts: list[str] = []

    def build(name: str, progress: Any) -> str:
        parts.append(name)
        progress(f"building the {name}")
        return name

    def build_golden(_cache: Path, _used: object, base: str, kernel: Kernel, *, progress: Any, **_: object) -> str:
        return build(f"golden guest {kernel} of {base}", progress)

    monkeypatch.setattr(qemu, "ensure", lambda _cache, progress: build("QEMU", progress))
    monkeypatch.setattr(
        disk_image, "ensure", lambda _cache, _assets, progress, image=Image.LAB: build(str(image), progress)
    )
    monkeypatch.setattr(acceleration, "choose_accelerator", lambda *_: "tcg")
    monkeypatch.setattr(golden, "ensure", build_golden)
    return parts


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabBench:
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PTP_HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(LabBench, "require_tools", lambda self: None)
    return LabBench(settings.load())


def test_types_of_the_narrow_image_need_no_wide_one(bench: LabBench, built: list[str]) -> None:
    lines: list[str] = []
    bench.prepare(["lab.phc", "lab.driver-off", "lab.no-phc", "lab.drifting"], lines.append)
    assert built == ["QEMU", "image", "golden guest backports of image"]
    numbers = [match[0] for line in lines if (match := re.match(r"step \d of \d", line))]
    assert numbers == [f"step {number} of 4" for number in (1, 1, 2, 2, 4, 4)]
    assert all(len(line) <= 80 for line in lines if line.startswith("step"))


def test_a_type_of_the_wide_image_adds_that_image_as_a_step(bench: LabBench, built: list[str]) -> None:
    lines: list[str] = []
    bench.prepare(["lab.phc", "lab.other-clock"], lines.append)
    assert {"image-wide", "golden guest backports of image"} <= set(built)
    assert any(re.match(r"step \d of 6: building the image-wide", line) for line in lines)


def test_a_type_of_a_clouds_image_boots_and_needs_no_golden_guest(bench: LabBench, built: list[str]) -> None:
    lines: list[str] = []
    bench.prepare(["lab.cloud-debian-12", "lab.cloud-debian-13", "lab.cloud-no-mirror"], lines.append)
    assert sorted(built) == ["QEMU", "image", "image-debian-12", "image-debian-13"]
    assert any(re.match(r"step 5 of 5: ", line) for line in lines)
