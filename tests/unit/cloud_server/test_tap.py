"""The cloud server is a station on its guest's network, in a network namespace of its own."""

import ipaddress
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAB = Path(__file__).parents[3] / "lab"
SERVER = ipaddress.IPv6Address("fd00::80")
GUEST = ipaddress.IPv6Address("fd00::15")
GUEST_MAC = bytes.fromhex("065244550001")
UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136  # RFC 4861


def allowed() -> bool:
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(not allowed(), reason="this machine allows no network namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="this machine has no /dev/net/tun"),
]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def solicitation() -> bytes:
    """A frame in which the guest asks who has the server's address (RFC 4861, section 4.3)."""
    last = SERVER.packed[-3:]
    group = ipaddress.IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + last)
    body = SERVER.packed + b"\x01\x01" + GUEST_MAC
    pseudo_header = GUEST.packed + group.packed + struct.pack(">IxxxB", 8 + len(body), ICMPV6)
    blank = struct.pack(">BBHI", SOLICITATION, 0, 0, 0) + body
    message = struct.pack(">BBHI", SOLICITATION, 0, checksum(pseudo_header + blank), 0) + body
    header = struct.pack(">IHBB", 6 << 28, len(message), ICMPV6, 255) + GUEST.packed + group.packed
    return b"\x33\x33\xff" + last + GUEST_MAC + b"\x86\xdd" + header + message


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[socket.socket]:
    """The guest's end of the network, on which the first frame of a running server has arrived."""
    (tmp_path / "seed").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "guest"))
        ours.settimeout(30)
        argv = ["--socket", tmp_path / "server", "--peer", tmp_path / "guest", "--address", f"{SERVER}/64"]
        argv += ["--seed", tmp_path / "seed", "--mirror", tmp_path / "seed", "--end-with", str(os.getpid())]
        with subprocess.Popen(
            [*UNSHARE, sys.executable, "-m", "cloud_server", *argv], env=os.environ | {"PYTHONPATH": str(LAB)}
        ) as server:
            ours.recv(65536)  # the kernel says that the interface is there
            ours.connect(str(tmp_path / "server"))
            yield ours
            server.terminate()


def test_the_kernel_of_the_namespace_answers_for_the_servers_address(guest: socket.socket) -> None:
    guest.send(bytes(70_000)[:60_000])  # longer than any frame: lost
    answer = b""
    while not (answer[:6] == GUEST_MAC and answer[54:55] == bytes([ADVERTISEMENT])):
        guest.send(solicitation())
        answer = guest.recv(65536)
    assert answer[62:78] == SERVER.packed
