"""Take packets from the driver's queues, and put received frames into them.

Source: ena_eth_io_defs.h (struct ena_eth_io_tx_desc, ena_eth_io_tx_cdesc, ena_eth_io_rx_desc, ena_eth_io_rx_cdesc_base,
ena_eth_io_intr_reg) and ena_eth_com.c. No queue is in device memory (LLQ), and nothing is offloaded: packets are sent
unchanged, and the driver checks the sums of received ones.
"""

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from ena_device import admin_layout as al
from ena_device import registers as reg
from ena_device.device_errors import CommandRejected, MessageRefused
from ena_device.features import MAX_RX_DESCS
from ena_device.guest_memory import GuestMemory
from ena_device.interrupts import VECTORS, Interrupts
from ena_device.network import MAX_FRAME
from ena_device.rings import Ring

TX_DESC = struct.Struct("<IIII")  # len_ctrl, meta_ctrl, buffer address low, high and header size
LENGTH_MASK, META_DESC, LAST = 0xFFFF, 1 << 23, 1 << 27  # in len_ctrl
REQ_ID_HI_SHIFT, REQ_ID_HI_MASK, REQ_ID_LO_SHIFT, REQ_ID_LO_BITS = 16, 0x3F, 22, 10  # len_ctrl, meta_ctrl
ADDRESS_HI_MASK = 0xFFFF
TX_CDESC = struct.Struct("<HBBHH")  # request id, status, flags (bit 0: phase), sub queue, sq head
RX_DESC = struct.Struct("<HBBHHIHH")  # length, -, control, request id, -, buffer address low, high, -
RX_CDESC = struct.Struct("<HBBHHIHBB")  # status (three fields), length, request id, hash, sub queue, offset, -
RX_FIRST, RX_LAST, RX_BUFFER = 1 << 2, 1 << 3, 1 << 6  # in the byte of the phase
CDESC_FLAGS_AT, CDESC_TAIL_AT = 3, 4  # both kinds of completions have the phase there
_LONGEST_BUFFER = 1 << 16  # its length is written as 0


@dataclass(slots=True, kw_only=True)
class CompletionQueue:
    ring: Ring
    vector: int

    def complete(self, memory: GuestMemory, entry: bytes, flags: int = 0) -> None:
        """Write the next completion; the phase in its flags comes last and says that the entry is new."""
        window = memory.window(self.ring.address, self.ring.entry_size)
        window.write(CDESC_TAIL_AT, entry[CDESC_TAIL_AT:])
        window.write(0, entry[:CDESC_FLAGS_AT])
        window.publish_u8(CDESC_FLAGS_AT, flags | self.ring.phase)
        self.ring.count += 1


@dataclass(slots=True, kw_only=True)
class SubmissionQueue:
    ring: Ring
    sends: bool
    completion: int  # index of its completion queue
    tail: int = 0  # of a receive queue: the driver has given the buffers up to here
    request_id: int | None = None  # of the packet under way
    length: int = 0
    parts: list[bytes] = field(default_factory=list)
    broken: bool = False  # the packet under way cannot be sent


@dataclass(slots=True)
class PacketCounts:
    """Packets and bytes since the device process started."""

    sent: int = 0
    sent_bytes: int = 0
    send_drops: int = 0
    received: int = 0
    received_bytes: int = 0
    receive_drops: int = 0


Send = Callable[[bytes], bool]
"""Sends a frame; false when the network does not take it."""


class PacketQueues:
    """The queues that the driver created since the last reset. Without `send`, packets are counted and dropped."""

    def __init__(
        self, memory: GuestMemory, interrupts: Interrupts, counts: PacketCounts, send: Send | None = None
    ) -> None:
        self._memory, self._interrupts, self._counts, self._send_frame = memory, interrupts, counts, send
        self.submission: dict[int, SubmissionQueue] = {}
        self.completion: dict[int, CompletionQueue] = {}
        self._armed: set[int] = set()  # vectors the driver wants interrupts from
        self._pending: set[int] = set()

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
        counts = self._counts
        return al.BASIC_STATS.pack(
            counts.sent_bytes,
            counts.sent,
            counts.received_bytes,
            counts.received,
            counts.receive_drops,
            counts.send_drops,
            0,
        )

    def unmask(self, index: int, value: int) -> None:
        """Arm the next interrupt of a completion queue: the driver wrote its unmask register."""
        queue = self.completion.get(index)
        if queue and value & reg.UNMASK_ARM:
            self._armed.add(queue.vector)
            if queue.vector in self._pending:
                self._interrupt(queue.vector)

    def ring_doorbell(self, index: int, tail: int) -> None:
        """Send the packets in the queue up to the tail, or note the buffers given up to there.

        Raises MessageRefused when the queue is out of reach, or cannot hold as many.
        """
        queue = self.submission.get(index)
        completion = self.completion.get(queue.completion) if queue else None
        if queue is None or completion is None:
            return
        entries = queue.ring.entries_up_to(tail)
        if not queue.sends:
            queue.tail = tail
            return
        sent_before = self._counts.sent
        for _ in range(entries):
            self._send(queue, completion)
        if self._counts.sent > sent_before:
            self._interrupt(completion.vector)

    def receive(self, frame: bytes) -> None:
        """Put a frame into the first receive queue's buffers. A frame that they cannot hold is dropped."""
        queue = next((queue for _, queue in sorted(self.submission.items()) if not queue.sends), None)
        completion = self.completion.get(queue.completion) if queue else None
        try:
            if queue is None or completion is None or not self._receive(queue, completion, frame):
                self._counts.receive_drops += 1
                return
        except MessageRefused:  # a buffer or the queue itself is out of reach
            self._counts.receive_drops += 1
            return
        self._counts.received += 1
        self._counts.received_bytes += len(frame)
        self._interrupt(completion.vector)

    def _receive(self, queue: SubmissionQueue, completion: CompletionQueue, frame: bytes) -> bool:
        """Fill buffers with the frame; false when there are too few. Raises MessageRefused."""
        buffers, room = [], 0
        for place in range(min(queue.ring.entries_up_to(queue.tail), MAX_RX_DESCS)):
            address, length, request_id = self._read_buffer(queue.ring.address_ahead(place))
            part = frame[room : room + length]
            buffers.append((self._memory.window(address, len(part)), part, request_id))
            room += length
            if room >= len(frame):
                break
        if room < len(frame):
            return False
        for place, (window, part, request_id) in enumerate(buffers):
            window.write(0, part)
            flags = RX_BUFFER | (0 if place else RX_FIRST) | (RX_LAST if place == len(buffers) - 1 else 0)
            entry = RX_CDESC.pack(0, 0, 0, len(part), request_id, 0, 0, 0, 0)
            queue.ring.count += 1
            completion.complete(self._memory, entry, flags)
        return True

    def _read_buffer(self, at: int) -> tuple[int, int, int]:
        """Read a descriptor of a buffer to receive into; return address, length and request id."""
        length, _, _, request_id, _, low, high, _ = RX_DESC.unpack(self._memory.read(at, RX_DESC.size))
        return al.address(low, high), length or _LONGEST_BUFFER, request_id

    def _send(self, queue: SubmissionQueue, completion: CompletionQueue) -> None:
        len_ctrl, meta_ctrl, low, high = TX_DESC.unpack(self._memory.read(queue.ring.address, TX_DESC.size))
        queue.ring.count += 1
        if not len_ctrl & META_DESC:
            self._gather(queue, al.address(low, high & ADDRESS_HI_MASK), len_ctrl & LENGTH_MASK)
            if queue.request_id is None:
                request_high = len_ctrl >> REQ_ID_HI_SHIFT & REQ_ID_HI_MASK
                queue.request_id = request_high << REQ_ID_LO_BITS | meta_ctrl >> REQ_ID_LO_SHIFT
        if len_ctrl & LAST:
            self._finish_packet(queue, completion)

    def _gather(self, queue: SubmissionQueue, address: int, length: int) -> None:
        """Add a buffer to the packet under way. One that is out of reach, or makes it too long, breaks the packet."""
        queue.length += length
        if self._send_frame is None or queue.broken:
            return
        try:
            if queue.length > MAX_FRAME:
                raise MessageRefused(errno.EMSGSIZE, f"packet of {queue.length} bytes, at most {MAX_FRAME} expected")
            queue.parts.append(self._memory.read(address, length))
        except MessageRefused:
            queue.broken = True

    def _finish_packet(self, queue: SubmissionQueue, completion: CompletionQueue) -> None:
        """Send the packet under way and complete it: the driver gets its buffers back, whatever became of it."""
        frame, broken = b"".join(queue.parts), queue.broken
        request_id, length = queue.request_id or 0, queue.length
        queue.request_id, queue.length, queue.parts, queue.broken = None, 0, [], False
        if self._send_frame is not None and (broken or not self._send_frame(frame)):
            self._counts.send_drops += 1
        completion.complete(self._memory, TX_CDESC.pack(request_id, 0, 0, 0, queue.ring.count & 0xFFFF))
        self._counts.sent += 1
        self._counts.sent_bytes += length

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
