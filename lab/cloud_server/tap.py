"""Join this process's own network namespace to a guest's network.

The guest's network is a datagram socket, one frame per datagram (QEMU's `-netdev dgram`). A TAP interface of the
namespace gives the frames to the kernel's own TCP/IP. The namespace has no other interface, so the guest reaches the
servers of this process and nothing else of this machine. Both speak IPv6: QEMU's own network is on the same wire and
resets every TCP connection over IPv4 that is not its own.
"""

import fcntl
import ipaddress
import os
import select
import socket
import struct
from contextlib import suppress
from pathlib import Path

_TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
_TAP, _NO_PACKET_INFORMATION = 0x0002, 0x1000
_SET_ADDRESS, _SET_FLAGS = 0x8916, 0x8914  # <linux/sockios.h>
_UP, _RUNNING = 0x1, 0x40  # <net/if.h>
_NAME = b"guest"
_LARGEST_FRAME = 65_536


def open_tap(address: ipaddress.IPv6Interface) -> int:
    """Create the interface with an address, up, and return its file descriptor. Raises OSError where not allowed."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", _NAME, _TAP | _NO_PACKET_INFORMATION))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH22x", _NAME, _UP | _RUNNING))
        index = socket.if_nametoindex(_NAME.decode())
        request = struct.pack("16sIi", address.ip.packed, address.network.prefixlen, index)  # struct in6_ifreq
        fcntl.ioctl(control, _SET_ADDRESS, request)
    return tap


class Bridge:
    """Carry frames between the guest's network and the TAP interface."""

    def __init__(self, path: Path, peer: Path, tap: int) -> None:
        """Listen at `path` and send to the socket at `peer`. Raises OSError when the path is taken."""
        self._peer, self._tap = str(peer), tap
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def run(self, end_with: int | None = None) -> None:
        """Carry frames until the process `end_with` (a pid) ends, or for ever. Raises ProcessLookupError if gone."""
        poll = select.poll()
        for source in (self._socket.fileno(), self._tap):
            poll.register(source, select.POLLIN)
        pidfd = None if end_with is None else os.pidfd_open(end_with)
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if pidfd in ready:
                return
            with suppress(OSError):  # a frame too long, or no room: the frame is lost, as on a wire
                if self._socket.fileno() in ready:
                    os.write(self._tap, self._socket.recv(_LARGEST_FRAME))
            with suppress(OSError):
                if self._tap in ready:
                    self._socket.sendto(os.read(self._tap, _LARGEST_FRAME), self._peer)
