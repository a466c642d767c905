"""Does sample.py keep its pace, outlive its caller, and end as asked?"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.probes import samples


def _sampler(roles: Path, output: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(roles / "clock_facts/files/sample.py"), "--output", str(output), *arguments]


def _lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def _wait_for_end(output: Path, within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        if output.exists() and '"kind": "end"' in output.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(
        f"no closing line within {within_s:g} s: {output.read_text() if output.exists() else 'no file'}"
    )


@pytest.mark.programs
def test_one_sample_a_second_between_a_head_and_a_closing_line(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    subprocess.run(_sampler(roles, output, "--duration", "4", "--foreground"), check=True, timeout=30)
    head, *taken, closing = _lines(output)
    assert {key: head[key] for key in ("kind", "schema", "device", "interval_s", "duration_s")} == {
        "kind": "start", "schema": 2, "device": "/dev/ptp_ena", "interval_s": 1.0, "duration_s": 4.0,
    }  # fmt: skip
    assert head["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert [sample["slot"] for sample in taken] == [0, 1, 2, 3]
    assert closing == {"kind": "end", "samples": 4, "slots": 4, "reason": "done"}
    for sample in taken:
        # Absolute deadlines: lateness does not add up.
        late_ns = sample["mono_ns"] - taken[0]["mono_ns"] - sample["slot"] * 10**9
        assert abs(late_ns) < 300_000_000


def test_our_probes_understand_it(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    subprocess.run(_sampler(roles, output, "--duration", "2", "--foreground"), check=True, timeout=30)
    taken, unparsed, slots = samples.read_samples(output.read_text(), where="samples.jsonl")
    assert (len(taken), unparsed, slots) == (2, (), 2)


@pytest.mark.programs
def test_it_outlives_the_session_that_started_it(roles: Path, tmp_path: Path) -> None:
    """As when sshd's session is cut: the caller's process group is gone."""
    output = tmp_path / "samples.jsonl"
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
    output = tmp_path / "samples.jsonl"
    begun = time.monotonic()
    # Captured output: a sampler that kept it open would hold the caller for the whole 5 s.
    subprocess.run(_sampler(roles, output, "--duration", "5"), check=True, timeout=30, capture_output=True)
    assert time.monotonic() - begun < 3
    subprocess.run(_sampler(roles, output, "--stop"), check=True, timeout=30)


def test_sigterm_ends_it_with_its_closing_line(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
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
    output = tmp_path / "samples.jsonl"
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
    read, _, counted = samples.read_samples(output.read_text(), where="samples.jsonl")
    assert ([sample.slot for sample in read], counted) == (slots, 7)


def test_a_stall_at_the_end_is_missing_too(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    started = subprocess.run(
        _sampler(roles, output, "--duration", "4"), check=True, timeout=30, capture_output=True, text=True
    )
    time.sleep(1.6)
    os.kill(int(started.stdout), signal.SIGSTOP)
    time.sleep(3)
    os.kill(int(started.stdout), signal.SIGCONT)
    _wait_for_end(output, within_s=20)
    read, _, counted = samples.read_samples(output.read_text(), where="samples.jsonl")
    assert (len(read), counted) == (2, 4)


def test_a_second_one_is_refused_and_stop_makes_room(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    subprocess.run(_sampler(roles, output, "--duration", "600"), check=True, timeout=30, capture_output=True)
    second = subprocess.run(_sampler(roles, output, "--duration", "1"), timeout=30, capture_output=True, text=True)
    assert (second.returncode, second.stderr) == (1, f"another sampler writes to {output}: stop it with --stop\n")
    subprocess.run(_sampler(roles, output, "--stop"), check=True, timeout=30)
    assert _lines(output)[-1]["reason"] == "stopped"
    subprocess.run(_sampler(roles, output, "--duration", "1", "--foreground"), check=True, timeout=30)
    assert _lines(output)[-1] == {"kind": "end", "samples": 1, "slots": 1, "reason": "done"}


def test_stopping_where_nothing_samples_is_no_error(roles: Path, tmp_path: Path) -> None:
    subprocess.run(_sampler(roles, tmp_path / "none.jsonl", "--stop"), check=True, timeout=30)


def test_a_pace_beyond_the_clocks_budget_is_refused(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    refused = subprocess.run(_sampler(roles, output, "--interval", "0.1"), timeout=30, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--interval must be at least 1" in refused.stderr
    assert not output.exists()


def test_a_clock_that_is_not_there_gives_its_errno(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    command = _sampler(
        roles, output, "--duration", "1", "--foreground", "--device", "/dev/none", "--clock-name", "none"
    )
    subprocess.run(command, check=True, timeout=30)
    sample = _lines(output)[1]
    assert sample["phc"] == {"rc": 2, "err": "[Errno 2] there is no PTP clock"}
    assert (sample["error_bound"], sample["stats"]) == (None, None)


def test_a_sample_tells_what_steers_the_clock_and_what_the_processors_waited_for(roles: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.jsonl"
    subprocess.run(_sampler(roles, output, "--duration", "1", "--foreground"), check=True, timeout=30)
    (kernel,) = [line["kernel"] for line in _lines(output) if line["kind"] == "sample"]
    assert set(kernel["adjtimex"]) == {"state", "freq", "maxerror", "status", "tai"}
    assert 0 <= kernel["adjtimex"]["maxerror"] <= 16_000_000  # NTP_PHASE_LIMIT of the kernel, in microseconds
    assert kernel["cpu"].split()[0] == "cpu"
    assert len(kernel["cpu"].split()) >= 9, "the eighth number is stolen time"
    if Path("/proc/pressure/cpu").exists():
        assert kernel["pressure"].startswith("some avg10=")
