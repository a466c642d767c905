"""The vfio-user socket: what QEMU asks, every kind of garbage, a second connection, and coming back."""

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ena_device import registers as reg
from ena_device import vfio_user as vu
from ena_device.driver import MEMORY_AT, MEMORY_SIZE, ProgramDriver
from ena_device.peer import Peer
from ena_device.running import RunningDevice, wait_for

Connect = Callable[[RunningDevice], ProgramDriver]
EINVAL, EFAULT, EEXIST, EOPNOTSUPP = 22, 14, 17, 95


@pytest.fixture
def peer(socket_device: RunningDevice) -> Peer:
    peer = Peer(socket_device.socket)
    peer.greet()
    return peer


def works(device: RunningDevice) -> bool:
    """Can a new peer still do everything?"""
    wait_for(lambda: not device.ask()["connected"], "the device is free")
    with Peer(device.socket) as peer:
        driver = ProgramDriver(peer)
        driver.start()
        done = driver.configure_phc().status == 0 and driver.read_phc() is not None
        driver.close()
    return done


@pytest.mark.parametrize(("asked", "agreed"), [(0, 0), (1, 1), (7, 1)])
def test_greeting(socket_device: RunningDevice, asked: int, agreed: int) -> None:
    with Peer(socket_device.socket) as peer:
        answer = peer.ask(vu.VfioCommand.VERSION, struct.pack("<HH", 0, asked) + b"{}\0")
    assert (answer.error, vu.VERSION.unpack_from(answer.body)) == (0, (0, agreed))
    assert json.loads(answer.body[4:-1]) == {"capabilities": {"max_msg_fds": 16, "max_data_xfer_size": 1 << 20}}


def test_device_and_interrupt_information(peer: Peer) -> None:
    assert struct.unpack("<IIII", peer.ask(vu.VfioCommand.GET_INFO, bytes(16)).body) == (16, 3, 9, 5)
    counts = [
        struct.unpack("<IIII", peer.ask(vu.VfioCommand.GET_IRQ_INFO, vu.IRQ_INFO.pack(16, 0, i, 0)).body)
        for i in range(5)
    ]
    assert counts == [(16, 9, i, 9 if i == vu.IRQ_MSIX else 0) for i in range(5)]


def test_region_information(peer: Peer) -> None:
    sizes = {}
    for index in range(9):
        answer = peer.ask(vu.VfioCommand.GET_REGION_INFO, vu.REGION_INFO.pack(32, 0, index, 0, 0, 0))
        sizes[index] = vu.REGION_INFO.unpack(answer.body)
    filled = {0: 0x4000, 1: 0x2000, 7: 256}
    assert sizes == {i: (32, 3 if i in filled else 0, i, 0, filled.get(i, 0), 0) for i in range(9)}


def test_region_information_of_the_mapped_page(mapped_device: RunningDevice) -> None:
    with Peer(mapped_device.socket) as peer:
        peer.greet()
        short = peer.ask(vu.VfioCommand.GET_REGION_INFO, vu.REGION_INFO.pack(32, 0, vu.BAR0, 0, 0, 0))
        assert (vu.REGION_INFO.unpack(short.body), short.fds) == ((64, 15, 0, 32, 0x4000, 0), [])
        full = peer.ask(vu.VfioCommand.GET_REGION_INFO, vu.REGION_INFO.pack(64, 0, vu.BAR0, 0, 0, 0))
        assert vu.SPARSE_MMAP.unpack_from(full.body, 32) == (1, 1, 0, 1, 0, reg.DOORBELL_PAGE, 4096)
        assert len(full.fds) == 1
        os.close(full.fds[0])


def test_configuration_space(peer: Peer) -> None:
    assert peer.read(vu.CONFIG, 0, 4).body == struct.pack("<HH", 0x1D0F, 0xEC20)
    assert peer.read(vu.CONFIG, 0x40, 12).body == struct.pack("<BBHII", 0x11, 0, 8, 1, 0x1001)
    assert peer.write(vu.CONFIG, 0, b"\xff" * 4).error == 0  # identity stays
    assert peer.read(vu.CONFIG, 0, 4).body == struct.pack("<HH", 0x1D0F, 0xEC20)
    assert peer.write(vu.CONFIG, 0x10, b"\xff" * 4).error == 0
    assert peer.read(vu.CONFIG, 0x10, 4).body == b"\xf0\xff\xff\xff"
    assert peer.write(vu.CONFIG, 4, b"\x06\x04").error == 0
    assert peer.read(vu.CONFIG, 4, 2).body == b"\x06\x04"


def test_options_of_the_pci_function(start: Callable[..., RunningDevice]) -> None:
    device = start("--device-id", "ec2", "--revision", "3", "--mac", "02:00:00:00:00:01")
    with Peer(device.socket) as peer:
        peer.greet()
        assert peer.read(vu.CONFIG, 0, 12).body == struct.pack("<HHHHBBBB", 0x1D0F, 0x0EC2, 0, 0x10, 3, 0, 0, 2)


@pytest.mark.parametrize(
    ("region", "offset", "count"),
    [
        (0, 0x4000, 4),
        (0, 0x3FFE, 4),
        (1, 0x2000, 4),
        (7, 255, 2),
        (2, 0, 4),
        (99, 0, 4),
        (0, 2**63, 4),
        (0, 0, 2**14 + 4),
    ],
)
def test_access_outside_a_region(peer: Peer, region: int, offset: int, count: int) -> None:
    assert peer.read(region, offset, count).error == EINVAL
    assert peer.write(region, offset, bytes(count)).error == EINVAL


@pytest.mark.parametrize(("offset", "count"), [(0, 1), (0, 2), (0, 8), (2, 4)])
def test_access_that_is_no_register(peer: Peer, offset: int, count: int) -> None:
    assert peer.read(vu.BAR0, offset, count).body == bytes(count)
    assert peer.write(vu.BAR0, offset, bytes(count)).error == 0


@pytest.mark.parametrize("command", [0, 6, 11, 12, 14, 16, 17, 999, 0xFFFF])
def test_commands_that_are_refused(peer: Peer, command: int) -> None:
    assert peer.ask(command, bytes(64)).error == EOPNOTSUPP


@pytest.mark.parametrize("command", [2, 3, 7, 8, 9, 10, 15])
def test_bodies_that_are_too_short(peer: Peer, command: int) -> None:
    assert peer.ask(command, bytes(3)).error == EINVAL
    assert peer.ask(vu.VfioCommand.GET_INFO).error == 0


@pytest.mark.parametrize(
    ("command", "body", "error"),
    [
        (vu.VfioCommand.DMA_MAP, vu.DMA_MAP.pack(32, 3, 0, MEMORY_AT, 0), EINVAL),  # nothing
        (vu.VfioCommand.DMA_MAP, vu.DMA_MAP.pack(32, 3, 0, 2**64 - 1, 2), EINVAL),  # over the end
        (vu.VfioCommand.DMA_UNMAP, vu.DMA_UNMAP.pack(24, 0, 0x9000, 0x1000), EINVAL),  # not mapped
        (vu.VfioCommand.DMA_UNMAP, vu.DMA_UNMAP.pack(24, 1, 0, 0x1000), EOPNOTSUPP),  # dirty bitmap
        (vu.VfioCommand.GET_REGION_INFO, vu.REGION_INFO.pack(32, 0, 9, 0, 0, 0), EINVAL),
        (vu.VfioCommand.GET_IRQ_INFO, vu.IRQ_INFO.pack(16, 0, 5, 0), EINVAL),
        (vu.VfioCommand.SET_IRQS, vu.IRQ_SET.pack(20, 4, 5, 0, 1), EINVAL),
        (vu.VfioCommand.SET_IRQS, vu.IRQ_SET.pack(20, 4, 2, 9, 1), EINVAL),
        (vu.VfioCommand.SET_IRQS, vu.IRQ_SET.pack(20, 4, 2, 0, 2**32 - 1), EINVAL),
        (vu.VfioCommand.REGION_WRITE, vu.ACCESS.pack(0, 0, 4), EINVAL),  # no data
        (vu.VfioCommand.WRITE_MULTI, vu.MULTI_COUNT.pack(2**64 - 1), EINVAL),
        (vu.VfioCommand.WRITE_MULTI, vu.MULTI_COUNT.pack(1) + vu.MULTI_WRITE.pack(0x4000, 0, 4, b""), EINVAL),
    ],
)
def test_commands_that_make_no_sense(peer: Peer, command: int, body: bytes, error: int) -> None:
    assert peer.ask(command, body).error == error
    assert peer.ask(vu.VfioCommand.GET_INFO).error == 0


def test_several_writes_in_one_message(connect: Connect, socket_device: RunningDevice) -> None:
    driver = connect(socket_device)
    writes = [(reg.MMIO_RESP_LO, MEMORY_AT + 0x9000), (reg.MMIO_REG_READ, reg.VERSION << 16 | 5)]
    body = vu.MULTI_COUNT.pack(2) + b"".join(vu.MULTI_WRITE.pack(o, 0, 4, struct.pack("<Q", v)) for o, v in writes)
    assert driver.peer.ask(vu.VfioCommand.WRITE_MULTI, body).body == vu.MULTI_COUNT.pack(2)
    assert struct.unpack_from("<HHI", driver.memory, 0x9000) == (5, reg.VERSION, 0x000A)


def test_message_without_reply(peer: Peer) -> None:
    peer.send(vu.VfioCommand.REGION_WRITE, vu.ACCESS.pack(reg.MMIO_RESP_LO, 0, 4) + b"\1\2\3\4", flags=vu.NO_REPLY)
    peer.send(vu.VfioCommand.REGION_WRITE, vu.ACCESS.pack(0x4000, 0, 4) + bytes(4), flags=vu.NO_REPLY)
    assert peer.read(vu.BAR0, reg.MMIO_RESP_LO, 4).body == b"\1\2\3\4"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        vu.HEADER.pack(1, 4, 15, 0, 0),  # smaller than its header
        vu.HEADER.pack(1, 4, 0, 0, 0),
        vu.HEADER.pack(1, 4, 2**32 - 1, 0, 0),  # huge
        vu.HEADER.pack(1, 4, 32, 1, 0) + bytes(16),  # a reply that nobody asked for
        vu.HEADER.pack(1, 4, 32, 15, 0) + bytes(16),
        vu.HEADER.pack(1, 1, 20, 0, 0) + struct.pack("<HH", 1, 0),  # another major version
    ],
)
@pytest.mark.parametrize("greeted", [False, True])
def test_garbage_ends_the_connection_only(socket_device: RunningDevice, garbage: bytes, greeted: bool) -> None:
    with Peer(socket_device.socket) as peer:
        if greeted:
            peer.greet()
        peer.sock.sendall(garbage)
        assert peer.closed_by_device()
    assert works(socket_device)


def test_command_before_the_greeting(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        peer.send(vu.VfioCommand.GET_INFO, bytes(16))
        assert peer.closed_by_device()
    assert works(socket_device)


def test_random_garbage(socket_device: RunningDevice) -> None:
    for round_ in range(100):
        wait_for(lambda: not socket_device.ask()["connected"], "the device is free")
        with Peer(socket_device.socket) as peer:
            if round_ % 2:
                peer.greet()
            command = vu.HEADER.pack(round_, round_ % 18, 16 + 64, 0, 0) + os.urandom(64)
            peer.sock.sendall(command if round_ % 4 else os.urandom(200))
    assert works(socket_device)


def test_half_a_message_stalls_nobody(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        peer.greet()
        for part in (vu.HEADER.pack(1, 4, 32, 0, 0)[:7], vu.HEADER.pack(1, 4, 32, 0, 0)[7:] + bytes(9)):
            peer.sock.sendall(part)
            assert socket_device.ask()["connected"] is True
        peer.last_id = 1
        peer.sock.sendall(bytes(7))
        assert peer.receive_reply(vu.VfioCommand.GET_INFO).error == 0
        peer.sock.sendall(b"\1\0")
    assert works(socket_device)


def test_peer_that_never_greets_makes_room(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket, timeout_s=8) as peer:
        assert peer.closed_by_device()
    assert works(socket_device)


def test_second_connection_is_refused(device: RunningDevice, connect: Connect) -> None:
    driver = connect(device)
    driver.configure_phc()
    for _ in range(20):
        with Peer(device.socket) as second:
            assert second.closed_by_device()
    assert driver.read_phc() is not None
    assert device.log.read_text().count("a second connection is refused") == 20


def test_peer_that_does_not_read_is_dropped(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        peer.greet()
        peer.sock.setblocking(False)
        request = vu.HEADER.pack(1, vu.VfioCommand.REGION_READ, 32, 0, 0) + vu.ACCESS.pack(0, 0, 0x4000)
        with contextlib.suppress(OSError):  # blocked, or dropped already
            for _ in range(100_000):
                peer.sock.send(request)
    assert works(socket_device)


def test_too_many_descriptors(peer: Peer, socket_device: RunningDevice) -> None:
    fds = [os.eventfd(0) for _ in range(40)]
    peer.send(vu.VfioCommand.GET_INFO, bytes(16), fds=fds)
    assert peer.closed_by_device()
    assert works(socket_device)


def test_descriptors_are_not_kept(socket_device: RunningDevice) -> None:
    def open_fds() -> int:
        return len(list(Path(f"/proc/{socket_device.process.pid}/fd").iterdir()))

    before = open_fds()
    fds = [os.eventfd(0) for _ in range(9)]
    for _ in range(5):
        with Peer(socket_device.socket) as peer:
            peer.greet()
            peer.ask(vu.VfioCommand.GET_INFO, bytes(16), fds=fds)
            peer.ask(vu.VfioCommand.DMA_MAP, bytes(3), fds=fds)
            peer.set_eventfds(0, fds)
            peer.set_eventfds(3, fds[:2])
            peer.ask(vu.VfioCommand.SET_IRQS, vu.IRQ_SET.pack(20, 1, 2, 0, 0))
            peer.set_eventfds(0, fds)
            peer.sock.sendmsg(
                [vu.HEADER.pack(1, 4, 99, 0, 0)],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("ii", fds[0], fds[1]))],
            )
        wait_for(lambda: not socket_device.ask()["connected"], "the device is free")
    # At most: the connection by which the fixture asked whether the device runs may have been open still.
    wait_for(lambda: open_fds() <= before, "not more open descriptors than before")


def test_memory_is_mapped_and_unmapped(peer: Peer) -> None:
    fd = os.memfd_create("m")
    os.ftruncate(fd, 0x4000)
    assert peer.map_memory(fd, address=0x10000, size=0x4000).error == 0
    assert peer.map_memory(fd, address=0x13000, size=0x4000).error == EEXIST
    assert peer.map_memory(fd, address=0x20000, size=0x5000).error == EINVAL  # longer than the file
    assert peer.map_memory(fd, address=0x20000, size=0x1000, offset=0x800).error == 0
    assert peer.map_memory(None, address=0x30000, size=0x1000).error == 0  # device memory of another device
    assert peer.map_memory(os.open("/dev/null", os.O_RDWR), address=0x40000, size=0x1000).error != 0
    assert peer.unmap_memory(address=0x10000, size=0x4000).error == 0
    assert peer.unmap_memory(address=0x10000, size=0x4000).error == EINVAL
    assert peer.unmap_memory(address=0, size=0, flags=vu.UNMAP_ALL).error == 0
    assert peer.map_memory(fd, address=0x10000, size=0x4000).error == 0


@pytest.mark.parametrize("address", [0, MEMORY_AT - 4, MEMORY_AT + MEMORY_SIZE - 4, 0x30000, 0xFFFFFFF8])
def test_addresses_outside_the_memory(connect: Connect, socket_device: RunningDevice, address: int) -> None:
    driver = connect(socket_device)
    driver.peer.map_memory(None, address=0x30000, size=0x1000)
    driver.write(reg.MMIO_RESP_LO, address)
    assert driver.write(reg.MMIO_REG_READ, 1) == EFAULT
    assert driver.read(reg.VERSION) == 0x000A


def test_memory_that_is_read_only(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        driver = ProgramDriver(peer)
        peer.greet()
        peer.map_memory(driver.fd, address=MEMORY_AT, size=MEMORY_SIZE, writable=False)
        driver.reset()
        assert driver.write(reg.MMIO_REG_READ, 1) == EFAULT
        assert driver.write(reg.AQ_DOORBELL, 1) == EFAULT


def test_clock_follows_its_memory(device: RunningDevice, connect: Connect) -> None:
    """QEMU maps the same memory anew in other pieces while a guest runs."""
    driver = connect(device)
    driver.configure_phc()
    assert driver.read_phc() is not None
    driver.peer.unmap_memory(address=MEMORY_AT, size=MEMORY_SIZE)
    assert driver.read_phc(timeout_s=0.1) is None
    half = MEMORY_SIZE // 2
    for part in (0, half):
        assert driver.peer.map_memory(driver.fd, address=MEMORY_AT + part, size=half, offset=part).error == 0
    assert driver.read_phc() is not None


def test_connection_ends_and_another_begins(device: RunningDevice) -> None:
    for round_ in range(3):
        assert works(device)
        wait_for(lambda: not device.ask()["connected"], "the device is free")
        assert device.children() == []
        assert device.ask()["answered"] == round_ + 1


def test_bus_reset(device: RunningDevice, connect: Connect) -> None:
    driver = connect(device)
    driver.configure_phc()
    assert driver.peer.ask(vu.VfioCommand.RESET).error == 0
    assert device.ask()["phc"] is False
    driver.reset()
    driver.configure_phc()
    assert driver.read_phc() is not None


def test_sockets_appear_listening(start: Callable[..., RunningDevice]) -> None:
    device = start()
    for path in (device.socket, device.control):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(path)
    time.sleep(0.05)
    assert sorted(p.name for p in Path(device.socket).parent.iterdir()) == ["ena.ctl", "ena.log", "ena.sock"]
