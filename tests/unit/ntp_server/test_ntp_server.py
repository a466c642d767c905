"""The lab's second opinion: right answers, silence for garbage, and an end with its guest."""

import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ntp_server.packet import reply, timestamp

LAB = Path(__file__).parents[3] / "lab"
NOW_NS = 1_795_230_986_465_907_396
SECONDS_1900_TO_1970 = 2_208_988_800


def request(version: int = 4, mode: int = 3, transmitted: int = 0x1122334455667788, poll: int = 6) -> bytes:
    return struct.pack("!BBbb 36x Q", version << 3 | mode, 0, poll, -20, transmitted)


def test_timestamps_count_from_1900_with_a_binary_fraction() -> None:
    assert timestamp(0) == SECONDS_1900_TO_1970 << 32
    assert timestamp(1_500_000_000) == (SECONDS_1900_TO_1970 + 1) << 32 | 1 << 31
    assert timestamp((2**32 - SECONDS_1900_TO_1970) * 10**9) == 0  # the next era begins on 2036-02-07


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_client_is_answered_with_its_own_time_and_ours(version: int) -> None:
    answer = reply(request(version), received_utc_ns=NOW_NS, sent_utc_ns=NOW_NS + 1000)
    assert answer is not None
    first, stratum, poll, precision, delay, dispersion, reference, updated, *times = struct.unpack(
        "!BBbb II 4s Q QQQ", answer
    )
    assert (first >> 6, first >> 3 & 7, first & 7) == (0, version, 4)
    assert (stratum, poll, precision, delay, dispersion, reference) == (1, 6, -20, 0, 7, b"HOST")
    assert times == [0x1122334455667788, timestamp(NOW_NS), timestamp(NOW_NS + 1000)]
    assert 0 <= times[1] - updated < 1 << 32


@pytest.mark.parametrize(
    "junk", [b"", b"x" * 47, request(mode=4), request(mode=0), request(mode=7), request(version=0), request(version=5)]
)
def test_what_is_no_request_gets_no_answer(junk: bytes) -> None:
    assert reply(junk, received_utc_ns=NOW_NS, sent_utc_ns=NOW_NS) is None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A running server: its port, itself, and the process with which it ends."""
    port_file = tmp_path / "port"
    guest = subprocess.Popen(["sleep", "600"])
    words = ["-m", "ntp_server", "--port-file", str(port_file), "--end-with", str(guest.pid)]
    server = subprocess.Popen([sys.executable, *words], env={"PYTHONPATH": str(LAB)})
    give_up = time.monotonic() + 20
    while not port_file.exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    yield int(port_file.read_text()), server, guest
    for child in (guest, server):
        child.kill()
        child.wait()


def exchange(asker: socket.socket) -> bytes:
    """Ask until an answer comes: a datagram may be lost where many wait."""
    for _ in range(10):
        asker.send(request())
        try:
            return asker.recv(100)
        except TimeoutError:
            continue
    raise AssertionError("no answer")


def ask(port: int) -> tuple[int, int]:
    """The server's times of arrival and sending, in ns of UTC."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(1)
        asker.connect(("127.0.0.1", port))
        received, sent = struct.unpack("!QQ", exchange(asker)[32:48])
    return tuple(
        ((t >> 32) - SECONDS_1900_TO_1970) * 10**9 + ((t & 0xFFFFFFFF) * 10**9 >> 32) for t in (received, sent)
    )  # type: ignore[return-value]


def test_it_tells_the_hosts_time_also_after_garbage(served: tuple[int, object, object]) -> None:
    port = served[0]
    noise = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _ in range(500):
            asker.sendto(noise.randbytes(noise.randrange(0, 2000)), ("127.0.0.1", port))
    before_ns = time.time_ns()
    received_ns, sent_ns = ask(port)
    after_ns = time.time_ns()
    assert before_ns - 1000 <= received_ns <= sent_ns <= after_ns + 1000


def test_it_ends_with_its_guest(
    served: tuple[int, "subprocess.Popen[bytes]", "subprocess.Popen[bytes]"],
) -> None:
    _, server, guest = served
    guest.kill()
    guest.wait()
    assert server.wait(timeout=10) == 0


def test_a_taken_port_is_one_clear_sentence(served: tuple[int, object, object], tmp_path: Path) -> None:
    words = ["-m", "ntp_server", "--port-file", str(tmp_path / "p"), "--port", str(served[0])]
    second = subprocess.run([sys.executable, *words], env={"PYTHONPATH": str(LAB)}, capture_output=True, text=True)
    assert (second.returncode, second.stderr) == (2, "ntp_server: [Errno 98] Address already in use\n")
