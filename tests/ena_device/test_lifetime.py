"""When the device ends, what it leaves behind, and what it costs while it waits."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ena_device.doorbell import IN_USE_S, PollPauses
from ena_device.driver import ProgramDriver
from ena_device.lifetime import WatchedProcess, start_ticks
from ena_device.peer import Peer
from ena_device.running import LAB, RunningDevice, wait_for

Start = Callable[..., RunningDevice]
Connect = Callable[[RunningDevice], ProgramDriver]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def core_of(pid: int) -> int:
    """The core that a process ran on last: field 39 of proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[36])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "ena_device", *options]
    env = {**os.environ, "PYTHONPATH": str(LAB)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=10, check=False)


@pytest.fixture
def guest() -> "subprocess.Popen[bytes]":
    """A process to end with."""
    return subprocess.Popen(["sleep", "60"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(device: RunningDevice, connect: Connect, number: int) -> None:
    driver = connect(device)
    driver.configure_phc()
    watchers = device.children()
    device.process.send_signal(number)
    assert device.process.wait(timeout=5) == 0
    wait_for(lambda: not any(map(alive, watchers)), "the watcher ends")
    assert not Path(device.socket).exists()
    assert not Path(device.control).exists()


def test_watcher_dies_with_a_killed_device(mapped_device: RunningDevice, connect: Connect) -> None:
    connect(mapped_device).configure_phc()
    (watcher,) = mapped_device.children()
    mapped_device.kill()
    wait_for(lambda: not alive(watcher), "the watcher ends")


def test_killed_watcher_is_replaced(mapped_device: RunningDevice, connect: Connect) -> None:
    driver = connect(mapped_device)
    driver.configure_phc()
    (watcher,) = mapped_device.children()
    os.kill(watcher, signal.SIGKILL)
    wait_for(lambda: mapped_device.children() not in ([], [watcher]), "another watcher")
    assert driver.read_phc() is not None


def test_device_starts_over_the_socket_of_a_killed_one(start: Start) -> None:
    start().kill()
    assert start().ask()["connected"] is False


def test_device_does_not_push_another_aside(start: Start) -> None:
    device = start()
    second = run("--socket", device.socket, "--control", device.control + "2")
    message = f"ena_device: another process listens on {device.socket}: end it, or use another path\n"
    assert (second.returncode, second.stderr) == (2, message)
    third = run("--socket", device.socket + "2", "--control", device.control)
    assert third.returncode == 2
    assert not Path(device.socket + "2").exists()
    assert device.ask()["connected"] is False


def test_ending_leaves_the_socket_of_a_successor(start: Start, tmp_path: Path) -> None:
    device = start()
    Path(device.socket).unlink()
    Path(device.control).unlink()
    successor = start()
    assert device.end() == 0
    assert successor.ask()["connected"] is False
    with Peer(successor.socket) as peer:
        assert peer.greet().error == 0


@pytest.mark.parametrize("length", [108, 300])
def test_socket_path_too_long(tmp_path: Path, length: int) -> None:
    path = str(tmp_path / "x").ljust(length, "x")
    refused = run("--socket", path, "--control", str(tmp_path / "c"))
    message = f"ena_device: socket path of {length} bytes, at most 107 possible: {path}\n"
    assert (refused.returncode, refused.stderr) == (2, message)


def test_socket_path_just_short_enough(start: Start, tmp_path: Path) -> None:
    name = "n" * (107 - len(str(tmp_path)) - 1 - len(".sock"))
    device = start(name=name)
    assert len(device.socket) == 107
    with Peer(device.socket) as peer:
        assert peer.greet().error == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "odd"], "invalid choice: 'odd'"),
        (["--mac", "02:00"], "invalid _mac value: '02:00'"),
        (["--error-bound-ns", "-1"], "error_bound_ns: -1, an integer from 0 to 4294967294 expected"),
        (["--end-with", "4194304"], "no process 4194304 to end with"),
        (["--rest-us", "-5"], "invalid _pause_us value: '-5'"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: list[str], message: str) -> None:
    refused = run("--socket", str(tmp_path / "s"), "--control", str(tmp_path / "c"), *options)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    refused = run("--socket", str(tmp_path / "no" / "s"), "--control", str(tmp_path / "c"))
    message = f"ena_device: cannot listen on {tmp_path}/no/s: No such file or directory\n"
    assert (refused.returncode, refused.stderr) == (2, message)


def test_ends_with_its_guest(start: Start, connect: Connect, guest: "subprocess.Popen[bytes]") -> None:
    device = start("--end-with", str(guest.pid))
    connect(device).configure_phc()
    watchers = device.children()
    assert device.ask()["end_with"] == [guest.pid]
    guest.kill()  # stays a zombie until it is waited for: the device must not wait for that
    assert device.process.wait(timeout=5) == 0
    guest.wait()
    wait_for(lambda: not any(map(alive, watchers)), "the watcher ends")
    assert not Path(device.socket).exists()


def test_told_later_to_end_with_its_guest(device: RunningDevice, guest: "subprocess.Popen[bytes]") -> None:
    assert device.ask(end_with=guest.pid)["end_with"] == [guest.pid]
    assert device.ask(end_with=guest.pid)["end_with"] == [guest.pid]
    guest.kill()
    assert device.process.wait(timeout=5) == 0
    guest.wait()


def test_without_a_guest_to_end_with_it_goes_on(device: RunningDevice, guest: "subprocess.Popen[bytes]") -> None:
    guest.kill()
    guest.wait()
    time.sleep(0.3)
    assert device.ask()["connected"] is False


def test_start_of_a_process(guest: "subprocess.Popen[bytes]") -> None:
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(start_ticks(guest.pid) / TICKS_PER_S - boot_s) < 5
    watched = WatchedProcess(guest.pid)
    assert (watched.pid, watched.start_ticks) == (guest.pid, start_ticks(guest.pid))
    watched.close()
    guest.kill()
    guest.wait()


@pytest.mark.parametrize(
    ("quiet_s", "rest_s"),
    [(0.0, 10e-6), (0.0019, 10e-6), (0.0021, 150e-6), (IN_USE_S, 150e-6), (IN_USE_S + 0.001, 2e-3), (1e9, 2e-3)],
)
def test_rests_grow_with_the_quiet_time(quiet_s: float, rest_s: float) -> None:
    assert PollPauses(in_use_s=150e-6, idle_s=2e-3).pause_s(quiet_s) == rest_s
    assert PollPauses(in_use_s=0.0, idle_s=0.0).pause_s(quiet_s) == 0.0


@pytest.mark.parametrize("options", [["--doorbell", "socket"], ["--rest-us", "2000"]])
def test_costs_little_when_idle(start: Start, connect: Connect, options: list[str]) -> None:
    """Below 2 % of a core on a quiet machine; the limit here allows for a busy one.

    The mapped doorbell rests from the start as it does after a minute without requests, so that the test need not wait.
    """
    device = start(*options)
    driver = connect(device)
    driver.configure_phc()
    assert driver.read_phc() is not None
    processes = [device.process.pid, *device.children()]
    before = sum(map(cpu_s, processes))
    time.sleep(3)
    assert (sum(map(cpu_s, processes)) - before) / 3 < 0.04


def test_a_guest_on_the_core_of_the_watcher_sees_its_answer_at_once(
    mapped_device: RunningDevice, connect: Connect
) -> None:
    """Not only when the watcher takes the burst for ended: chronyd would be a millisecond off."""
    driver = connect(mapped_device)
    driver.configure_phc()
    (watcher,) = mapped_device.children()
    allowed = os.sched_getaffinity(0)
    try:
        for pid in (0, watcher):
            os.sched_setaffinity(pid, {min(allowed)})
        took_ns = []
        for _ in range(100):
            time.sleep(0.005)
            reading = driver.read_phc()
            assert reading is not None
            took_ns.append(reading.observed_ns - reading.requested_ns)
        assert statistics.median(took_ns) < 1e6
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_the_watcher_leaves_the_core_of_its_guest(mapped_device: RunningDevice, connect: Connect) -> None:
    """The kernel leaves a real-time process where it is: on one core the two would wait for each other's every step."""
    driver = connect(mapped_device)
    driver.configure_phc()
    (watcher,) = mapped_device.children()
    allowed = os.sched_getaffinity(0)
    try:
        for _ in range(3):
            core = core_of(watcher)
            os.sched_setaffinity(0, {core})
            give_up = time.monotonic() + 10
            while core_of(watcher) == core:
                assert time.monotonic() < give_up
                assert driver.read_phc() is not None
            assert os.sched_getaffinity(watcher) == allowed
    finally:
        os.sched_setaffinity(0, allowed)
