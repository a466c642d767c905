"""Talk to the device like QEMU: the client's side of vfio-user, as far as a test or a trial needs it.

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
class PeerReply:
    error: int  # errno; 0: done
    body: bytes
    fds: list[int]


class Peer:
    """A connection to a device, closed at the end of the `with` block."""

    def __init__(self, path: str, *, timeout_s: float = 5.0) -> None:
        """Connect to the socket at `path`. Raises PeerError when nothing listens there."""
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

    def ask(self, command: int, body: bytes = b"", *, fds: list[int] | None = None) -> PeerReply:
        """Send one message and wait for its reply. Raises PeerError."""
        self.send(command, body, fds=fds)
        return self.receive_reply(command)

    def receive_reply(self, command: int) -> PeerReply:
        header, header_fds = self._receive(vu.HEADER.size)
        message_id, replied, size, flags, error = vu.HEADER.unpack(header)
        body, body_fds = self._receive(size - vu.HEADER.size)
        if (message_id, replied) != (self.last_id, command) or flags & vu.TYPE_MASK != vu.TYPE_REPLY:
            raise PeerError(f"reply {message_id} to command {replied}, {self.last_id} to {command} expected")
        return PeerReply(error if flags & vu.ERROR else 0, body, header_fds + body_fds)

    def closed_by_device(self) -> bool:
        """Wait until the device closes the connection; false on a timeout. Raises PeerError when it sends data."""
        try:
            data = self.sock.recv(1)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        if data:
            raise PeerError("the device sent something")
        return True

    def greet(self) -> PeerReply:
        return self.ask(vu.VfioCommand.VERSION, vu.VERSION.pack(vu.MAJOR, vu.MINOR) + CAPABILITIES)

    def map_memory(
        self, fd: int | None, *, address: int, size: int, offset: int = 0, writable: bool = True
    ) -> PeerReply:
        flags = vu.DMA_READABLE | (vu.DMA_WRITABLE if writable else 0)
        body = vu.DMA_MAP.pack(vu.DMA_MAP.size, flags, offset, address, size)
        return self.ask(vu.VfioCommand.DMA_MAP, body, fds=None if fd is None else [fd])

    def unmap_memory(self, *, address: int, size: int, flags: int = 0) -> PeerReply:
        return self.ask(vu.VfioCommand.DMA_UNMAP, vu.DMA_UNMAP.pack(vu.DMA_UNMAP.size, flags, address, size))

    def set_eventfds(self, first: int, fds: list[int]) -> PeerReply:
        body = vu.IRQ_SET.pack(vu.IRQ_SET.size, vu.IRQ_DATA_EVENTFD, vu.IRQ_MSIX, first, len(fds))
        return self.ask(vu.VfioCommand.SET_IRQS, body, fds=fds)

    def read(self, region: int, offset: int, count: int) -> PeerReply:
        receive_reply = self.ask(vu.VfioCommand.REGION_READ, vu.ACCESS.pack(offset, region, count))
        return PeerReply(receive_reply.error, receive_reply.body[vu.ACCESS.size :], [])

    def write(self, region: int, offset: int, data: bytes) -> PeerReply:
        return self.ask(vu.VfioCommand.REGION_WRITE, vu.ACCESS.pack(offset, region, len(data)) + data)

    def map_doorbell(self) -> mmap.mmap:
        """Map the page of BAR 0 that the device offers to the guest. Raises PeerError when it offers none."""
        room = vu.REGION_INFO.size + vu.SPARSE_MMAP.size
        receive_reply = self.ask(vu.VfioCommand.GET_REGION_INFO, vu.REGION_INFO.pack(room, 0, vu.BAR0, 0, 0, 0))
        if not receive_reply.fds:
            raise PeerError("the device offers no page to map")
        _, _, _, _, _, offset, size = vu.SPARSE_MMAP.unpack_from(receive_reply.body, vu.REGION_INFO.size)
        page = mmap.mmap(receive_reply.fds[0], size, offset=offset)
        os.close(receive_reply.fds[0])
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


def wait_for_interrupt(eventfd: int, timeout_s: float = 5.0) -> bool:
    """Wait for an interrupt and consume it; false on a timeout."""
    if not select.select([eventfd], [], [], timeout_s)[0]:
        return False
    os.eventfd_read(eventfd)
    return True
