"""How are requests taken and answered? One UDP socket on a loopback address, for as long as another process lives."""

import os
import select
import socket
import struct
import time

from ntp_server.packet import reply

_SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>: the kernel's time of arrival comes with each datagram
_TIMESPEC = struct.Struct("qq")
_LARGEST_DATAGRAM = 2048


class Server:
    """Answers NTP requests with the host's CLOCK_REALTIME."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        """Raises OSError when the port is taken."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((address, port))
        self._socket.setblocking(False)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def run(self, end_with: int | None = None) -> None:
        """Serve until the process `end_with` ends (its pid), or for ever. Raises ProcessLookupError when it is gone."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        watched = None if end_with is None else os.pidfd_open(end_with)
        if watched is not None:
            poll.register(watched, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if watched in ready:
                return
            self._answer()

    def _answer(self) -> None:
        try:
            request, ancillary, _, sender = self._socket.recvmsg(_LARGEST_DATAGRAM, socket.CMSG_SPACE(_TIMESPEC.size))
            answer = reply(request, received_utc_ns=_arrival_ns(ancillary), sent_utc_ns=time.time_ns())
            if answer is not None:
                self._socket.sendto(answer, sender)
        except OSError:  # nothing there after all, or the asker's port is closed: neither harms the next one
            return


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, ns = _TIMESPEC.unpack_from(data)
            return int(seconds) * 10**9 + int(ns)
    return time.time_ns()
