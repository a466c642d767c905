"""Define the offsets and bits of the device's registers in BAR 0.

Source: ena_regs_defs.h of the driver (ENA_REGS_*). The device chooses the offsets of queue doorbells and interrupt
unmask registers, and tells them to the driver when a queue is created.
"""

REGISTER_SIZE = 4

VERSION = 0x00
CONTROLLER_VERSION = 0x04
CAPS = 0x08
AQ_BASE_LO, AQ_BASE_HI, AQ_CAPS = 0x10, 0x14, 0x18
ACQ_BASE_LO, ACQ_BASE_HI, ACQ_CAPS = 0x20, 0x24, 0x28
AQ_DOORBELL = 0x2C
AENQ_CAPS, AENQ_BASE_LO, AENQ_BASE_HI, AENQ_HEAD_DOORBELL = 0x34, 0x38, 0x3C, 0x40
INTR_MASK = 0x4C
DEV_CTL, DEV_STS = 0x54, 0x58
MMIO_REG_READ, MMIO_RESP_LO, MMIO_RESP_HI = 0x5C, 0x60, 0x64
PHC_DOORBELL = 0x100
STORED = {  # plain storage: a write is kept for the device's own use
    *(AQ_BASE_LO, AQ_BASE_HI, AQ_CAPS, ACQ_BASE_LO, ACQ_BASE_HI, ACQ_CAPS),
    *(AENQ_CAPS, AENQ_BASE_LO, AENQ_BASE_HI, INTR_MASK, MMIO_RESP_LO, MMIO_RESP_HI),
}

QUEUES = 64  # submission and completion queues each
SQ_DOORBELLS, CQ_UNMASKS = 0x400, 0x600
DOORBELL_PAGE = 0x2000  # where the page with the PHC doorbell lies when the guest maps it

VERSION_VALUE = 0x000A  # 0.10
CONTROLLER_VERSION_VALUE = 0x01000001  # implementation 1, 0.0.1
CAPS_CONTIGUOUS, CAPS_RESET_TIMEOUT_SHIFT, CAPS_DMA_WIDTH_SHIFT = 0x1, 1, 8
RESET_TIMEOUT_100MS, DMA_ADDRESS_BITS = 30, 48
CAPS_VALUE = (
    CAPS_CONTIGUOUS | RESET_TIMEOUT_100MS << CAPS_RESET_TIMEOUT_SHIFT | DMA_ADDRESS_BITS << CAPS_DMA_WIDTH_SHIFT
)
DEPTH_MASK = 0xFFFF  # of AQ_CAPS, ACQ_CAPS, AENQ_CAPS
BASE_HI_MASK = 0xFFFF

DEV_CTL_RESET = 0x1
RESET_REASON_SHIFT, RESET_REASON_EXT_SHIFT = 28, 24
DEV_STS_READY, DEV_STS_RESETTING, DEV_STS_RESET_DONE = 0x1, 0x8, 0x10
INTR_MASK_ADMIN = 0x1
UNMASK_ARM = 1 << 30  # ena_eth_io_defs.h, ENA_ETH_IO_INTR_REG_INTR_UNMASK_MASK


def reset_reason(value: int) -> int:
    """Decode the reason in a DEV_CTL write (enum ena_regs_reset_reason_types): four bits, and four more above them."""
    return value >> RESET_REASON_SHIFT & 0xF | (value >> RESET_REASON_EXT_SHIFT & 0xF) << 4
