"""Bring the device up and read its clock like the real driver, without a kernel or a guest.

Source: ena_com.c of the driver: ena_com_dev_reset, ena_com_admin_init, ena_com_execute_admin_command,
ena_com_phc_config, ena_com_phc_get_timestamp. Guest memory is one memfd, laid out by the *_AT constants.
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass

from ena_device import admin_layout as al
from ena_device import registers as reg
from ena_device import vfio_user as vu
from ena_device.packets import LAST, RX_CDESC, RX_DESC, RX_FIRST, RX_LAST, TX_DESC
from ena_device.peer import Peer, PeerError
from ena_device.phc import RESPONSE_SIZE

MEMORY_AT, MEMORY_SIZE = 0x10_0000, 0x10_0000
AQ_AT, ACQ_AT, AENQ_AT, PHC_AT, MMIO_AT, HOST_AT, SQ_AT, CQ_AT, RX_SQ_AT, RX_CQ_AT = range(0, 0xA000, 0x1000)
BUFFERS_AT = 0x40000  # one of BUFFER_SIZE for each descriptor to receive into, then one for each to send
BUFFER_SIZE = 0x1000
DEPTH = 32
ALL_GROUPS = 1 << al.EventGroup.LINK_CHANGE | 1 << al.EventGroup.KEEP_ALIVE | 1 << al.EventGroup.DEVICE_REQUEST_RESET
_PHC_RESPONSE = struct.Struct("<H6xQQII")  # ena_admin_phc_resp: request id, timestamp, -, error bound, error flags
_UNANSWERED_OFFSET = 0x8000  # added to the number expected, so that the answer shows (ENA_PHC_REQ_ID_OFFSET is 0xDEAD)


@dataclass(frozen=True, slots=True)
class Completion:
    status: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer of the clock, with the times of the request and of the answer's arrival (CLOCK_MONOTONIC)."""

    time_ns: int
    error_bound_ns: int
    error_flags: int
    requested_ns: int
    observed_ns: int


class ProgramDriver:
    """A driver on one connection; the caller closes the peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        fd = os.memfd_create("guest-memory")
        os.ftruncate(fd, MEMORY_SIZE)
        self.fd = fd
        self.memory = mmap.mmap(fd, MEMORY_SIZE)
        self._sent = 0
        self._events_read = 0
        self._request = 0
        self._doorbell_offset = 0
        self._bell: memoryview | None = None

    def close(self) -> None:
        os.close(self.fd)

    def start(self, groups: int = ALL_GROUPS) -> None:
        """Do the steps of probing the device, except for the clock. Raises PeerError."""
        self.peer.greet()
        self.peer.map_memory(self.fd, address=MEMORY_AT, size=MEMORY_SIZE)
        self.reset()
        self.set_feature(al.Feature.AENQ_CONFIG, al.AENQ.pack(0, groups))
        self.write(reg.AENQ_HEAD_DOORBELL, DEPTH)

    def reset(self, reason: int = 0) -> None:
        """Reset the device and create the queues again."""
        self.write(reg.DEV_CTL, reg.DEV_CTL_RESET | reason << reg.RESET_REASON_SHIFT)
        self.write(reg.DEV_CTL, 0)
        self.memory[:] = bytes(MEMORY_SIZE)
        self._sent = self._events_read = 0
        for base, caps, at in (
            (reg.AQ_BASE_LO, reg.AQ_CAPS, AQ_AT),
            (reg.ACQ_BASE_LO, reg.ACQ_CAPS, ACQ_AT),
            (reg.AENQ_BASE_LO, reg.AENQ_CAPS, AENQ_AT),
        ):
            self.write(base, MEMORY_AT + at)
            self.write(caps, DEPTH | al.ENTRY_SIZE << 16)
        self.write(reg.MMIO_RESP_LO, MEMORY_AT + MMIO_AT)

    def write(self, offset: int, value: int) -> int:
        """Write a register; return the errno of the reply."""
        return self.peer.write(vu.BAR0, offset, struct.pack("<I", value)).error

    def read(self, offset: int) -> int:
        return int.from_bytes(self.peer.read(vu.BAR0, offset, reg.REGISTER_SIZE).body, "little")

    def read_by_memory(self, offset: int, request: int = 7) -> tuple[int, int, int]:
        """Read a register through memory, like the driver; return the answer's (request number, offset, value)."""
        self.write(reg.MMIO_REG_READ, offset << 16 | request)
        response = struct.unpack_from("<HHI", self.memory, MMIO_AT)
        return (response[0], response[1], response[2])

    def command(self, opcode: int, body: bytes = b"") -> Completion:
        """Execute one admin command; `body` follows the common descriptor. Raises PeerError without a completion."""
        slot = self._sent % DEPTH
        entry = al.COMMAND.pack(self._sent & al.COMMAND_ID_MASK, opcode, 0) + body
        self.memory[AQ_AT + slot * al.ENTRY_SIZE : AQ_AT + (slot + 1) * al.ENTRY_SIZE] = entry.ljust(
            al.ENTRY_SIZE, b"\0"
        )
        self._sent += 1
        self.write(reg.AQ_DOORBELL, self._sent & 0xFFFF)
        completion = self.memory[ACQ_AT + slot * al.ENTRY_SIZE : ACQ_AT + (slot + 1) * al.ENTRY_SIZE]
        command_id, status, flags, _, head = al.COMPLETION.unpack_from(completion)
        phase = 1 ^ (self._sent - 1) // DEPTH & 1
        expected = (self._sent - 1 & al.COMMAND_ID_MASK, phase, self._sent & 0xFFFF)
        if (command_id, flags & 1, head) != expected:
            raise PeerError(f"completion (id, phase, head) {(command_id, flags & 1, head)}, {expected} expected")
        return Completion(status, completion[al.COMPLETION_DATA_AT :])

    def get_feature(self, feature: int, version: int = 0) -> Completion:
        return self.command(al.Opcode.GET_FEATURE, bytes(13) + bytes([feature, version]))

    def set_feature(self, feature: int, values: bytes) -> Completion:
        return self.command(al.Opcode.SET_FEATURE, bytes(13) + bytes([feature, 0, 0]) + values)

    def events(self) -> list[tuple[int, bytes]]:
        """Read the events since the last call, as (group, data), and acknowledge them to the device."""
        events = []
        while True:
            at = AENQ_AT + self._events_read % DEPTH * al.ENTRY_SIZE
            group, _, flags, _, _ = al.EVENT_DESC.unpack_from(self.memory, at)
            if flags & 1 != 1 ^ self._events_read // DEPTH & 1:
                break
            events.append((group, self.memory[at + al.EVENT_DESC.size : at + al.ENTRY_SIZE]))
            self._events_read += 1
        if events:
            self.write(reg.AENQ_HEAD_DOORBELL, DEPTH + self._events_read & 0xFFFF)
        return events

    def configure_phc(self) -> Completion:
        """Read the offset of the clock's doorbell, and set the address for its answers."""
        offer = self.get_feature(al.Feature.PHC_CONFIG)
        if offer.status != al.Status.SUCCESS:
            return offer
        _, self._doorbell_offset, _, _ = al.PHC_GET.unpack_from(offer.data)
        self._bell = None
        if self._doorbell_offset == reg.DOORBELL_PAGE:
            self._bell = memoryview(self.peer.map_doorbell()).cast("I")
        destination = al.PHC_SET.pack(MEMORY_AT + PHC_AT, 0, 0, RESPONSE_SIZE)
        return self.set_feature(al.Feature.PHC_CONFIG, bytes(al.PHC_GET.size) + destination)

    def read_phc(self, timeout_s: float = 5.0) -> Reading | None:
        """Read the clock once; None when no answer came in time."""
        self._request = self._request + 1 & 0xFFFF
        _PHC_RESPONSE.pack_into(self.memory, PHC_AT, self._request + _UNANSWERED_OFFSET & 0xFFFF, 0, 0, 0, 0)
        requested_ns = time.monotonic_ns()
        if self._bell:
            self._bell[0] = self._request
        else:
            self.write(self._doorbell_offset, self._request)
        while True:
            answered, time_ns, _, bound_ns, flags = _PHC_RESPONSE.unpack_from(self.memory, PHC_AT)
            observed_ns = time.monotonic_ns()
            if answered == self._request:
                return Reading(time_ns, bound_ns, flags, requested_ns, observed_ns)
            if observed_ns - requested_ns > timeout_s * 1e9:
                return None

    def create_send_queue(self, vector: int = 1) -> tuple[int, int]:
        """Create a completion queue and a submission queue; return their (doorbell, unmask) registers."""
        cq = al.CREATE_CQ.pack(0, 2, DEPTH, vector, MEMORY_AT + CQ_AT, 0, 0)
        created = self.command(al.Opcode.CREATE_CQ, cq)
        index, _, _, _, unmask = al.CREATED_CQ.unpack_from(created.data)
        identity = al.SQ_DIRECTION_TX << al.SQ_DIRECTION_SHIFT
        sq = al.CREATE_SQ.pack(identity, 0, al.SQ_PLACEMENT_HOST, 1, index, DEPTH, MEMORY_AT + SQ_AT, 0, 0)
        _, _, doorbell, _, _ = al.CREATED_SQ.unpack_from(self.command(al.Opcode.CREATE_SQ, sq).data)
        return doorbell, unmask

    def write_packet(self, slot: int, *, request: int, length: int) -> None:
        """Write one single-descriptor packet into the submission queue."""
        len_ctrl = length | request >> 10 << 16 | 1 << 26 | 1 << 27
        TX_DESC.pack_into(self.memory, SQ_AT + slot * TX_DESC.size, len_ctrl, (request & 0x3FF) << 22, 0, 0)

    def write_frame(self, slot: int, *parts: bytes) -> int:
        """Write a packet with a descriptor for each part from `slot` on; return the slot after it."""
        for number, part in enumerate(parts):
            at = BUFFERS_AT + (DEPTH + slot) * BUFFER_SIZE
            self.memory[at : at + len(part)] = part
            len_ctrl = len(part) | (LAST if number == len(parts) - 1 else 0)
            TX_DESC.pack_into(self.memory, SQ_AT + slot * TX_DESC.size, len_ctrl, slot << 22, MEMORY_AT + at, 0)
            slot += 1
        return slot

    def create_receive_queue(self, *, vector: int = 1, entry_size: int = RX_CDESC.size) -> tuple[int, int]:
        """Create the queues of received packets; return their (doorbell, unmask) registers."""
        cq = al.CREATE_CQ.pack(0, entry_size // 4, DEPTH, vector, MEMORY_AT + RX_CQ_AT, 0, 0)
        index, _, _, _, unmask = al.CREATED_CQ.unpack_from(self.command(al.Opcode.CREATE_CQ, cq).data)
        identity = al.SQ_DIRECTION_RX << al.SQ_DIRECTION_SHIFT
        sq = al.CREATE_SQ.pack(identity, 0, al.SQ_PLACEMENT_HOST, 1, index, DEPTH, MEMORY_AT + RX_SQ_AT, 0, 0)
        _, _, doorbell, _, _ = al.CREATED_SQ.unpack_from(self.command(al.Opcode.CREATE_SQ, sq).data)
        return doorbell, unmask

    def write_buffer(self, slot: int, *, length: int = BUFFER_SIZE, address: int | None = None) -> None:
        """Write the descriptor of a buffer to receive into; its request id is its slot."""
        low = MEMORY_AT + BUFFERS_AT + slot * BUFFER_SIZE if address is None else address
        RX_DESC.pack_into(self.memory, RX_SQ_AT + slot * RX_DESC.size, length, 0, 0, slot, 0, low, 0, 0)

    def received(self, count: int) -> list[bytes]:
        """Read the frames in the completions of the first round up to `count` descriptors. Raises PeerError."""
        frames: list[bytes] = []
        complete = True
        for place in range(count):
            entry = RX_CDESC.unpack_from(self.memory, RX_CQ_AT + place * RX_CDESC.size)
            _, _, flags, length, slot, _, _, _, _ = entry
            if not flags & 1:
                break
            if bool(flags & RX_FIRST) != complete:
                raise PeerError(f"completion {entry} begins a packet within another, or none")
            at = BUFFERS_AT + slot * BUFFER_SIZE
            begun = b"" if complete else frames.pop()
            frames.append(begun + self.memory[at : at + length])
            complete = bool(flags & RX_LAST)
        return frames
