"""Connect two running lab hosts by a private cable, with one virtio card in each host.

The cards use the slot of a second ENA card, so the golden guest needs no change. In the guest the card is down and has
no address; the kernel chooses its name. The cable is an unnamed pair of datagram sockets which only the two QEMUs hold:
no other process can read it, and it disappears with the hosts.
"""

import socket
from dataclasses import dataclass
from pathlib import Path

from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.io import qmp
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts.command_line import OTHER_SLOT
from harness.errors import CommandError, RequestError
from harness.model import Token

_NAME = "wire"


@dataclass(frozen=True, slots=True, kw_only=True)
class CableEnd:
    """An end of a cable: the host's QMP socket, and its card's hardware address."""

    token: Token
    monitor: Path
    mac: str


def cable_end(record: GuestRecord) -> CableEnd:
    """Describe a host as the end of a cable."""
    return CableEnd(
        token=record.token,
        monitor=record.sockets / "qmp",
        mac=record.mac.replace("06:", "0e:", 1),
    )


def lay_cable(first: CableEnd, second: CableEnd) -> None:
    """Lay a cable between two running hosts. Raises RequestError if a host has a cable or a second card already."""
    if first.token == second.token:
        raise RequestError(f"{first.token} cannot be joined with itself", next_step="name two hosts")
    sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end, end_socket in zip((first, second), sockets, strict=True):
        with end_socket, qmp.session(end.monitor) as monitor:
            try:
                _plug(monitor, end, end_socket)
            except CommandError as error:
                raise RequestError(
                    f"{end.token} takes no second card: {error.message}",
                    next_step="join hosts that are not joined yet, of types without another ENA card",
                ) from error


def _plug(monitor: Qmp, end: CableEnd, end_socket: socket.socket) -> None:
    monitor.pass_file(_NAME, end_socket.fileno())
    monitor.do("netdev_add", type="dgram", id=_NAME, local={"type": "fd", "str": _NAME})
    try:
        card = {"driver": "virtio-net-pci", "id": _NAME, "mac": end.mac, "romfile": ""}
        monitor.do("device_add", netdev=_NAME, bus=OTHER_SLOT, **card)
    except CommandError:
        monitor.do("netdev_del", id=_NAME)
        raise
