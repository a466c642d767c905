"""Map the guest's memory into this process, and find guest addresses in it.

QEMU passes file descriptors of the guest's memory (vfio-user specification, VFIO_USER_DMA_MAP); each becomes one shared
mapping. The driver reads some words without a lock as soon as they change, so each publish_* here is one store of the
whole word: struct's native formats and item assignment copy a fixed size that the C compiler turns into a single move,
while the "<H" formats and slices may go byte by byte. Order between stores is that of the program, which holds on x86;
CPython issues no barriers, so on weakly ordered processors this is likely but not promised.
"""

import errno
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ena_device.device_errors import MessageRefused

MAX_REGIONS = 512  # each keeps a descriptor open, of 1024 that a process usually may have
_U16 = struct.Struct("@H")


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedRange:
    """A mapped range of guest addresses; memory is None when QEMU sent no descriptor for it."""

    address: int
    size: int
    memory: mmap.mmap | None
    start: int  # of the range inside memory
    writable: bool

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Window:
    """A checked place in guest memory; it stays valid as long as its mapping exists."""

    memory: mmap.mmap
    start: int

    def read(self, length: int) -> bytes:
        return self.memory[self.start : self.start + length]

    def write(self, at: int, data: bytes) -> None:
        self.memory[self.start + at : self.start + at + len(data)] = data

    def publish_u16(self, at: int, value: int) -> None:
        _U16.pack_into(self.memory, self.start + at, value)

    def publish_u8(self, at: int, value: int) -> None:
        self.memory[self.start + at] = value


class GuestMemory:
    """The ranges of guest memory that QEMU has mapped."""

    def __init__(self) -> None:
        self._regions: list[MappedRange] = []

    def __iter__(self) -> Iterator[MappedRange]:
        return iter(self._regions)

    def map(self, *, address: int, size: int, fd: int | None, offset: int, writable: bool) -> None:
        """Add a range. The caller keeps the descriptor. Raises MessageRefused."""
        if not 0 < size <= 2**64 - address:
            raise MessageRefused(errno.EINVAL, f"map of {size:#x} bytes at {address:#x}")
        if any(address < r.end and r.address < address + size for r in self._regions):
            raise MessageRefused(errno.EEXIST, f"map over an existing range at {address:#x}")
        if len(self._regions) >= MAX_REGIONS:
            raise MessageRefused(errno.ENOSPC, f"more than {MAX_REGIONS} memory ranges")
        page_start = offset & ~(mmap.ALLOCATIONGRANULARITY - 1)
        memory = None if fd is None else _map_file(fd, size + offset - page_start, page_start, writable)
        self._regions.append(
            MappedRange(address=address, size=size, memory=memory, start=offset - page_start, writable=writable)
        )

    def unmap(self, *, address: int, size: int) -> None:
        """Remove each range that lies wholly inside. Raises MessageRefused when there is none.

        The memory of a range is unmapped with its last window.
        """
        outside = [r for r in self._regions if not (address <= r.address and r.end <= address + size)]
        if len(outside) == len(self._regions):
            raise MessageRefused(errno.EINVAL, f"no mapping inside {address:#x}+{size:#x}")
        self._regions = outside

    def clear(self) -> None:
        self._regions = []

    def window(self, address: int, length: int, *, to_write: bool = True) -> Window:
        """Find the place of `length` bytes at a guest address.

        Raises MessageRefused when no single mapping holds all of them.
        """
        for r in self._regions:
            if r.address <= address and address + length <= r.end and r.memory and (r.writable or not to_write):
                return Window(r.memory, address - r.address + r.start)
        kind = "writable " if to_write else ""
        raise MessageRefused(errno.EFAULT, f"no {kind}guest memory at {address:#x}+{length:#x}")

    def read(self, address: int, length: int) -> bytes:
        return self.window(address, length, to_write=False).read(length)


def _map_file(fd: int, length: int, offset: int, writable: bool) -> mmap.mmap:
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    try:
        return mmap.mmap(fd, length, mmap.MAP_SHARED, access, offset=offset)
    except OSError as e:
        raise MessageRefused(e.errno or errno.EINVAL, f"cannot map guest memory: {e}") from e
    except (ValueError, OverflowError) as e:
        raise MessageRefused(errno.EINVAL, f"cannot map guest memory: {e}") from e
