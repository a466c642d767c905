"""Does sample.py keep its pace, outlive its caller, and end as asked?"""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.probes import samples

OF_ALL_BOOTS = {"--stop", "--ended", "--print", "--persist", "--resume"}


def _sampler(roles: Path, output: Path, *arguments: str) -> list[str]:
    program = "sample_boots.py" if OF_ALL_BOOTS & {*arguments} else "sample.py"
    return [sys.executable, str(roles / "clock_facts/files" / program), "--output", str(output), *arguments]


def _lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(output).splitlines()]


def _text(output: Path) -> str:
    """What a file that may still be written holds."""
    return zlib.decompressobj(31).decompress(output.read_bytes()).decode()


def _wait_for(happened: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < give_up, f"{what} did not come"
        time.sleep(0.05)


def _wait_for_end(output: Path, within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        if output.exists() and '"kind": "end"' in _text(output):
            return
        time.sleep(0.05)
    raise AssertionError(f"no closing line within {within_s:g} s: {_text(output) if output.exists() else 'no file'}")


@pytest.mark.programs
def test_one_sample_a_second_between_a_head_and_a_closing_line(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    subprocess.run(_sampler(roles, output, "--duration", "4", "--foreground"), check=True, timeout=30)
    head, *taken, closing = _lines(output)
    assert {key: head[key] for key in ("kind", "schema", "device", "interval_s", "duration_s")} == {
        "kind": "start", "schema": 3, "device": "/dev/ptp_ena", "interval_s": 1.0, "duration_s": 4.0,
    }  # fmt: skip
    assert head["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert [sample["slot"] for sample in taken] == [0, 1, 2, 3]
    assert closing == {"kind": "end", "samples": 4, "slots": 4, "reason": "done"}
    for sample in taken:
        # Absolute deadlines: lateness does not add up.
        late_ns = sample["mono_ns"] - taken[0]["mono_ns"] - sample["slot"] * 10**9
        assert abs(late_ns) < 300_000_000


def test_our_probes_understand_it(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    subprocess.run(_sampler(roles, output, "--duration", "2", "--foreground"), check=True, timeout=30)
    taken, unparsed, slots = samples.read_samples(_text(output), where="samples.jsonl")
    assert (len(taken), unparsed, slots) == (2, (), 2)


@pytest.mark.programs
def test_it_outlives_the_session_that_started_it(roles: Path, tmp_path: Path) -> None:
    """As when sshd's session is cut: the caller's process group is gone."""
    output = tmp_path / "samples.jsonl.gz"
    command = " ".join(_sampler(roles, output, "--duration", "3"))
    caller = subprocess.Popen(["sh", "-c", f"{command}; sleep 60"], start_new_session=True, stdout=subprocess.PIPE)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    os.killpg(caller.pid, signal.SIGHUP)
    assert caller.wait(5) == -signal.SIGHUP
    assert os.getsid(pid) != caller.pid
    _wait_for_end(output, within_s=20)
    assert _lines(output)[0]["pid"] == pid
    assert _lines(output)[-1] == {"kind": "end", "samples": 3, "slots": 3, "reason": "done"}


def test_its_caller_does_not_wait_for_it(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    begun = time.monotonic()
    # Captured output: a sampler that kept it open would hold the caller for the whole 5 s.
    subprocess.run(_sampler(roles, output, "--duration", "5"), check=True, timeout=30, capture_output=True)
    assert time.monotonic() - begun < 3
    subprocess.run(_sampler(roles, output, "--stop"), check=True, timeout=30)


def test_sigterm_ends_it_with_its_closing_line(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    done = subprocess.run(
        _sampler(roles, output, "--duration", "600"), check=True, timeout=30, capture_output=True, text=True
    )
    time.sleep(1.5)
    os.kill(int(done.stdout), signal.SIGTERM)
    _wait_for_end(output, within_s=10)
    closing = _lines(output)[-1]
    assert closing["reason"] == "stopped"
    assert closing["samples"] == len(_lines(output)) - 2


def test_the_seconds_of_a_stall_are_missing(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    started = subprocess.run(
        _sampler(roles, output, "--duration", "7"), check=True, timeout=30, capture_output=True, text=True
    )
    pid = int(started.stdout)
    time.sleep(1.6)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(3.5)
    os.kill(pid, signal.SIGCONT)
    _wait_for_end(output, within_s=20)
    _head, *taken, closing = _lines(output)
    slots = [sample["slot"] for sample in taken if sample["kind"] == "sample"]
    assert (closing["slots"], closing["samples"]) == (7, len(slots))
    missing = sorted(set(range(7)) - set(slots))
    assert missing == list(range(missing[0], missing[0] + len(missing))), "the stall has taken these"
    assert 3 <= len(missing) <= 4
    read, _, counted = samples.read_samples(_text(output), where="samples.jsonl")
    assert ([sample.slot for sample in read], counted) == (slots, 7)


def test_a_stall_at_the_end_is_missing_too(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    started = subprocess.run(
        _sampler(roles, output, "--duration", "4"), check=True, timeout=30, capture_output=True, text=True
    )
    time.sleep(1.6)
    os.kill(int(started.stdout), signal.SIGSTOP)
    time.sleep(3)
    os.kill(int(started.stdout), signal.SIGCONT)
    _wait_for_end(output, within_s=20)
    read, _, counted = samples.read_samples(_text(output), where="samples.jsonl")
    assert (len(read), counted) == (2, 4)


def test_a_second_one_is_refused_and_stop_makes_room(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    subprocess.run(_sampler(roles, output, "--duration", "600"), check=True, timeout=30, capture_output=True)
    second = subprocess.run(_sampler(roles, output, "--duration", "1"), timeout=30, capture_output=True, text=True)
    assert (second.returncode, second.stderr) == (1, f"another sampler writes to {output}: stop it with --stop\n")
    subprocess.run(_sampler(roles, output, "--stop"), check=True, timeout=30)
    assert _lines(output)[-1]["reason"] == "stopped"
    subprocess.run(_sampler(roles, output, "--duration", "1", "--foreground"), check=True, timeout=30)
    assert _lines(output)[-1] == {"kind": "end", "samples": 1, "slots": 1, "reason": "done"}


def test_stopping_where_nothing_samples_is_no_error(roles: Path, tmp_path: Path) -> None:
    subprocess.run(_sampler(roles, tmp_path / "none.jsonl.gz", "--stop"), check=True, timeout=30)


def test_a_pace_beyond_the_clocks_budget_is_refused(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    refused = subprocess.run(_sampler(roles, output, "--interval", "0.1"), timeout=30, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--interval must be at least 1" in refused.stderr
    assert not output.exists()


def test_a_clock_that_is_not_there_gives_its_errno(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    command = _sampler(
        roles, output, "--duration", "1", "--foreground", "--device", "/dev/none", "--clock-name", "none"
    )
    subprocess.run(command, check=True, timeout=30)
    sample = _lines(output)[1]
    assert sample["phc"] == {"rc": 2, "err": "[Errno 2] there is no PTP clock"}
    assert (sample["error_bound"], sample["stats"]) == (None, None)


def test_a_sample_tells_what_steers_the_clock_and_what_the_processors_waited_for(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    subprocess.run(_sampler(roles, output, "--duration", "1", "--foreground"), check=True, timeout=30)
    (kernel,) = [line["kernel"] for line in _lines(output) if line["kind"] == "sample"]
    assert set(kernel["adjtimex"]) == {"state", "freq", "maxerror", "status", "tai"}
    assert 0 <= kernel["adjtimex"]["maxerror"] <= 16_000_000  # NTP_PHASE_LIMIT of the kernel, in microseconds
    assert kernel["cpu"].split()[0] == "cpu"
    assert len(kernel["cpu"].split()) >= 9, "the eighth number is stolen time"
    if Path("/proc/pressure/cpu").exists():
        assert kernel["pressure"].startswith("some avg10=")


@pytest.mark.programs
def test_it_goes_on_after_it_was_killed_with_the_machine(roles: Path, tmp_path: Path) -> None:
    """As its unit starts it after a reboot: in another file, as the first one was told, in the slots that are left."""
    output = tmp_path / "samples.jsonl.gz"
    asked = ["--duration", "8", "--reads", "7", "--device", "/dev/none", "--clock-name", "none"]
    started = subprocess.run(_sampler(roles, output, *asked), check=True, timeout=30, capture_output=True, text=True)
    time.sleep(2.5)
    os.kill(int(started.stdout), signal.SIGKILL)
    assert subprocess.run(_sampler(roles, output, "--ended"), check=False, timeout=30).returncode == 1
    subprocess.run(_sampler(roles, output, "--resume"), check=True, timeout=30)
    after = Path(f"{output}.1")
    head, *taken, closing = _lines(after)
    assert (head["reads"], head["device"], head["slot"]) == (7, "/dev/none", taken[0]["slot"])
    assert (closing["slots"], closing["reason"]) == (8, "done")
    assert subprocess.run(_sampler(roles, output, "--ended"), check=False, timeout=30).returncode == 0
    printed = subprocess.run(_sampler(roles, output, "--print"), check=True, timeout=30, capture_output=True, text=True)
    read, unparsed, slots = samples.read_samples(printed.stdout, where="samples.jsonl")
    assert (unparsed, slots) == ((), 8)
    assert [sample.boot for sample in read] == sorted(sample.boot for sample in read)
    beyond = [sample.mono_ns - read[0].mono_ns - (sample.slot - read[0].slot) * 10**9 for sample in read]
    assert max(map(abs, beyond)) < 300_000_000, "one series on one axis of time"
    subprocess.run(_sampler(roles, output, "--resume"), check=True, timeout=30)
    assert not Path(f"{output}.2").exists(), "nothing is left to sample"


def test_a_machine_that_ends_is_no_end_of_sampling(roles: Path, tmp_path: Path) -> None:
    """systemd ends programs with SIGTERM before a reboot; only --stop ends a sampler that outlives it."""
    output = tmp_path / "samples.jsonl.gz"
    subprocess.run(_sampler(roles, output, "--duration", "600"), check=True, timeout=30, capture_output=True)
    time.sleep(1.2)
    os.kill(_lines(output)[0]["pid"], signal.SIGKILL)
    again = subprocess.Popen(_sampler(roles, output, "--resume"))
    after = Path(f"{output}.1")
    _wait_for(lambda: after.exists() and len(_lines(after)) > 1, "a sample of the second boot")
    again.terminate()
    assert again.wait(10) == 0
    assert [line["kind"] for line in _lines(after)][-1] == "pause"
    third = subprocess.Popen(_sampler(roles, output, "--resume"))
    _wait_for(lambda: Path(f"{output}.2").exists() and len(_lines(Path(f"{output}.2"))) > 1, "the third boot's sample")
    subprocess.run(_sampler(roles, output, "--stop"), check=True, timeout=30)
    assert third.wait(10) == 0
    assert _lines(Path(f"{output}.2"))[-1]["reason"] == "stopped"
    assert not Path(f"{output}.stop").exists()


@pytest.mark.parametrize("reads", ["0", "11"])
def test_more_readings_than_the_clocks_budget_allows_are_refused(roles: Path, tmp_path: Path, reads: str) -> None:
    command = _sampler(roles, tmp_path / "samples.jsonl.gz", "--reads", reads)
    refused = subprocess.run(command, timeout=30, capture_output=True, text=True)
    assert (refused.returncode, "--reads must be from 1 to 10" in refused.stderr) == (2, True)


def test_a_sampler_that_no_boot_would_find_does_not_promise_to_go_on(roles: Path, tmp_path: Path) -> None:
    command = _sampler(roles, tmp_path / "samples.jsonl.gz", "--persist")
    refused = subprocess.run(command, timeout=30, capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"--persist needs the sampler in {tmp_path}/samples.jsonl.gz.d" in refused.stderr


def test_it_tells_its_own_processor_time(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl.gz"
    subprocess.run(_sampler(roles, output, "--duration", "2", "--foreground"), check=True, timeout=30)
    first, second = [line["cpu_ns"] for line in _lines(output) if line["kind"] == "sample"]
    assert 0 < first < second < 10**9
    assert [sample.cpu_ns for sample in samples.read_samples(_text(output), where="s")[0]] == [first, second]
