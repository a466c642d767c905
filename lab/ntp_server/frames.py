"""Answer an Ethernet frame. Pure: an Ethernet frame in, an Ethernet frame or None out.

One address is served: ARP requests for it (RFC 826), and UDP datagrams to its NTP port in whole IPv4 packets without
options (RFC 791, RFC 768). Everything else gets no answer.
"""

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass

NTP_PORT = 123
ARP, IPV4 = 0x0806, 0x0800
UDP = 17
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_IPV4 = (1, IPV4, 6, 4)  # hardware and protocol, and the lengths of their addresses
_ARP_REQUEST, _ARP_REPLY = 1, 2
_IP = struct.Struct("!BBHHHBBH4s4s")
_NO_OPTIONS = 0x45  # version 4, a header of five words
_FRAGMENT = 0x3FFF  # "more fragments" and the offset
_TTL = 64
_UDP = struct.Struct("!HHHH")

Service = Callable[[bytes], bytes | None]
"""The answer to a datagram's payload, or None."""


@dataclass(frozen=True, slots=True)
class Station:
    """The station that answers: an IPv4 address in four bytes, and the hardware address derived from it."""

    address: bytes

    @classmethod
    def parse(cls, address: str) -> "Station":
        """Parse an IPv4 address. Raises ValueError for any other text."""
        return cls(ipaddress.IPv4Address(address).packed)

    @property
    def mac(self) -> bytes:
        """The hardware address: 52:55 before the IPv4 address, as in QEMU's user-mode network."""
        return b"\x52\x55" + self.address


def answer(frame: bytes, station: Station, service: Service) -> bytes | None:
    """Build the station's answer to a frame; None when it gets none."""
    if len(frame) < _ETHERNET.size:
        return None
    target, source, kind = _ETHERNET.unpack_from(frame)
    body = frame[_ETHERNET.size :]
    if kind == ARP:
        reply = _arp(body, station)
    elif kind == IPV4 and target == station.mac:
        reply = _ip(body, station, service)
    else:
        return None
    return None if reply is None else _ETHERNET.pack(source, station.mac, kind) + reply


def checksum(data: bytes) -> int:
    """Compute the internet checksum (RFC 1071); 0 over data that includes its own correct checksum."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(word for (word,) in struct.iter_unpack("!H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _arp(body: bytes, station: Station) -> bytes | None:
    if len(body) < _ARP.size:
        return None
    *format_, operation, mac, address, _, requested = _ARP.unpack_from(body)
    if tuple(format_) != _ARP_IPV4 or operation != _ARP_REQUEST or requested != station.address:
        return None
    return _ARP.pack(*_ARP_IPV4, _ARP_REPLY, station.mac, station.address, mac, address)


def _ip(body: bytes, station: Station, service: Service) -> bytes | None:
    if len(body) < _IP.size:
        return None
    first, _, length, _, fragment, _, protocol, _, source, target = _IP.unpack_from(body)
    ours = first == _NO_OPTIONS and protocol == UDP and target == station.address and not fragment & _FRAGMENT
    if not ours or not _IP.size <= length <= len(body) or checksum(body[: _IP.size]):
        return None
    reply = _udp(body[_IP.size : length], source, station, service)
    if reply is None:
        return None
    header = [_NO_OPTIONS, 0, _IP.size + len(reply), 0, 0, _TTL, UDP, 0, station.address, source]
    header[7] = checksum(_IP.pack(*header))
    return _IP.pack(*header) + reply


def _udp(datagram: bytes, source: bytes, station: Station, service: Service) -> bytes | None:
    if len(datagram) < _UDP.size:
        return None
    source_port, target_port, length, sum_ = _UDP.unpack_from(datagram)
    if target_port != NTP_PORT or length != len(datagram):
        return None
    if sum_ and checksum(_pseudo_header(source, station.address, length) + datagram):
        return None
    payload = service(datagram[_UDP.size :])
    if payload is None:
        return None
    length = _UDP.size + len(payload)
    unsummed = _UDP.pack(NTP_PORT, source_port, length, 0) + payload
    summed = checksum(_pseudo_header(station.address, source, length) + unsummed) or 0xFFFF
    return _UDP.pack(NTP_PORT, source_port, length, summed) + payload


def _pseudo_header(source: bytes, target: bytes, length: int) -> bytes:
    return struct.pack("!4s4sBBH", source, target, 0, UDP, length)
