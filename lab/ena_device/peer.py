"""How does QEMU speak to the device? The client's side of vfio-user, as small as a test or a trial needs it.

Source: docs/interop/vfio-user.rst in the QEMU tree.
"""

import array
import mmap
import os
import select
import socket
from dataclasses import dataclass
from types import TracebackType

from ena_device import vfio_user as vu

CAPABILITIES = b'{"capabilities": {"max_msg_fds": 16, "max_data_xfer_size": 1048576}}\0'
_FD_SIZE = array.array("i").itemsize


class PeerError(Exception):
    """The device closed the connection, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    error: int  # errno; 0: done
    body: bytes
    fds: list[int]


class Peer:
    """One connection to a device, closed with the `with` block."""

    def __init__(self, path: str, *, timeout_s: float = 5.0) -> None:
        """Raises PeerError when nobody listens."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout_s)
        self.last_id = 0
        try:
            self.sock.connect(path)
        except OSError as e:
            self.sock.close()
            raise PeerError(f"{path}: {e}") from e

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, command: int, body: bytes = b"", *, fds: list[int] | None = None, flags: int = 0) -> None:
        """Send one message without waiting. Raises PeerError."""
        self.last_id = self.last_id + 1 & 0xFFFF
        header = vu.HEADER.pack(self.last_id, command, vu.HEADER.size + len(body), flags, 0)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.sock.sendmsg([header + body], ancillary)
        except OSError as e:
            raise PeerError(f"cannot send: {e}") from e

    def ask(self, command: int, body: bytes = b"", *, fds: list[int] | None = None) -> Answer:
        """Send one message and wait for its reply. Raises PeerError."""
        self.send(command, body, fds=fds)
        return self.answer(command)

    def answer(self, command: int) -> Answer:
        header, found = self._receive(vu.HEADER.size)
        message_id, replied, size, flags, error = vu.HEADER.unpack(header)
        body, more = self._receive(size - vu.HEADER.size)
        if (message_id, replied) != (self.last_id, command) or flags & vu.TYPE_MASK != vu.TYPE_REPLY:
            raise PeerError(f"reply {message_id} to command {replied}, {self.last_id} to {command} expected")
        return Answer(error if flags & vu.ERROR else 0, body, found + more)

    def closed_by_device(self) -> bool:
        """Has the device closed the connection? Waits for it. Raises PeerError when it sends something instead."""
        try:
            data = self.sock.recv(1)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        if data:
            raise PeerError("the device sent something")
        return True

    def greet(self) -> Answer:
        return self.ask(vu.Command.VERSION, vu.VERSION.pack(vu.MAJOR, vu.MINOR) + CAPABILITIES)

    def map_memory(self, fd: int | None, *, address: int, size: int, offset: int = 0, writable: bool = True) -> Answer:
        flags = vu.DMA_READABLE | (vu.DMA_WRITABLE if writable else 0)
        body = vu.DMA_MAP.pack(vu.DMA_MAP.size, flags, offset, address, size)
        return self.ask(vu.Command.DMA_MAP, body, fds=None if fd is None else [fd])

    def unmap_memory(self, *, address: int, size: int, flags: int = 0) -> Answer:
        return self.ask(vu.Command.DMA_UNMAP, vu.DMA_UNMAP.pack(vu.DMA_UNMAP.size, flags, address, size))

    def set_eventfds(self, first: int, fds: list[int]) -> Answer:
        body = vu.IRQ_SET.pack(vu.IRQ_SET.size, vu.IRQ_DATA_EVENTFD, vu.IRQ_MSIX, first, len(fds))
        return self.ask(vu.Command.SET_IRQS, body, fds=fds)

    def read(self, region: int, offset: int, count: int) -> Answer:
        answer = self.ask(vu.Command.REGION_READ, vu.ACCESS.pack(offset, region, count))
        return Answer(answer.error, answer.body[vu.ACCESS.size :], [])

    def write(self, region: int, offset: int, data: bytes) -> Answer:
        return self.ask(vu.Command.REGION_WRITE, vu.ACCESS.pack(offset, region, len(data)) + data)

    def map_doorbell(self) -> mmap.mmap:
        """The page of BAR 0 that the device lets the guest map. Raises PeerError when it offers none."""
        room = vu.REGION_INFO.size + vu.SPARSE_MMAP.size
        answer = self.ask(vu.Command.GET_REGION_INFO, vu.REGION_INFO.pack(room, 0, vu.BAR0, 0, 0, 0))
        if not answer.fds:
            raise PeerError("the device offers no page to map")
        _, _, _, _, _, offset, size = vu.SPARSE_MMAP.unpack_from(answer.body, vu.REGION_INFO.size)
        page = mmap.mmap(answer.fds[0], size, offset=offset)
        os.close(answer.fds[0])
        return page

    def _receive(self, size: int) -> tuple[bytes, list[int]]:
        data, fds = b"", array.array("i")
        while len(data) < size:
            try:
                part, ancillary, _, _ = self.sock.recvmsg(size - len(data), socket.CMSG_SPACE(vu.MAX_FDS * _FD_SIZE))
            except OSError as e:
                raise PeerError(f"no reply: {e}") from e
            if not part:
                raise PeerError("closed by the device")
            for _, _, raw in ancillary:
                fds.frombytes(raw[: len(raw) // _FD_SIZE * _FD_SIZE])
            data += part
        return data, list(fds)


def interrupted(eventfd: int, timeout_s: float = 5.0) -> bool:
    """Wait for an interrupt, and take it."""
    if not select.select([eventfd], [], [], timeout_s)[0]:
        return False
    os.eventfd_read(eventfd)
    return True
