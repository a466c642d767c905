"""Carry frames between the card and the guest's network: one Ethernet frame per datagram, on unix sockets.

The other end is a port of QEMU (`-netdev dgram`), such as one of a hub. The socket is connected, so the kernel refuses
datagrams of all other processes, and tells when a full peer has room again. Frames are never waited for: those that a
peer does not take are kept up to a number, then dropped.
"""

import contextlib
import errno
import os
import select
import socket
from collections import deque
from collections.abc import Iterator

from ena_device.device_errors import DeviceSetupError
from ena_device.features import MAX_MTU
from ena_device.sockets import MAX_PATH

HEADER_SIZE = 14  # addresses and type; a frame has neither preamble nor check sequence
MAX_FRAME = HEADER_SIZE + 4 + MAX_MTU  # with a VLAN tag
MAX_WAITING = 256  # frames that a full peer has not taken yet
MAX_PER_TURN = 64  # received frames, then other sockets are served
_GROUP = 0x01  # in the first byte of an address: broadcast and multicast


class NetworkSocket:
    """The card's end of its network; close() removes the path."""

    def __init__(self, path: str, peer: str) -> None:
        """Take the path; frames go to the socket at `peer` once it is there. Raises DeviceSetupError."""
        for place in (path, peer):
            if len(os.fsencode(place)) > MAX_PATH:
                raise DeviceSetupError(
                    f"socket path of {len(os.fsencode(place))} bytes, at most {MAX_PATH} possible: {place}"
                )
        self._path, self._peer = path, peer
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # left behind by a process that was killed
            self._sock.bind(path)
        except OSError as e:
            self._sock.close()
            raise DeviceSetupError(f"cannot receive frames at {path}: {e.strerror or e}") from e
        self._sock.setblocking(False)
        self._connected = False
        self._waiting: deque[bytes] = deque()
        self.invalid = 0  # received frames that were too short or too long

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def events(self) -> int:
        """The events of poll(2) to wait for."""
        return select.POLLIN | (select.POLLOUT if self._waiting else 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._sock.close()

    def send(self, frame: bytes) -> bool:
        """Send a frame, now or when the peer has room; false when the frame is dropped."""
        if not HEADER_SIZE <= len(frame) <= MAX_FRAME or len(self._waiting) >= MAX_WAITING:
            return False
        if not self._waiting:
            error = self._try_to_send(frame)
            if error != errno.EAGAIN:
                return error == 0
        self._waiting.append(frame)
        return True

    def flush(self) -> None:
        """Send the frames that wait, as long as the peer takes them."""
        while self._waiting and self._try_to_send(self._waiting[0]) != errno.EAGAIN:
            self._waiting.popleft()

    def receive(self, address: bytes) -> Iterator[bytes]:
        """Yield the frames for this hardware address and for groups that have arrived, up to MAX_PER_TURN of all.

        A hub repeats each frame to all its ports, so most frames may be for other cards.
        """
        for _ in range(MAX_PER_TURN):
            try:
                frame = self._sock.recv(MAX_FRAME + 1)
            except OSError:  # no more frames
                return
            if not HEADER_SIZE <= len(frame) <= MAX_FRAME:
                self.invalid += 1
            elif frame[0] & _GROUP or frame.startswith(address):
                yield frame

    def _try_to_send(self, frame: bytes) -> int:
        """Send a frame; return the errno, 0 when it is sent. A peer that has come anew at the path is found again."""
        for _ in range(2):
            try:
                if not self._connected:
                    self._sock.connect(self._peer)
                    self._connected = True
                self._sock.send(frame)
                return 0
            except OSError as e:
                error = e.errno or errno.EIO
                if error in (errno.EAGAIN, errno.ENOBUFS):
                    return errno.EAGAIN
                if not self._connected:
                    return error
                self._connected = False
        return error
