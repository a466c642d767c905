"""Define the layouts of vfio-user messages.

Source: docs/interop/vfio-user.rst in the QEMU tree (version 0.1); VFIO constants from <linux/vfio.h>.
"""

import errno
import json
import struct
from dataclasses import dataclass
from enum import IntEnum

from ena_device.device_errors import MessageRefused


class VfioCommand(IntEnum):
    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    GET_INFO = 4
    GET_REGION_INFO = 5
    GET_REGION_IO_FDS = 6
    GET_IRQ_INFO = 7
    SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    RESET = 13
    DIRTY_PAGES = 14
    WRITE_MULTI = 15


HEADER = struct.Struct("<HHIII")  # message id, command, size with this header, flags, error
TYPE_MASK, TYPE_COMMAND, TYPE_REPLY, NO_REPLY, ERROR = 0xF, 0x0, 0x1, 0x10, 0x20
MAX_TRANSFER = 1 << 20
MAX_MESSAGE = HEADER.size + 32 + MAX_TRANSFER
MAX_FDS = 16
MAX_WRITES = 256  # in one WRITE_MULTI; QEMU puts together at most 200

VERSION = struct.Struct("<HH")
MAJOR, MINOR = 0, 1
CAPABILITIES = {"capabilities": {"max_msg_fds": MAX_FDS, "max_data_xfer_size": MAX_TRANSFER}}

DMA_MAP = struct.Struct("<IIQQQ")  # argsz, flags, file offset, address, size
DMA_READABLE, DMA_WRITABLE = 1, 2
DMA_UNMAP = struct.Struct("<IIQQ")  # argsz, flags, address, size
UNMAP_DIRTY_BITMAP, UNMAP_ALL = 1, 2

DEVICE_INFO = struct.Struct("<IIII")  # argsz, flags, regions, interrupt types
DEVICE_RESETS, DEVICE_IS_PCI = 1, 2

REGION_INFO = struct.Struct("<IIIIQQ")  # argsz, flags, index, capabilities at, size, mmap offset
REGION_READS, REGION_WRITES, REGION_MAPS, REGION_HAS_CAPABILITIES = 1, 2, 4, 8
SPARSE_MMAP = struct.Struct("<HHIIIQQ")  # id, version, next, areas, reserved, then offset and size of one area
SPARSE_MMAP_ID, SPARSE_MMAP_VERSION = 1, 1

IRQ_INFO = struct.Struct("<IIII")  # argsz, flags, index, count
IRQ_EVENTFD, IRQ_FIXED_SIZE = 1, 8
IRQ_SET = struct.Struct("<IIIII")  # argsz, flags, index, start, count
IRQ_DATA_NONE, IRQ_DATA_EVENTFD = 1, 4

ACCESS = struct.Struct("<QII")  # offset, region, count; a write's data follows
MULTI_COUNT = struct.Struct("<Q")
MULTI_WRITE = struct.Struct("<QII8s")  # offset, region, count, data (at most 8 bytes)

BAR0, BAR1, CONFIG, REGIONS = 0, 1, 7, 9  # VFIO_PCI_*_REGION_INDEX
IRQ_MSIX, IRQ_TYPES = 2, 5  # VFIO_PCI_*_IRQ_INDEX


@dataclass(slots=True, kw_only=True)
class Message:
    """A message with its descriptors; code that keeps a descriptor must remove it from `fds`."""

    id: int
    command: int
    flags: int
    body: bytes
    fds: list[int]

    @property
    def wants_reply(self) -> bool:
        return not self.flags & NO_REPLY


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes = b""
    fds: tuple[int, ...] = ()


def unpack(layout: struct.Struct, body: bytes, at: int = 0) -> tuple[int, ...]:
    """Unpack the fields of a message body. Raises MessageRefused when it is too short."""
    if len(body) < at + layout.size:
        raise MessageRefused(errno.EINVAL, f"{len(body)} bytes, at least {at + layout.size} expected")
    return layout.unpack_from(body, at)


def reply_bytes(message: Message, body: bytes = b"", error: int = 0) -> bytes:
    flags = TYPE_REPLY | (ERROR if error else 0)
    return HEADER.pack(message.id, message.command, HEADER.size + len(body), flags, error) + body


def version_body(peer_minor: int) -> bytes:
    """Build the greeting; its minor version must not exceed the peer's."""
    return VERSION.pack(MAJOR, min(MINOR, peer_minor)) + json.dumps(CAPABILITIES).encode() + b"\0"
