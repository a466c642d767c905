"""How does a request for the time reach the device? Two ways, of which the driver knows only the offset to write to.

Socket: the write to the register is a vfio-user message like any other; tens of microseconds, milliseconds at times.
Mapped: the guest has a page of shared memory for a doorbell and a process of its own watches that page; microseconds.
"""

import fcntl
import mmap
import os
import signal
import time
from dataclasses import dataclass
from typing import Protocol

from ena_device.clock import SharedClock
from ena_device.guest_memory import Window
from ena_device.lifetime import change_core, die_with_parent, kill_child, run_ahead
from ena_device.phc import Responder
from ena_device.registers import DOORBELL_PAGE, PHC_DOORBELL

IDLE = 0xFFFFFFFF  # the driver writes 16-bit request numbers as 32-bit words, so never this
PATIENCE_LOOKS = 300  # some 20 us, longer than most gaps in a burst
BURST_S, BURST_REST_S = 0.002, 10e-6  # the guest may need our core to ring again, so even in a burst there are rests
LATE_IN_A_ROW = 3  # requests that came only while we rested: the guest runs on our core
MOST_IN_A_BURST = 1000  # a guest that asks on and on gets half of our core: none that reads a clock asks as much
IN_USE_S = 60.0  # after the last request, or after the driver configured the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Rests:
    """Pauses between two looks at the mapped doorbell; 0: look all the time, for a whole core.

    In use they bound how late the first reading of a burst is answered. That matters beyond this one reading: chrony's
    filter of slow readings starts from the first ones and takes minutes to forget them.
    """

    in_use_s: float
    idle_s: float

    def after(self, quiet_s: float) -> float:
        """How long to rest when there was no request for so long."""
        if quiet_s > IN_USE_S:
            return self.idle_s
        return min(BURST_REST_S, self.in_use_s) if quiet_s < BURST_S else self.in_use_s


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedArea:
    """The part of BAR 0 that the guest may map; the offset in the region is the one in the file."""

    fd: int
    offset: int
    size: int


class Doorbell(Protocol):
    offset: int  # in BAR 0, told to the driver
    mapped_area: MappedArea | None

    def start(self, window: Window) -> None: ...
    def stop(self) -> None: ...
    def ring(self, request_id: int) -> None: ...
    def due_ns(self) -> int | None: ...
    def flush(self) -> None: ...


class SocketDoorbell:
    """Answered by the process that serves the socket."""

    offset = PHC_DOORBELL
    mapped_area: MappedArea | None = None

    def __init__(self, clock: SharedClock) -> None:
        self._clock = clock
        self._responder: Responder | None = None

    def start(self, window: Window) -> None:
        self._responder = Responder(self._clock, window)

    def stop(self) -> None:
        self._responder = None

    def ring(self, request_id: int) -> None:
        if self._responder:
            self._responder.ring(request_id)

    def due_ns(self) -> int | None:
        return self._responder.due_ns if self._responder else None

    def flush(self) -> None:
        if self._responder:
            self._responder.flush()


class MappedDoorbell:
    """Answered by a child process that lives as long as the driver has the clock configured."""

    offset = DOORBELL_PAGE
    mapped_area: MappedArea | None

    def __init__(self, clock: SharedClock, rests: Rests) -> None:
        self._clock, self._rests = clock, rests
        fd = os.memfd_create("ena-doorbell", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, DOORBELL_PAGE + mmap.PAGESIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.mapped_area = MappedArea(fd=fd, offset=DOORBELL_PAGE, size=mmap.PAGESIZE)
        self._page = mmap.mmap(fd, mmap.PAGESIZE, offset=DOORBELL_PAGE)
        self._bell = memoryview(self._page).cast("I")
        self._child: int | None = None
        self._window: Window | None = None

    def start(self, window: Window) -> None:
        """The child starts with the next flush, so that a queue full of commands starts no more than one."""
        self.stop()
        self._window = window
        self._bell[0] = IDLE

    def _start_child(self, window: Window) -> None:
        parent = os.getpid()
        self._child = os.fork() or None
        if self._child is None:
            try:
                _become_watcher(parent)
                if self._rests.in_use_s and self._rests.idle_s:
                    run_ahead()
                watch(self._bell, Responder(self._clock, window), self._rests)
            finally:  # whatever happens, the child never runs the parent's code
                os._exit(1)

    def stop(self) -> None:
        self._window = None
        if self._child is not None:
            kill_child(self._child)
            self._child = None

    def ring(self, request_id: int) -> None:
        """A write to the register although the driver was told the page: nothing watches there."""

    def due_ns(self) -> int | None:
        return None

    def flush(self) -> None:
        """The child gives its answers itself; here it is started, and one that was killed from outside replaced."""
        if self._child is not None and os.waitpid(self._child, os.WNOHANG) != (0, 0):
            self._child = None
            self._bell[0] = IDLE
        if self._child is None and self._window is not None:
            self._start_child(self._window)


def _become_watcher(parent: int) -> None:
    """Keep of the parent only the memory: an open socket here would hide from QEMU that the device is gone."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    die_with_parent(parent)


def watch(bell: "memoryview[int]", responder: Responder, rests: Rests) -> None:
    """Answer each request that appears in bell[0]; never returns."""
    late = unseen_ns = 0
    while True:
        begun_s = time.monotonic()
        answered = _answer_burst(bell, responder, unseen_ns)
        if answered >= MOST_IN_A_BURST:
            time.sleep(time.monotonic() - begun_s)
        quiet_since_s = looked_s = time.monotonic()
        while bell[0] == IDLE:
            looked_s = time.monotonic()
            rest_s = rests.after(looked_s - quiet_since_s)
            if rest_s:
                time.sleep(rest_s)
            responder.flush()
        seen_s = time.monotonic()
        unseen_ns = round((seen_s - looked_s) * 1e9)
        within_burst = seen_s - quiet_since_s < BURST_S
        late = late + 1 if within_burst and answered == 1 else 0
        if late == LATE_IN_A_ROW:
            change_core()
            late = 0


def _answer_burst(bell: "memoryview[int]", responder: Responder, unseen_ns: int) -> int:
    """Answer until PATIENCE_LOOKS looks in a row found nothing; returns how many requests there were, at most
    MOST_IN_A_BURST.

    The first one may have come up to `unseen_ns` ago.
    """
    quiet = answered = 0
    while quiet < PATIENCE_LOOKS and answered < MOST_IN_A_BURST:
        request = bell[0]
        if request == IDLE:
            quiet += 1
            continue
        bell[0] = IDLE
        responder.ring(request & 0xFFFF, unseen_ns=0 if answered else unseen_ns)
        quiet, answered = 0, answered + 1
    responder.flush()
    return answered
