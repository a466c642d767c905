"""Encode the actions of guests, QEMU and control clients on an emulated device as bytes, and carry them out.

A step is one byte that chooses its kind, then the fields of that kind; fields missing at the end count as zeros.
"""

import io
import os
import select
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from ena_device import registers as reg
from ena_device import vfio_user as vu
from ena_device.clock import ClockSettings, SharedClock
from ena_device.device import Ena
from ena_device.doorbell import SocketDoorbell
from ena_device.driver import MEMORY_SIZE, ProgramDriver
from ena_device.event_log import EventLog
from ena_device.features import OfferedFeatures
from ena_device.network import NetworkSocket
from ena_device.pci_config import PciConfig
from ena_device.peer import Peer
from ena_device.serve import DeviceServer

START_NS = 1_800_000_000_000_000_000
MAC = bytes.fromhex("061122334455")
MOST_TURNS = 5000
_REGISTER = struct.Struct("<HI")


class StepKind(IntEnum):
    """The kinds of steps, each with its fields."""

    MESSAGE = 0  # a whole vfio-user message: command, flags, descriptors (one byte each), length (two), body
    RAW = 1  # bytes on the vfio-user socket: descriptors, length, bytes
    MEMORY = 2  # the guest writes to its memory: address (four bytes), length, bytes
    REGISTER = 3  # the guest writes a register: offset (two bytes), value (four)
    CONNECT = 4  # QEMU disconnects and connects again
    LINE = 5  # a line on the control socket: length, bytes
    CHUNK = 6  # bytes on the control socket without a newline: length, bytes
    CLIENT = 7  # another control client connects; the last client stays
    FRAME = 8  # a frame arrives from the network: length, bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStep:
    """An action on the device. Fields that its kind does not use are zero or empty."""

    kind: StepKind
    command: int = 0
    flags: int = 0
    descriptors: int = 0  # low half: index of the menu; high half: number of copies
    at: int = 0
    value: int = 0
    data: bytes = b""

    def encoded(self) -> bytes:
        long = struct.pack("<H", len(self.data)) + self.data
        match self.kind:
            case StepKind.MESSAGE:
                fields = bytes((self.command & 0xFF, self.flags & 0xFF, self.descriptors)) + long
            case StepKind.RAW:
                fields = bytes((self.descriptors,)) + long
            case StepKind.MEMORY:
                fields = struct.pack("<I", self.at) + long
            case StepKind.REGISTER:
                fields = _REGISTER.pack(self.at, self.value)
            case StepKind.LINE | StepKind.CHUNK | StepKind.FRAME:
                fields = long
            case _:
                fields = b""
        return bytes((self.kind,)) + fields


class _Fields:
    """Reads fields from bytes that may end anywhere."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def left(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        self._at += count
        return part.ljust(count, b"\0") if count <= 4 else part

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def long(self) -> bytes:
        return self.take(self.number(2))


def decoded(data: bytes) -> Iterator[DeviceStep]:
    """Decode any bytes to steps."""
    fields = _Fields(data)
    while fields.left():
        match kind := StepKind(fields.number(1) % len(StepKind)):
            case StepKind.MESSAGE:
                command, flags, descriptors = fields.number(1), fields.number(1), fields.number(1)
                yield DeviceStep(kind=kind, command=command, flags=flags, descriptors=descriptors, data=fields.long())
            case StepKind.RAW:
                yield DeviceStep(kind=kind, descriptors=fields.number(1), data=fields.long())
            case StepKind.MEMORY:
                yield DeviceStep(kind=kind, at=fields.number(4), data=fields.long())
            case StepKind.REGISTER:
                yield DeviceStep(kind=kind, at=fields.number(2), value=fields.number(4))
            case StepKind.LINE | StepKind.CHUNK | StepKind.FRAME:
                yield DeviceStep(kind=kind, data=fields.long())
            case _:
                yield DeviceStep(kind=kind)


class Rig:
    """A device with its sockets, the sides of QEMU, a client and the network, and a guest's memory, in one thread."""

    def __init__(self, folder: Path) -> None:
        self.log = io.StringIO()
        self.clock = SharedClock(ClockSettings(base_utc_ns=START_NS, base_mono_ns=0))
        self._network_path = str(folder / "net")
        self._peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._peer.bind(str(folder / "peer"))
        self._peer.setblocking(False)
        self.device = Ena(
            offer=OfferedFeatures(mac=MAC),
            config=PciConfig(device_id=0xEC20, revision=0),
            doorbell=SocketDoorbell(self.clock),
            log=EventLog(self.log).write,
            network=NetworkSocket(self._network_path, str(folder / "peer")),
        )
        self.socket_path, self._control_path = str(folder / "ena.sock"), str(folder / "ena.ctl")
        self.server = DeviceServer(
            socket_path=self.socket_path, control_path=self._control_path, device=self.device, clock=self.clock
        )
        self.memory_fd = os.memfd_create("guest-memory")
        os.ftruncate(self.memory_fd, MEMORY_SIZE)
        self._menu = _descriptors(self.memory_fd)
        self._qemu = _connected(self.socket_path)
        self._clients = [_connected(self._control_path)]
        self._next_id = 0
        self.replies = bytearray()

    def close(self) -> None:
        self.server.close()
        for sock in (self._qemu, self._peer, *self._clients):
            sock.close()
        for fd in self._menu:
            os.close(fd)

    def do(self, step: DeviceStep) -> None:
        """Do one step, and let the device react completely. Raises whatever the device raises."""
        match step.kind:
            case StepKind.MESSAGE:
                self._next_id = self._next_id + 1 & 0xFFFF
                size = vu.HEADER.size + len(step.data)
                header = vu.HEADER.pack(self._next_id, step.command, size, step.flags, 0)
                self._tell_device(header + step.data, step.descriptors)
            case StepKind.RAW:
                self._tell_device(step.data, step.descriptors)
            case StepKind.MEMORY:
                with suppress(OSError):
                    os.pwrite(self.memory_fd, step.data, step.at % MEMORY_SIZE)
                os.ftruncate(self.memory_fd, MEMORY_SIZE)
            case StepKind.REGISTER:
                self.register(step.at, step.value)
            case StepKind.CONNECT:
                self.unplug()
                self._qemu = _connected(self.socket_path)
            case StepKind.LINE | StepKind.CHUNK:
                with suppress(OSError):
                    self._clients[-1].send(step.data + (b"\n" if step.kind is StepKind.LINE else b""))
            case StepKind.CLIENT:
                self._clients.append(_connected(self._control_path))
            case StepKind.FRAME:
                self.send_frame(step.data)
        self.settle()

    def unplug(self) -> None:
        """Disconnect QEMU, and let the device notice. Raises AssertionError when the device stays busy."""
        self._qemu.close()
        for _ in range(MOST_TURNS):
            if not self.server.serve_once(longest_wait_s=0):
                return
        raise AssertionError(f"still busy after {MOST_TURNS} rounds")

    def register(self, offset: int, value: int) -> None:
        """Write a register as the guest."""
        body = vu.ACCESS.pack(offset, vu.BAR0, 4) + struct.pack("<I", value)
        self.do(DeviceStep(kind=StepKind.MESSAGE, command=vu.VfioCommand.REGION_WRITE, data=body))

    def send_frame(self, frame: bytes) -> None:
        """Send a frame from the network, if the card's socket has room."""
        with suppress(OSError):
            self._peer.sendto(frame, self._network_path)

    def settle(self) -> None:
        """Let the device work until it is idle, and read its output. Raises AssertionError when it stays busy."""
        for _ in range(MOST_TURNS):
            busy = self.server.serve_once(longest_wait_s=0)
            self._drain()
            if not busy or self.server.ended:
                return
        raise AssertionError(f"still busy after {MOST_TURNS} rounds")

    def _tell_device(self, data: bytes, descriptors: int) -> None:
        fds = [self._menu[(descriptors & 0xF) % len(self._menu)]] * (descriptors >> 4)
        with suppress(OSError):  # the device has disconnected, or stopped reading
            socket.send_fds(self._qemu, [data], fds)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._peer.recv(1 << 16)
        ready, _, _ = select.select([self._qemu, *self._clients], [], [], 0)
        for sock in ready:
            self._read(sock)

    def _read(self, sock: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(sock, 1 << 20, vu.MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        for fd in fds:
            os.close(fd)
        if sock in self._clients:
            self.replies += data
        if data:
            return
        sock.close()  # the device has disconnected
        if sock is self._qemu:
            self._qemu = _connected(self.socket_path)
        else:
            self._clients.remove(sock)
            self._clients = self._clients or [_connected(self._control_path)]


def _connected(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    sock.setblocking(False)
    return sock


@contextmanager
def rig() -> Iterator[Rig]:
    """Provide a new device, with its sockets in a new folder."""
    folder = Path(tempfile.mkdtemp(prefix="ena-"))
    try:
        device = Rig(folder)
        try:
            yield device
        finally:
            device.close()
    finally:
        shutil.rmtree(folder)


def _descriptors(memory_fd: int) -> list[int]:
    """Open one descriptor of each kind that a peer may pass: valid kinds, and kinds that only resemble them."""
    small = os.memfd_create("small")
    os.ftruncate(small, 100)
    reader, writer = os.pipe()
    os.close(reader)
    return [
        memory_fd,
        os.eventfd(0),
        small,
        writer,
        os.open("/", os.O_PATH),
        os.open("/dev/null", os.O_RDWR),
        os.open("/dev/zero", os.O_RDWR),
        os.open("/", os.O_RDONLY),
    ]


class _Recorder(Peer):
    """QEMU's side of a real exchange. Records each message, and before it the driver's writes to memory."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.steps: list[DeviceStep] = []
        self.driver: ProgramDriver | None = None
        self._before = bytes(MEMORY_SIZE)

    def send(self, command: int, body: bytes = b"", *, fds: list[int] | None = None, flags: int = 0) -> None:
        self._keep_writes()
        descriptors = 0 if not fds else len(fds) << 4 | (0 if self.driver and fds == [self.driver.fd] else 1)
        self.steps.append(
            DeviceStep(kind=StepKind.MESSAGE, command=command, flags=flags, descriptors=descriptors, data=body[:0xFFFF])
        )
        super().send(command, body, fds=fds, flags=flags)

    def _keep_writes(self) -> None:
        assert self.driver is not None
        memory = self.driver.memory[:]
        if memory == self._before:
            return
        for at in range(0, MEMORY_SIZE, 64):
            if memory[at : at + 64] != self._before[at : at + 64]:
                self.steps.append(DeviceStep(kind=StepKind.MEMORY, at=at, data=memory[at : at + 64]))
        self._before = memory


def recorded_session() -> list[DeviceStep]:
    """Record the steps of a driver and its QEMU: greeting, memory, queues, interrupts, clock, packets, reset, end."""
    with rig() as device:
        device.unplug()
        stop = threading.Event()
        server = threading.Thread(target=lambda: _serve_until(device.server, stop))
        server.start()
        try:
            steps = _session(_Recorder(device.socket_path), device.send_frame)
        finally:
            stop.set()
            server.join()
    return steps


def _serve_until(server: DeviceServer, done: threading.Event) -> None:
    while not done.is_set():
        server.serve_once(longest_wait_s=0.01)


def _session(peer: _Recorder, send_frame: Callable[[bytes], None]) -> list[DeviceStep]:
    driver = peer.driver = ProgramDriver(peer)
    eventfd = os.eventfd(0)
    try:
        with peer:
            driver.start()
            peer.set_eventfds(0, [eventfd, eventfd])
            driver.configure_phc()
            driver.read_phc()
            doorbell, unmask = driver.create_send_queue()
            driver.write_packet(0, request=1, length=60)
            driver.write(unmask, 1 << 30)
            driver.write(doorbell, 1)
            buffers, unmask = driver.create_receive_queue()
            for slot in range(4):
                driver.write_buffer(slot, length=64)
            driver.write(unmask, 1 << 30)
            driver.write(buffers, 4)
            peer.steps.append(DeviceStep(kind=StepKind.FRAME, data=MAC + bytes(100)))
            send_frame(MAC + bytes(100))
            driver.read(reg.CAPS)  # the frame has arrived before the answer to this
            driver.events()
            for feature in (1, 7, 11, 12, 26, 27, 29):
                driver.get_feature(feature)
            driver.reset(reason=3)
            peer.unmap_memory(address=0, size=0, flags=vu.UNMAP_ALL)
    finally:
        os.close(eventfd)
        driver.close()
    return peer.steps
