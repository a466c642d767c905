"""How does the device tell the driver about link changes, that it is alive, and that it wants a reset?

Asynchronous event notification queue: ena_com_admin_init_aenq and ena_com_aenq_intr_handler in the driver's ena_com.c.
"""

import time
from collections import deque

from ena_device import admin_layout as al
from ena_device.device_errors import MessageRefused
from ena_device.guest_memory import GuestMemory
from ena_device.rings import Ring

SUPPORTED_GROUPS = 1 << al.Group.LINK_CHANGE | 1 << al.Group.KEEP_ALIVE | 1 << al.Group.DEVICE_REQUEST_RESET
BEAT_S = 1.0  # the driver's watchdog resets the device after 6 s without (ENA_DEVICE_KALIVE_TIMEOUT)
MAX_WAITING = 64


class EventQueue:
    """The events of one initialisation by the driver, from its first head doorbell on."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._ring: Ring | None = None
        self._head = 0
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self.enabled_groups = 0
        self._beat_at: float | None = None

    def listens(self, group: al.Group) -> bool:
        return bool(self.enabled_groups >> group & 1)

    def open(self, ring: Ring, head: int) -> None:
        """The driver's first doorbell: from now on there is room, and a beat each second."""
        self._ring, self._beat_at = ring, time.monotonic() + BEAT_S
        self.take_head(head)

    @property
    def is_open(self) -> bool:
        return self._ring is not None

    def take_head(self, head: int) -> None:
        self._head = head & 0xFFFF

    def add(self, group: al.Group, data: bytes) -> None:
        """Queue one event, if the driver enabled its group."""
        if self.listens(group):
            desc = al.EVENT_DESC.pack(group, 0, 0, time.monotonic_ns() // 1_000_000_000 & 0xFFFFFFFF, 0)
            self._waiting.append(desc + data)

    def beat(self, *, alive: bool) -> None:
        """Queue the sign of life when it is due; a device that shall look dead lets it pass."""
        now = time.monotonic()
        if self._beat_at is not None and now >= self._beat_at:
            self._beat_at = now + BEAT_S
            if alive:
                self.add(al.Group.KEEP_ALIVE, al.KEEP_ALIVE.pack(0, 0, 0, 0, 0, 0))

    def seconds_to_beat(self) -> float | None:
        return None if self._beat_at is None else max(0.0, self._beat_at - time.monotonic())

    def deliver(self) -> bool:
        """Write the waiting events as far as the driver left room. True: interrupt it."""
        sent = False
        while self._ring and self._waiting and (self._head - self._ring.count) & 0xFFFF:
            sent |= self._write(self._ring, self._waiting.popleft().ljust(al.ENTRY_SIZE, b"\0"))
        return sent

    def _write(self, ring: Ring, event: bytes) -> bool:
        try:
            window = self._memory.window(ring.address, al.ENTRY_SIZE)
        except MessageRefused:  # the guest took its memory back without a reset: nobody is there to tell
            self._ring, self._beat_at = None, None
            return False
        window.write(al.EVENT_AFTER_FLAGS_AT, event[al.EVENT_AFTER_FLAGS_AT :])
        window.write(0, event[: al.EVENT_FLAGS_AT])
        window.publish_u8(al.EVENT_FLAGS_AT, ring.phase)  # last: the phase says that the entry is new
        ring.count += 1
        return True
