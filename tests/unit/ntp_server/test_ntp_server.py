"""The lab's second opinion: right answers for one address, silence for all else, and an end with its guest."""

import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ntp_server.frames import Station, answer, checksum
from ntp_server.packet import reply, timestamp

LAB = Path(__file__).parents[3] / "lab"
NOW_NS = 1_795_230_986_465_907_396
SECONDS_1900_TO_1970 = 2_208_988_800
SERVER = Station.parse("10.0.2.123")
GUEST_MAC, GUEST = bytes.fromhex("525400123456"), bytes([10, 0, 2, 15])
BROADCAST = b"\xff" * 6


def request(version: int = 4, mode: int = 3, transmitted: int = 0x1122334455667788, poll: int = 6) -> bytes:
    return struct.pack("!BBbb 36x Q", version << 3 | mode, 0, poll, -20, transmitted)


def arp(wanted: bytes = SERVER.address, operation: int = 1) -> bytes:
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, GUEST_MAC, GUEST, bytes(6), wanted)
    return BROADCAST + GUEST_MAC + b"\x08\x06" + body + bytes(18)


def ip(payload: bytes, *, target: bytes = SERVER.address, protocol: int = 17, fragment: int = 0x4000) -> bytes:
    """An IPv4 packet of the guest's in a frame to the server, its checksum right."""
    header = bytearray(
        struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0, GUEST, target)
    )
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return SERVER.mac + GUEST_MAC + b"\x08\x00" + bytes(header) + payload


def udp(payload: bytes, *, port: int = 123, summed: bool = True, target: bytes = SERVER.address) -> bytes:
    length = 8 + len(payload)
    datagram = struct.pack("!HHHH", 40_000, port, length, 0) + payload
    pseudo = GUEST + target + struct.pack("!BBH", 0, 17, length)
    sum_ = checksum(pseudo + datagram) if summed else 0
    return datagram[:6] + sum_.to_bytes(2, "big") + payload


def echo(payload: bytes) -> bytes:
    return payload[::-1]


# -- the answer to a request


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


# -- the answer to a frame


def test_the_checksum_is_that_of_a_published_header() -> None:
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert checksum(header) == 0
    assert checksum(header[:10] + b"\0\0" + header[12:]) == 0xB861
    assert checksum(b"\x01") == 0xFEFF  # an odd byte is the high one of a word


def test_a_guest_learns_the_servers_hardware_address() -> None:
    replied = answer(arp(), SERVER, echo)
    assert replied == GUEST_MAC + SERVER.mac + b"\x08\x06" + struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, SERVER.mac, SERVER.address, GUEST_MAC, GUEST
    )


@pytest.mark.parametrize("summed", [True, False])
def test_a_datagram_is_answered_to_where_it_came_from(summed: bool) -> None:
    replied = answer(ip(udp(b"abc", summed=summed)), SERVER, echo)
    assert replied is not None
    assert replied[:14] == GUEST_MAC + SERVER.mac + b"\x08\x00"
    header, datagram = replied[14:34], replied[34:]
    assert (header[0], header[9], header[12:16], header[16:20]) == (0x45, 17, SERVER.address, GUEST)
    assert checksum(header) == 0
    assert struct.unpack("!HHH", datagram[:6]) == (123, 40_000, 8 + 3)
    assert checksum(SERVER.address + GUEST + struct.pack("!BBH", 0, 17, len(datagram)) + datagram) == 0
    assert datagram[8:] == b"cba"


OTHERS = {
    "empty": b"",
    "no whole header": arp()[:13],
    "half an ARP": arp()[:30],
    "ARP for another address": arp(wanted=bytes([10, 0, 2, 2])),
    "an ARP reply": arp(operation=2),
    "IPv6": SERVER.mac + GUEST_MAC + b"\x86\xdd" + bytes(60),
    "half an IP header": ip(udp(b"abc"))[:30],
    "another destination": ip(udp(b"abc"), target=bytes([10, 0, 2, 2])),
    "another station's hardware address": BROADCAST + ip(udp(b"abc"))[6:],
    "TCP": ip(udp(b"abc"), protocol=6),
    "ICMP": ip(b"\x08\0\xf7\xff\0\0\0\0", protocol=1),
    "a first fragment": ip(udp(b"abc"), fragment=0x2000),
    "a later fragment": ip(udp(b"abc"), fragment=0x0001),
    "options": ip(udp(b"abc")).replace(b"\x45\x00", b"\x46\x00", 1),
    "a wrong checksum": ip(udp(b"abc")).replace(b"\x40\x11", b"\x3f\x11", 1),
    "less than it says": ip(udp(b"abc"))[:-1],
    "half a UDP header": ip(b"\x01\x02\x03"),
    "another port": ip(udp(b"abc", port=53)),
    "a UDP length that is not so": ip(udp(b"abc") + b"x"),
    "a wrong UDP checksum": ip(udp(b"abc")[:-1] + b"x"),
}


@pytest.mark.parametrize("frame", OTHERS.values(), ids=OTHERS)
def test_frames_that_are_for_others_or_broken_get_no_answer(frame: bytes) -> None:
    assert answer(frame, SERVER, echo) is None


def test_no_frame_raises_whatever_it_holds() -> None:
    noise = random.Random(1)
    seeds = [arp(), ip(udp(request()))]
    for _ in range(20_000):
        frame = bytearray(noise.choice(seeds))
        for _ in range(noise.randrange(1, 5)):
            frame[noise.randrange(len(frame))] = noise.randrange(256)
        answer(bytes(frame[: noise.randrange(len(frame) + 1)]), SERVER, echo)
        answer(noise.randbytes(noise.randrange(100)), SERVER, echo)


# -- the process


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server, the process with which it ends, and the guest's end of its wire."""

    path: Path
    server: "subprocess.Popen[bytes]"
    guest: "subprocess.Popen[bytes]"
    wire: socket.socket

    def send(self, frame: bytes) -> None:
        self.wire.sendto(frame, str(self.path))


def words(socket_path: Path, *more: str) -> list[str]:
    ends = ["--socket", str(socket_path), "--peer", str(socket_path.parent / "net")]
    return [sys.executable, "-m", "ntp_server", *ends, "--address", "10.0.2.123", *more]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    path = tmp_path / "ntp"
    guest = subprocess.Popen(["sleep", "600"])
    server = subprocess.Popen(words(path, "--end-with", str(guest.pid)), env={"PYTHONPATH": str(LAB)})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "net"))
        wire.settimeout(5)
        give_up = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)
        yield Served(path=path, server=server, guest=guest, wire=wire)
    for child in (guest, server):
        child.kill()
        child.wait()


def ask(served: Served) -> tuple[int, int]:
    """The server's times of arrival and sending, in ns of UTC."""
    served.send(ip(udp(request())))
    received, sent = struct.unpack("!QQ", served.wire.recv(200)[42:][32:48])
    return tuple(
        ((t >> 32) - SECONDS_1900_TO_1970) * 10**9 + ((t & 0xFFFFFFFF) * 10**9 >> 32) for t in (received, sent)
    )  # type: ignore[return-value]


def test_it_tells_the_machines_time_also_after_garbage(served: Served) -> None:
    noise = random.Random(1)
    for _ in range(500):
        served.send(noise.randbytes(noise.randrange(1, 4000)))
        served.send(ip(noise.randbytes(noise.randrange(1, 60))))
    before_ns = time.time_ns()
    received_ns, sent_ns = ask(served)
    after_ns = time.time_ns()
    assert before_ns - 1000 <= received_ns <= sent_ns <= after_ns + 1000


def test_frames_for_others_are_dropped_before_they_wait_for_it(served: Served) -> None:
    """A stopped server's socket takes eleven datagrams at most, and takes frames for others without end."""
    served.server.send_signal(19)
    served.wire.setblocking(False)
    for _ in range(2000):
        served.send(ip(udp(b"abc"), target=bytes([10, 0, 2, 2])))
        served.send(arp(wanted=bytes([10, 0, 2, 2])))
        served.send(bytes(60))
    served.server.send_signal(18)
    served.wire.settimeout(5)
    ask(served)


def test_it_ends_with_its_guest(served: Served) -> None:
    served.guest.kill()
    served.guest.wait()
    assert served.server.wait(timeout=10) == 0


def test_a_taken_socket_is_one_clear_sentence(served: Served) -> None:
    second = subprocess.run(words(served.path), env={"PYTHONPATH": str(LAB)}, capture_output=True, text=True)
    assert (second.returncode, second.stderr) == (2, "ntp_server: [Errno 98] Address already in use\n")
