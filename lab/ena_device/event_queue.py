"""Notify the driver of link changes, keep-alive and reset requests.

Asynchronous event notification queue: ena_com_admin_init_aenq and ena_com_aenq_intr_handler in the driver's ena_com.c.
"""

import time
from collections import deque

from ena_device import admin_layout as al
from ena_device.device_errors import MessageRefused
from ena_device.guest_memory import GuestMemory
from ena_device.rings import Ring

SUPPORTED_GROUPS = (
    1 << al.EventGroup.LINK_CHANGE | 1 << al.EventGroup.KEEP_ALIVE | 1 << al.EventGroup.DEVICE_REQUEST_RESET
)
KEEP_ALIVE_S = 1.0  # the driver's watchdog resets the device after 6 s without one (ENA_DEVICE_KALIVE_TIMEOUT)
MAX_WAITING = 64


class EventQueue:
    """The events of one initialisation by the driver, from the driver's first head doorbell on."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._ring: Ring | None = None
        self._head = 0
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self.enabled_groups = 0
        self._keep_alive_due_s: float | None = None

    def is_enabled(self, group: al.EventGroup) -> bool:
        return bool(self.enabled_groups >> group & 1)

    def open(self, ring: Ring, head: int) -> None:
        """Open the queue at the driver's first doorbell; keep-alive events are due each second from then on."""
        self._ring, self._keep_alive_due_s = ring, time.monotonic() + KEEP_ALIVE_S
        self.set_head(head)

    @property
    def is_open(self) -> bool:
        return self._ring is not None

    def set_head(self, head: int) -> None:
        self._head = head & 0xFFFF

    def add(self, group: al.EventGroup, data: bytes) -> None:
        """Queue one event, if the driver enabled its group."""
        if self.is_enabled(group):
            desc = al.EVENT_DESC.pack(group, 0, 0, time.monotonic_ns() // 1_000_000_000 & 0xFFFFFFFF, 0)
            self._waiting.append(desc + data)

    def queue_keep_alive(self, receive_drops: int, send_drops: int, *, alive: bool) -> None:
        """Queue the keep-alive event when it is due; skip it when the device shall look dead (`alive` is false).

        It tells the driver how many packets have been dropped.
        """
        now = time.monotonic()
        if self._keep_alive_due_s is not None and now >= self._keep_alive_due_s:
            self._keep_alive_due_s = now + KEEP_ALIVE_S
            if alive:
                self.add(al.EventGroup.KEEP_ALIVE, al.KEEP_ALIVE.pack(receive_drops, send_drops, 0))

    def seconds_to_keep_alive(self) -> float | None:
        return None if self._keep_alive_due_s is None else max(0.0, self._keep_alive_due_s - time.monotonic())

    def deliver(self) -> bool:
        """Write waiting events while the driver's ring has room; true when the driver must be interrupted."""
        sent = False
        while self._ring and self._waiting and (self._head - self._ring.count) & 0xFFFF:
            sent |= self._write(self._ring, self._waiting.popleft().ljust(al.ENTRY_SIZE, b"\0"))
        return sent

    def _write(self, ring: Ring, event: bytes) -> bool:
        try:
            window = self._memory.window(ring.address, al.ENTRY_SIZE)
        except MessageRefused:  # the guest took its memory back without a reset: no driver reads the ring any more
            self._ring, self._keep_alive_due_s = None, None
            return False
        window.write(al.EVENT_AFTER_FLAGS_AT, event[al.EVENT_AFTER_FLAGS_AT :])
        window.write(0, event[: al.EVENT_FLAGS_AT])
        window.publish_u8(al.EVENT_FLAGS_AT, ring.phase)  # last: the phase says that the entry is new
        ring.count += 1
        return True
