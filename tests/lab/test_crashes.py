"""kill -9 and interrupts at any moment: what was made is found by the next process, and removed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.benches.lab.bench import LabBench
from harness.benches.lab.processes import process_tags
from harness.model import Token
from harness.system import settings

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]
PROVISION = """
from harness import wiring
from harness.system import settings, signals
from harness.model import Token
bench = wiring.lab_bench(settings.load())
with signals.raising_on_stop_signals():
    bench.provision(Token(run="test", host="a"), "lab.phc", lambda line: print(line, flush=True))
print("provisioned", flush=True)
"""
PREPARE = """
from harness import wiring
from harness.system import settings, signals
with signals.raising_on_stop_signals():
    wiring.lab_bench(settings.load()).prepare(["lab.old-driver"], lambda line: print(line, flush=True))
"""


def start(program: str, environ: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program], env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def hear(child: "subprocess.Popen[str]", words: str) -> list[str]:
    """Read the child's lines until one holds the words."""
    lines: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line.rstrip())
        if words in line:
            return lines
    raise AssertionError(lines)


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
@pytest.mark.parametrize(
    "moment", ["making its keys", "restoring", "giving it", "plugging", "switching", "provisioned"]
)
def test_a_maker_killed_at_any_moment_leaves_nothing_that_is_not_found(
    bench: LabBench, tmp_path: Path, moment: str, pause_s: float
) -> None:
    bench.prepare(["lab.phc"], print)
    child = start(PROVISION, os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")})
    hear(child, moment)
    time.sleep(pause_s)
    child.kill()
    child.wait()
    assert {left.token for left in bench.resources()} == {"test/a/1"}
    bench.release(Token(run="test", host="a"))
    assert bench.resources() == []
    assert process_tags.running_processes(lambda marked: str(tmp_path) in str(marked.folder)) == []


@pytest.fixture
def own_cache(tmp_path: Path, bench: LabBench) -> Iterator[dict[str, str]]:
    """An environment with a cache of its own that has QEMU and the image, but no golden guest."""
    bench.prepare(["lab.old-driver"], print)
    cache = tmp_path / "cache" / "lab"
    cache.mkdir(parents=True)
    shared = settings.load().cache_dir / "lab"
    for part in (*shared.glob("qemu-????????????"), *shared.glob("image-????????????"), shared / "acceleration.json"):
        if part.exists():
            (cache / part.name).symlink_to(part)
    yield os.environ | {"PTP_HARNESS_CACHE_DIR": str(cache.parent), "PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    for half in cache.glob("*.half"):
        process_tags.end_all(half)


def workers(cache: str) -> list[process_tags.TaggedProcess]:
    return process_tags.running_processes(lambda marked: str(marked.folder).startswith(cache))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_golden_build_leaves_no_process(own_cache: dict[str, str], number: signal.Signals) -> None:
    cache = own_cache["PTP_HARNESS_CACHE_DIR"]
    child = start(PREPARE, own_cache)
    hear(child, "booting it once")
    give_up = time.monotonic() + 30
    while not workers(cache):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    child.send_signal(number)
    assert child.wait(timeout=60) != 0
    assert (workers(cache), list(Path(cache, "lab").glob("*.half"))) == ([], [])


def test_a_golden_guest_left_half_built_by_kill_9_is_built_again(own_cache: dict[str, str]) -> None:
    cache = own_cache["PTP_HARNESS_CACHE_DIR"]
    child = start(PREPARE, own_cache)
    hear(child, "booting it once")
    time.sleep(2)
    child.kill()
    child.wait()
    orphans = workers(cache)
    assert {orphan.role for orphan in orphans} == {"golden", "console"}
    second = start(PREPARE, own_cache)
    said = hear(second, "booting it once")
    assert any("was left half done; it is thrown away and built again" in line for line in said)
    assert not any(orphan.process.alive() for orphan in orphans)
    hear(second, "saving it")
    assert second.wait(timeout=120) == 0
    assert len(list(Path(cache, "lab").glob("golden-stable-*/memory"))) == 1
    assert workers(cache) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_image_build_leaves_no_mount(own_cache: dict[str, str], number: signal.Signals) -> None:
    cache = own_cache["PTP_HARNESS_CACHE_DIR"]
    for image in Path(cache, "lab").glob("image-*"):
        image.unlink()
    child = start(PREPARE, own_cache)
    hear(child, "building the guest image")
    give_up = time.monotonic() + 120
    while not list(Path(cache, "lab").glob("image-*.half/root/proc/self")) and time.monotonic() < give_up:
        time.sleep(0.1)
        if list(Path(cache, "lab").glob("image-*.half/root/usr/bin/python3*")):
            break
    child.send_signal(number)
    assert child.wait(timeout=60) != 0
    if number == signal.SIGKILL:
        again = start(PREPARE, own_cache)
        assert any("thrown away" in line for line in hear(again, "building the guest image"))
        again.send_signal(signal.SIGINT)
        assert again.wait(timeout=60) != 0
    assert cache not in Path("/proc/self/mountinfo").read_text()
    assert (workers(cache), list(Path(cache, "lab").glob("*.half"))) == ([], [])
