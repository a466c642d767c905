"""Count and drop the packets that the driver sends; none ever arrive.

Source: ena_eth_io_defs.h (struct ena_eth_io_tx_desc, ena_eth_io_tx_cdesc, ena_eth_io_intr_reg) and ena_eth_com.c.
"""

import struct
from dataclasses import dataclass

from ena_device import admin_layout as al
from ena_device import registers as reg
from ena_device.device_errors import CommandRejected, MessageRefused
from ena_device.guest_memory import GuestMemory
from ena_device.interrupts import VECTORS, Interrupts
from ena_device.rings import Ring

TX_DESC = struct.Struct("<IIII")  # len_ctrl, meta_ctrl, buffer address low, high and header size
LENGTH_MASK, META_DESC, LAST = 0xFFFF, 1 << 23, 1 << 27  # in len_ctrl
REQ_ID_HI_SHIFT, REQ_ID_HI_MASK, REQ_ID_LO_SHIFT, REQ_ID_LO_BITS = 16, 0x3F, 22, 10  # len_ctrl, meta_ctrl
TX_CDESC = struct.Struct("<HBBHH")  # request id, status, flags (bit 0: phase), sub queue, sq head
CDESC_FLAGS_AT, CDESC_TAIL_AT = 3, 4


@dataclass(slots=True, kw_only=True)
class CompletionQueue:
    ring: Ring
    vector: int


@dataclass(slots=True, kw_only=True)
class SubmissionQueue:
    ring: Ring
    sends: bool
    completion: int  # index of its completion queue
    request_id: int | None = None  # of the packet under way
    length: int = 0


class PacketQueues:
    """The queues that the driver created since the last reset, and the counts of sent packets and bytes."""

    def __init__(self, memory: GuestMemory, interrupts: Interrupts) -> None:
        self._memory, self._interrupts = memory, interrupts
        self.submission: dict[int, SubmissionQueue] = {}
        self.completion: dict[int, CompletionQueue] = {}
        self._armed: set[int] = set()  # vectors the driver wants interrupts from
        self._pending: set[int] = set()
        self.packets = 0
        self.bytes = 0

    def create_completion(self, command: bytes) -> bytes:
        _, caps, depth, vector, low, high, _ = al.CREATE_CQ.unpack_from(command, al.CREATE_CQ_AT)
        entry_size = (caps & al.CQ_ENTRY_WORDS_MASK) * 4
        if entry_size < TX_CDESC.size or vector >= VECTORS:
            raise CommandRejected(al.Status.ILLEGAL_PARAMETER, f"completions of {entry_size} bytes on vector {vector}")
        index = _free_index(self.completion)
        ring = _ring(al.address(low, high), depth, entry_size)
        self.completion[index] = CompletionQueue(ring=ring, vector=vector)
        return al.CREATED_CQ.pack(index, depth, 0, 0, reg.CQ_UNMASKS + reg.REGISTER_SIZE * index)

    def destroy_completion(self, command: bytes) -> bytes:
        return _destroy(self.completion, command)

    def create_submission(self, command: bytes) -> bytes:
        identity, _, caps, _, cq, depth, low, high, _ = al.CREATE_SQ.unpack_from(command, al.CREATE_SQ_AT)
        if caps & al.SQ_PLACEMENT_MASK != al.SQ_PLACEMENT_HOST:
            raise CommandRejected(al.Status.ILLEGAL_PARAMETER, "a queue in device memory (LLQ)")
        if cq not in self.completion:
            raise CommandRejected(al.Status.ILLEGAL_PARAMETER, f"no completion queue {cq}")
        index = _free_index(self.submission)
        self.submission[index] = SubmissionQueue(
            ring=_ring(al.address(low, high), depth, TX_DESC.size),
            sends=identity >> al.SQ_DIRECTION_SHIFT == al.SQ_DIRECTION_TX,
            completion=cq,
        )
        return al.CREATED_SQ.pack(index, 0, reg.SQ_DOORBELLS + reg.REGISTER_SIZE * index, 0, 0)

    def destroy_submission(self, command: bytes) -> bytes:
        return _destroy(self.submission, command)

    def statistics(self) -> bytes:
        return al.BASIC_STATS.pack(self.bytes, self.packets, 0, 0, 0, 0, 0)

    def unmask(self, index: int, value: int) -> None:
        """Arm the next interrupt of a completion queue: the driver wrote its unmask register."""
        queue = self.completion.get(index)
        if queue and value & reg.UNMASK_ARM:
            self._armed.add(queue.vector)
            if queue.vector in self._pending:
                self._interrupt(queue.vector)

    def ring_doorbell(self, index: int, tail: int) -> None:
        """Send the packets in the queue up to the tail. Raises MessageRefused when they are out of reach."""
        queue = self.submission.get(index)
        completion = self.completion.get(queue.completion) if queue else None
        if queue is None or completion is None or not queue.sends:
            return
        packets_before = self.packets
        for _ in range(queue.ring.entries_up_to(tail)):
            self._send(queue, completion)
        if self.packets > packets_before:
            self._interrupt(completion.vector)

    def _send(self, queue: SubmissionQueue, completion: CompletionQueue) -> None:
        len_ctrl, meta_ctrl, _, _ = TX_DESC.unpack(self._memory.read(queue.ring.address, TX_DESC.size))
        queue.ring.count += 1
        if not len_ctrl & META_DESC:
            queue.length += len_ctrl & LENGTH_MASK
            if queue.request_id is None:
                high = len_ctrl >> REQ_ID_HI_SHIFT & REQ_ID_HI_MASK
                queue.request_id = high << REQ_ID_LO_BITS | meta_ctrl >> REQ_ID_LO_SHIFT
        if len_ctrl & LAST:
            self._complete(queue, completion.ring)

    def _complete(self, queue: SubmissionQueue, ring: Ring) -> None:
        entry = TX_CDESC.pack(queue.request_id or 0, 0, 0, 0, queue.ring.count & 0xFFFF)
        window = self._memory.window(ring.address, ring.entry_size)
        window.write(CDESC_TAIL_AT, entry[CDESC_TAIL_AT:])
        window.write(0, entry[:CDESC_FLAGS_AT])
        window.publish_u8(CDESC_FLAGS_AT, ring.phase)  # last: the phase says that the entry is new
        ring.count += 1
        self.packets += 1
        self.bytes += queue.length
        queue.request_id, queue.length = None, 0

    def _interrupt(self, vector: int) -> None:
        if vector in self._armed:
            self._armed.discard(vector)
            self._pending.discard(vector)
            self._interrupts.fire(vector)
        else:
            self._pending.add(vector)


def _ring(base: int, depth: int, entry_size: int) -> Ring:
    try:
        return Ring(base=base, depth=depth, entry_size=entry_size)
    except MessageRefused as e:
        raise CommandRejected(al.Status.ILLEGAL_PARAMETER, str(e)) from e


def _free_index(queues: dict[int, SubmissionQueue] | dict[int, CompletionQueue]) -> int:
    if len(queues) >= reg.QUEUES:
        raise CommandRejected(al.Status.RESOURCE_ALLOCATION_FAILURE, f"more than {reg.QUEUES} queues")
    return min(set(range(reg.QUEUES)) - set(queues))


def _destroy(queues: dict[int, SubmissionQueue] | dict[int, CompletionQueue], command: bytes) -> bytes:
    (index,) = al.DESTROY.unpack_from(command, al.DESTROY_AT)
    if queues.pop(index, None) is None:
        raise CommandRejected(al.Status.ILLEGAL_PARAMETER, f"no queue {index}")
    return b""
