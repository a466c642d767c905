"""Assemble bytes and descriptors on the vfio-user socket into whole messages.

Non-blocking: a peer that sends half a message delays nobody else. Each read ends with the current message, because the
kernel hands descriptors over with the first byte of the message they belong to (unix(7), SCM_RIGHTS).
"""

import array
import os
import socket

from ena_device import vfio_user as vu
from ena_device.device_errors import BrokenPeer

_FD_SIZE = array.array("i").itemsize


class Connection:
    """A peer on the vfio-user socket; owns the socket and the descriptors of an incomplete message."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._data = bytearray()
        self._fds: list[int] = []
        self.greeted = False  # a VERSION message has been answered

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        self._sock.close()

    def receive(self) -> vu.Message | None:
        """Receive the next message; None while it is incomplete. Raises BrokenPeer."""
        if len(self._data) < vu.HEADER.size and not self._fill(vu.HEADER.size):
            return None
        message_id, command, size, flags, _ = vu.HEADER.unpack_from(self._data)
        if not vu.HEADER.size <= size <= vu.MAX_MESSAGE:
            raise BrokenPeer(f"message of {size} bytes, {vu.HEADER.size}..{vu.MAX_MESSAGE} expected")
        if flags & vu.TYPE_MASK != vu.TYPE_COMMAND:
            raise BrokenPeer(f"message of type {flags & vu.TYPE_MASK}, a command (0) expected")
        if len(self._data) < size and not self._fill(size):
            return None
        body, fds = bytes(self._data[vu.HEADER.size :]), self._fds
        self._data, self._fds = bytearray(), []
        return vu.Message(id=message_id, command=command, flags=flags, body=body, fds=fds)

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send one whole reply. Raises BrokenPeer, also on a full socket: it means that the peer does not read."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self._sock.sendmsg([data], ancillary)
        except OSError as e:
            raise BrokenPeer(f"cannot send: {e}") from e
        if sent < len(data):
            raise BrokenPeer("peer does not read its replies")

    def _fill(self, size: int) -> bool:
        """Read until `size` bytes of the message are complete (true) or the socket is empty (false)."""
        while len(self._data) < size:
            try:
                part, ancillary, flags, _ = self._sock.recvmsg(
                    size - len(self._data), socket.CMSG_SPACE(vu.MAX_FDS * _FD_SIZE)
                )
            except BlockingIOError:
                return False
            except OSError as e:
                raise BrokenPeer(f"cannot receive: {e}") from e
            self._take_fds(ancillary)
            if flags & socket.MSG_CTRUNC or len(self._fds) > vu.MAX_FDS:
                raise BrokenPeer(f"more than {vu.MAX_FDS} descriptors in one message")
            if not part:
                raise BrokenPeer("disconnected in a message" if self._data else "disconnected")
            self._data += part
        return True

    def _take_fds(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds += array.array("i", data[: len(data) // _FD_SIZE * _FD_SIZE])
