"""Receive and answer frames on one datagram socket, one frame per datagram, for as long as another process lives.

The socket is on the guest's own network (QEMU's `-netdev dgram`), so the guest reaches this server and, through it,
nothing else of this machine. The kernel drops frames for other receivers before they wake this process.
"""

import ctypes
import os
import select
import socket
import struct
import time
from pathlib import Path

from ntp_server.frames import ARP, IPV4, UDP, Station, answer
from ntp_server.packet import reply

_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
_SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>: the kernel's time of arrival comes with each datagram
_TIMESPEC = struct.Struct("qq")
_LARGEST_FRAME = 2048
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06  # <linux/filter.h>
_INSTRUCTION = struct.Struct("HBBI")


class Server:
    """A server that answers a guest's NTP requests with this machine's CLOCK_REALTIME."""

    def __init__(self, path: Path, peer: Path, station: Station) -> None:
        """Listen at `path` and answer to the socket at `peer`. Raises OSError when the path is taken."""
        self._peer, self._station = str(peer), station
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _attach_filter(self._socket, station)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def run(self, end_with: int | None = None) -> None:
        """Serve until the process `end_with` (a pid) ends, or for ever. Raises ProcessLookupError if it is gone."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        pidfd = None if end_with is None else os.pidfd_open(end_with)
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if pidfd in ready:
                return
            self._answer()

    def _answer(self) -> None:
        try:
            frame, ancillary, _, _ = self._socket.recvmsg(_LARGEST_FRAME, socket.CMSG_SPACE(_TIMESPEC.size))
            received_utc_ns = _arrival_ns(ancillary)

            def service(request: bytes) -> bytes | None:
                return reply(request, received_utc_ns=received_utc_ns, sent_utc_ns=time.time_ns())

            reply_frame = answer(frame, self._station, service)
            if reply_frame is not None:
                self._socket.sendto(reply_frame, self._peer)
        except OSError:  # no datagram after all, or the guest's socket is full: the next frame is unaffected
            return


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, ns = _TIMESPEC.unpack_from(data)
            return int(seconds) * 10**9 + int(ns)
    return time.time_ns()


def _attach_filter(receiver: socket.socket, station: Station) -> None:
    """Let the kernel pass only ARP and UDP for this station (bpf(4)'s instructions; offsets are those of a frame).

    Without the filter each frame of an SSH session would wake this process, and delay NTP requests.
    """
    address = int.from_bytes(station.address, "big")
    program = [
        (_LOAD_HALF, 0, 0, 12),  # 0: the frame's EtherType
        (_JUMP_IF_EQUAL, 0, 2, ARP),  # 1: no: go to 4
        (_LOAD_WORD, 0, 0, 38),  # 2: the requested address
        (_JUMP_IF_EQUAL, 5, 6, address),  # 3
        (_JUMP_IF_EQUAL, 0, 5, IPV4),  # 4
        (_LOAD_BYTE, 0, 0, 23),  # 5: the protocol
        (_JUMP_IF_EQUAL, 0, 3, UDP),  # 6
        (_LOAD_WORD, 0, 0, 30),  # 7: the destination
        (_JUMP_IF_EQUAL, 0, 1, address),  # 8
        (_RETURN, 0, 0, 0xFFFFFFFF),  # 9: keep it whole
        (_RETURN, 0, 0, 0),  # 10: drop it
    ]
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
