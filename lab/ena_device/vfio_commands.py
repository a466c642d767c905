"""Execute vfio-user commands on the device.

Source: docs/interop/vfio-user.rst in the QEMU tree. Commands with a row in HANDLERS are executed, others are refused.
"""

import errno
from collections.abc import Callable

from ena_device import vfio_user as vu
from ena_device.device import BAR0_SIZE, BAR1_SIZE, Ena
from ena_device.device_errors import BrokenPeer, MessageRefused
from ena_device.interrupts import VECTORS
from ena_device.pci_config import SIZE as CONFIG_SIZE
from ena_device.registers import REGISTER_SIZE

REGION_SIZES = {vu.BAR0: BAR0_SIZE, vu.BAR1: BAR1_SIZE, vu.CONFIG: CONFIG_SIZE}


def execute(device: Ena, message: vu.Message) -> vu.Reply:
    """Execute one command. Raises MessageRefused (an error reply) or BrokenPeer (the connection ends)."""
    handler = HANDLERS.get(message.command)
    if handler is None:
        raise MessageRefused(errno.EOPNOTSUPP, f"command {message.command}")
    return handler(device, message)


def _version(device: Ena, message: vu.Message) -> vu.Reply:
    major, minor = vu.unpack(vu.VERSION, message.body)
    if major != vu.MAJOR:
        raise BrokenPeer(f"vfio-user version {major}.{minor}, {vu.MAJOR}.x expected")
    capabilities = message.body[vu.VERSION.size :].rstrip(b"\0").decode("utf-8", "replace")
    device.log(f"peer speaks vfio-user {major}.{minor} {capabilities}")
    return vu.Reply(vu.version_body(minor))


def _dma_map(device: Ena, message: vu.Message) -> vu.Reply:
    _, flags, offset, address, size = vu.unpack(vu.DMA_MAP, message.body)
    fd = message.fds[0] if message.fds else None
    device.memory.map(address=address, size=size, fd=fd, offset=offset, writable=bool(flags & vu.DMA_WRITABLE))
    device.log(f"guest memory {address:#x}+{size:#x} mapped{'' if message.fds else ', out of reach'}")
    device.memory_changed()
    return vu.Reply()


def _dma_unmap(device: Ena, message: vu.Message) -> vu.Reply:
    _, flags, address, size = vu.unpack(vu.DMA_UNMAP, message.body)
    if flags & vu.UNMAP_DIRTY_BITMAP:
        raise MessageRefused(errno.EOPNOTSUPP, "dirty page bitmap")
    if flags & vu.UNMAP_ALL:
        device.memory.clear()
    else:
        device.memory.unmap(address=address, size=size)
    device.log(f"guest memory {address:#x}+{size:#x} unmapped")
    device.memory_changed()
    return vu.Reply(message.body[: vu.DMA_UNMAP.size])


def _get_info(device: Ena, message: vu.Message) -> vu.Reply:
    flags = vu.DEVICE_RESETS | vu.DEVICE_IS_PCI
    return vu.Reply(vu.DEVICE_INFO.pack(vu.DEVICE_INFO.size, flags, vu.REGIONS, vu.IRQ_TYPES))


def _get_region_info(device: Ena, message: vu.Message) -> vu.Reply:
    capacity, _, index, _, _, _ = vu.unpack(vu.REGION_INFO, message.body.ljust(vu.REGION_INFO.size, b"\0"))
    if index >= vu.REGIONS:
        raise MessageRefused(errno.EINVAL, f"region {index}")
    size = REGION_SIZES.get(index, 0)
    flags = vu.REGION_READS | vu.REGION_WRITES if size else 0
    area = device.doorbell.mapped_area if index == vu.BAR0 else None
    if area is None:
        return vu.Reply(vu.REGION_INFO.pack(vu.REGION_INFO.size, flags, index, 0, size, 0))
    total = vu.REGION_INFO.size + vu.SPARSE_MMAP.size
    flags |= vu.REGION_MAPS | vu.REGION_HAS_CAPABILITIES
    info = vu.REGION_INFO.pack(total, flags, index, vu.REGION_INFO.size, size, 0)
    if capacity < total:  # the peer repeats the request with the capacity that this reply names
        return vu.Reply(info)
    sparse = vu.SPARSE_MMAP.pack(vu.SPARSE_MMAP_ID, vu.SPARSE_MMAP_VERSION, 0, 1, 0, area.offset, area.size)
    return vu.Reply(info + sparse, (area.fd,))


def _get_irq_info(device: Ena, message: vu.Message) -> vu.Reply:
    _, _, index, _ = vu.unpack(vu.IRQ_INFO, message.body)
    if index >= vu.IRQ_TYPES:
        raise MessageRefused(errno.EINVAL, f"interrupt type {index}")
    count = VECTORS if index == vu.IRQ_MSIX else 0
    return vu.Reply(vu.IRQ_INFO.pack(vu.IRQ_INFO.size, vu.IRQ_EVENTFD | vu.IRQ_FIXED_SIZE, index, count))


def _set_irqs(device: Ena, message: vu.Message) -> vu.Reply:
    _, flags, index, start, count = vu.unpack(vu.IRQ_SET, message.body)
    if index >= vu.IRQ_TYPES:
        raise MessageRefused(errno.EINVAL, f"interrupt type {index}")
    if index != vu.IRQ_MSIX:
        return vu.Reply()
    if flags & vu.IRQ_DATA_NONE and count == 0:
        device.interrupts.clear()
    elif flags & vu.IRQ_DATA_EVENTFD:
        if start + count > VECTORS or len(message.fds) > count:
            raise MessageRefused(
                errno.EINVAL, f"vectors {start}+{count} with {len(message.fds)} eventfds, {VECTORS} vectors"
            )
        device.interrupts.set(start, [*message.fds, *[None] * (count - len(message.fds))])
    return vu.Reply()


def _region_read(device: Ena, message: vu.Message) -> vu.Reply:
    offset, region, count = vu.unpack(vu.ACCESS, message.body)
    _check_access(region, offset, count)
    return vu.Reply(message.body[: vu.ACCESS.size] + _read(device, region, offset, count))


def _region_write(device: Ena, message: vu.Message) -> vu.Reply:
    offset, region, count = vu.unpack(vu.ACCESS, message.body)
    data = message.body[vu.ACCESS.size :]
    if len(data) != count:
        raise MessageRefused(errno.EINVAL, f"write of {count} bytes with {len(data)} bytes of data")
    _write(device, region, offset, data)
    return vu.Reply(message.body[: vu.ACCESS.size])


def _write_multi(device: Ena, message: vu.Message) -> vu.Reply:
    (count,) = vu.unpack(vu.MULTI_COUNT, message.body)
    if count > vu.MAX_WRITES:  # each may be a doorbell, and nothing else is served until all are done
        raise MessageRefused(errno.EINVAL, f"{count} writes, at most {vu.MAX_WRITES} expected")
    writes = message.body[vu.MULTI_COUNT.size :]
    if len(writes) != count * vu.MULTI_WRITE.size:
        raise MessageRefused(errno.EINVAL, f"{count} writes in {len(writes)} bytes")
    for offset, region, size, data in vu.MULTI_WRITE.iter_unpack(writes):
        _write(device, region, offset, data[:size])
    return vu.Reply(message.body[: vu.MULTI_COUNT.size])


def _reset(device: Ena, message: vu.Message) -> vu.Reply:
    device.reset("by the bus")
    return vu.Reply()


def _check_access(region: int, offset: int, count: int) -> None:
    if offset + count > REGION_SIZES.get(region, 0):
        raise MessageRefused(errno.EINVAL, f"region {region} at {offset:#x}+{count:#x}")


def _read(device: Ena, region: int, offset: int, count: int) -> bytes:
    if region == vu.CONFIG:
        return device.config.read(offset, count)
    if region == vu.BAR0 and count == REGISTER_SIZE:
        return device.read_register(offset).to_bytes(REGISTER_SIZE, "little")
    return bytes(count)  # BAR1 is the MSI-X table, which QEMU keeps itself


def _write(device: Ena, region: int, offset: int, data: bytes) -> None:
    _check_access(region, offset, len(data))
    if region == vu.CONFIG:
        device.config.write(offset, data)
    elif region == vu.BAR0 and len(data) == REGISTER_SIZE:
        device.write_register(offset, int.from_bytes(data, "little"))


HANDLERS: dict[int, Callable[[Ena, vu.Message], vu.Reply]] = {
    vu.VfioCommand.VERSION: _version,
    vu.VfioCommand.DMA_MAP: _dma_map,
    vu.VfioCommand.DMA_UNMAP: _dma_unmap,
    vu.VfioCommand.GET_INFO: _get_info,
    vu.VfioCommand.GET_REGION_INFO: _get_region_info,
    vu.VfioCommand.GET_IRQ_INFO: _get_irq_info,
    vu.VfioCommand.SET_IRQS: _set_irqs,
    vu.VfioCommand.REGION_READ: _region_read,
    vu.VfioCommand.REGION_WRITE: _region_write,
    vu.VfioCommand.WRITE_MULTI: _write_multi,
    vu.VfioCommand.RESET: _reset,
}
