"""Emulate the PCI configuration space of the device.

Layout: PCI Local Bus specification 3.0, type 0 header; MSI-X capability from 6.8.2. Ids: the driver's ena_pci_id_tbl.h.
"""

import errno
import struct

from ena_device.device_errors import MessageRefused
from ena_device.interrupts import VECTORS

SIZE = 256
AMAZON = 0x1D0F
ETHERNET = (0, 0, 2)  # programming interface, subclass, base class
COMMAND, CACHE_LINE, BAR0, BARS_END, SUBSYSTEM, CAPABILITIES, INTERRUPT_LINE = 0x04, 0x0C, 0x10, 0x18, 0x2C, 0x34, 0x3C
STATUS_HAS_CAPABILITIES = 0x10
MSIX_AT = 0x40
MSIX_CONTROL_HIGH = MSIX_AT + 3  # enable and mask-all bits
MSIX_ID = 0x11
MSIX_BAR, MSIX_TABLE, MSIX_PENDING = 1, 0x0000, 0x1000
_WRITABLE = {COMMAND, COMMAND + 1, CACHE_LINE, INTERRUPT_LINE, MSIX_CONTROL_HIGH, *range(BAR0, BARS_END)}


class PciConfig:
    """The 256 bytes that QEMU reads and writes by VFIO region 7."""

    def __init__(self, *, device_id: int, revision: int) -> None:
        self._bytes = bytearray(SIZE)
        ids = (AMAZON, device_id, 0, STATUS_HAS_CAPABILITIES, revision)
        struct.pack_into("<HHHHBBBB", self._bytes, 0, *ids, *ETHERNET)
        struct.pack_into("<HH", self._bytes, SUBSYSTEM, AMAZON, device_id)
        self._bytes[CAPABILITIES] = MSIX_AT
        table_offsets = (MSIX_BAR | MSIX_TABLE, MSIX_BAR | MSIX_PENDING)
        struct.pack_into("<BBHII", self._bytes, MSIX_AT, MSIX_ID, 0, VECTORS - 1, *table_offsets)

    def read(self, offset: int, count: int) -> bytes:
        if offset + count > SIZE:
            raise MessageRefused(errno.EINVAL, f"configuration space {offset:#x}+{count:#x}")
        return bytes(self._bytes[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > SIZE:
            raise MessageRefused(errno.EINVAL, f"configuration space {offset:#x}+{len(data):#x}")
        for i, byte in enumerate(data, offset):
            if i in _WRITABLE:
                self._bytes[i] = byte
        for bar in (BAR0, BAR0 + 4):  # 32-bit memory: the low bits are fixed
            self._bytes[bar] &= 0xF0
