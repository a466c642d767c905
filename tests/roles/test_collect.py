"""Does collect.py write down what a host says, whatever the host lacks?"""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from harness.probes import facts, system

EVERYWHERE = {
    "uname", "os-release", "boot", "kernel-config", "machine", "pci", "modinfo", "module", "module-options",
    "devlink", "ptp-class", "ptp-links", "kernel-log", "driver-word", "linuxptp", "chrony-version", "chronyc",
    "ntpdata", "chrony-log", "chrony-phc", "services", "ntp-probe", "adjtimex", "phc-reads",
}  # fmt: skip
AHEAD_NS = 7_000_000_000


def _collect(roles: Path, *arguments: str) -> dict[str, dict[str, object]]:
    script = (roles / "clock_facts/files/collect.py").read_text()
    done = subprocess.run(
        [sys.executable, "-I", "-", *arguments], input=script, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    collected = json.loads(done.stdout)
    assert set(collected) == {"schema", "utc_ns", "mono_ns", "captures"}
    assert collected["schema"] == 1
    assert abs(collected["utc_ns"] - time.time_ns()) < 60 * 10**9
    return dict(collected["captures"])


@pytest.fixture
def ntp_server() -> Iterator[str]:
    """An NTP server of stratum 1 whose clock is 7 s ahead of ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def answer() -> None:
            _question, asker = udp.recvfrom(1024)
            now = time.time_ns() + AHEAD_NS
            stamp = struct.pack("!II", now // 10**9 + 2_208_988_800, (now % 10**9 << 32) // 10**9)
            udp.sendto(b"\x24\x01" + bytes(30) + stamp + stamp, asker)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{udp.getsockname()[1]}"
        thread.join(5)


def test_every_capture_is_there_and_has_the_same_members(roles: Path) -> None:
    captures = _collect(roles, "--ntp", "127.0.0.1:1")
    per_device = {name for name in captures if "/" in name}
    assert set(captures) - per_device == EVERYWHERE
    for name, capture in captures.items():
        assert set(capture) == {"command", "rc", "out", "err"}, name
        assert isinstance(capture["out"], str), name
        assert isinstance(capture["err"], str), name
        if capture["rc"] is None:
            assert "not found" in str(capture["err"]) or "did not end" in str(capture["err"]), name


def test_our_probes_understand_every_line(roles: Path) -> None:
    captures = _collect(roles, "--ntp", "127.0.0.1:1")
    found, unparsed = facts.read_facts(json.dumps({"schema": 1, "captures": captures}), where="facts.json")
    assert unparsed == ()
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_file_that_is_not_there_gives_its_errno(roles: Path) -> None:
    word = _collect(roles, "--ntp", "127.0.0.1:1")["driver-word"]
    if Path("/var/lib/ptp-harness/ena_driver.json").exists():
        pytest.skip("this machine has been configured by the role ena_driver")
    assert word["rc"] == 2
    assert word["out"] == ""


def test_an_ntp_server_is_asked_for_stratum_and_offset(roles: Path, ntp_server: str) -> None:
    out = str(_collect(roles, "--ntp", ntp_server)["ntp-probe"]["out"])
    words = out.split()
    assert words[:3] == [ntp_server, "stratum", "1"]
    assert words[3::2] == ["offset_ns", "delay_ns"]
    assert abs(int(words[4]) - AHEAD_NS) < 500_000_000
    assert 0 <= int(words[6]) < 1_000_000_000


def test_an_ntp_server_that_is_silent_is_said_to_be(roles: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{udp.getsockname()[1]}"
        assert _collect(roles, "--ntp", server)["ntp-probe"]["out"] == f"{server} error timed out\n"


def test_port_123_is_not_spelled_out(roles: Path) -> None:
    out = str(_collect(roles, "--ntp", "127.0.0.1:123")["ntp-probe"]["out"])
    assert out.startswith("127.0.0.1 ")


def test_a_unit_that_systemd_starts_again_and_again_is_told_apart(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("clock_facts/files/collect.py")
    now_us = int(time.monotonic() * 1e6)
    shown = (
        "Id=ptp4l.service\nSubState=auto-restart\nNRestarts=7\nActiveEnterTimestampMonotonic=0\n\n"
        f"Id=phc2sys.service\nSubState=running\nNRestarts=9\nActiveEnterTimestampMonotonic={now_us}\n\n"
        f"Id=ts2phc.service\nSubState=running\nNRestarts=9\nActiveEnterTimestampMonotonic={now_us - 3_600_000_000}\n\n"
        f"Id=ntpd.service\nSubState=running\nNRestarts=0\nActiveEnterTimestampMonotonic={now_us}\n"
    )
    listed = (
        "ptp4l.service loaded activating auto-restart PTP\nphc2sys.service loaded active running x\n"
        "ts2phc.service loaded active running x\nntpd.service loaded active running x\n"
        "chrony.service loaded inactive dead x\ngone.service not-found inactive dead x\n"
    )

    def run(*argv: str) -> dict[str, object]:
        return {"command": " ".join(argv), "rc": 0, "out": shown if "show" in argv else listed, "err": ""}

    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "clock_processes", list)
    assert script.clock_services()["out"] == (
        "ptp4l.service auto-restart\nphc2sys.service auto-restart\nts2phc.service active\nntpd.service active\n"
        "chrony.service inactive\n"
    )


def test_the_kernel_is_asked_for_leap_seconds(roles: Path) -> None:
    captured = _collect(roles, "--ntp", "127.0.0.1:1")["adjtimex"]
    assert (captured["rc"], system.parse_leap(str(captured["out"]), "adjtimex")) == (0, False)
