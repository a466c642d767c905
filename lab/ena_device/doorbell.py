"""Receive the driver's requests for the time, in one of two ways; the driver only knows the offset to write to.

Socket: the write to the register is an ordinary vfio-user message; it takes tens of microseconds, or milliseconds.
Mapped: the doorbell is a page of shared memory, watched by a separate process; it takes microseconds.
"""

import fcntl
import mmap
import os
import signal
import time
from dataclasses import dataclass, replace
from typing import Protocol

from ena_device.clock import SharedClock
from ena_device.guest_memory import Window
from ena_device.lifetime import die_with_parent, kill_child, move_to_other_core, raise_priority
from ena_device.phc import Responder
from ena_device.registers import DOORBELL_PAGE, PHC_DOORBELL

IDLE = 0xFFFFFFFF  # the driver writes 16-bit request numbers as 32-bit words, so never this
BURST_END_POLLS = 300  # some 20 us, longer than most gaps in a burst
BURST_S, BURST_PAUSE_S = 0.002, 10e-6  # pauses even in a burst: the guest may need this core to ring again
MOST_BURST_PAUSE_S = 100e-6
SLEEPS_MEASURED = 21
LATE_LIMIT = 3  # consecutive requests that came only during pauses: the guest runs on this core
MOST_PER_BURST = 1000  # a guest that never stops gets half of this core: no reader of a clock needs so many
IN_USE_S = 60.0  # after the last request, or after the driver configured the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPauses:
    """Pauses between two polls of the mapped doorbell; 0: poll without a pause, at the cost of a whole core.

    The pause in use bounds the delay of the answer to a burst's first reading. This matters for later readings too:
    chrony's filter of slow readings starts from the first ones and takes minutes to forget them.
    """

    in_use_s: float
    idle_s: float
    burst_s: float = BURST_PAUSE_S

    def pause_s(self, quiet_s: float) -> float:
        """Return the pause after `quiet_s` without a request."""
        if quiet_s > IN_USE_S:
            return self.idle_s
        return min(self.burst_s, self.in_use_s) if quiet_s < BURST_S else self.in_use_s


def measure_burst_pause_s() -> float:
    """Return the pause in a burst that lets a guest on the same core run, by what a sleep takes beyond its time.

    On a virtual machine, where setting a timer may take 30 us, a sleep of 10 us ends before another program has run:
    the guest would see its answer only after the burst, 2 ms later.
    """
    beyond_s = []
    for _ in range(SLEEPS_MEASURED):
        started_s = time.monotonic()
        time.sleep(BURST_PAUSE_S)
        beyond_s.append(time.monotonic() - started_s - BURST_PAUSE_S)
    return min(max(BURST_PAUSE_S, 2 * sorted(beyond_s)[SLEEPS_MEASURED // 2]), MOST_BURST_PAUSE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedArea:
    """The part of BAR 0 that the guest may map; its offset in the region is also its offset in the file."""

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
    """A doorbell answered by the process that serves the socket."""

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
    """A doorbell answered by a child process, which lives as long as the driver has the clock configured."""

    offset = DOORBELL_PAGE
    mapped_area: MappedArea | None

    def __init__(self, clock: SharedClock, pauses: PollPauses) -> None:
        self._clock, self._pauses = clock, pauses
        fd = os.memfd_create("ena-doorbell", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, DOORBELL_PAGE + mmap.PAGESIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.mapped_area = MappedArea(fd=fd, offset=DOORBELL_PAGE, size=mmap.PAGESIZE)
        self._page = mmap.mmap(fd, mmap.PAGESIZE, offset=DOORBELL_PAGE)
        self._bell = memoryview(self._page).cast("I")
        self._child: int | None = None
        self._window: Window | None = None

    def start(self, window: Window) -> None:
        """Prepare the child; the next flush starts it, so that a queue full of commands starts at most one."""
        self.stop()
        self._window = window
        self._bell[0] = IDLE

    def _start_child(self, window: Window) -> None:
        parent = os.getpid()
        self._child = os.fork() or None
        if self._child is None:
            try:
                _become_watcher(parent)
                pauses = self._pauses
                if pauses.in_use_s and pauses.idle_s:
                    raise_priority()
                    pauses = replace(pauses, burst_s=measure_burst_pause_s())
                watch(self._bell, Responder(self._clock, window), pauses)
            finally:  # whatever happens, the child never runs the parent's code
                os._exit(1)

    def stop(self) -> None:
        self._window = None
        if self._child is not None:
            kill_child(self._child)
            self._child = None

    def ring(self, request_id: int) -> None:
        """Ignore a write to the register: the driver was told to write to the page."""

    def due_ns(self) -> int | None:
        return None

    def flush(self) -> None:
        """Start the child, which gives delayed answers by itself, and replace one that was killed from outside."""
        if self._child is not None and os.waitpid(self._child, os.WNOHANG) != (0, 0):
            self._child = None
            self._bell[0] = IDLE
        if self._child is None and self._window is not None:
            self._start_child(self._window)


def _become_watcher(parent: int) -> None:
    """Keep only the parent's memory: a socket left open here would hide from QEMU that the device is gone."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    die_with_parent(parent)


def watch(bell: "memoryview[int]", responder: Responder, pauses: PollPauses) -> None:
    """Answer each request that appears in bell[0]; never returns."""
    late = max_age_ns = 0
    while True:
        started_s = time.monotonic()
        answered = _answer_burst(bell, responder, max_age_ns)
        if answered >= MOST_PER_BURST:
            time.sleep(time.monotonic() - started_s)
        quiet_since_s = last_poll_s = time.monotonic()
        while bell[0] == IDLE:
            last_poll_s = time.monotonic()
            wait_s = pauses.pause_s(last_poll_s - quiet_since_s)
            if wait_s:
                time.sleep(wait_s)
            responder.flush()
        noticed_s = time.monotonic()
        max_age_ns = round((noticed_s - last_poll_s) * 1e9)
        within_burst = noticed_s - quiet_since_s < BURST_S
        late = late + 1 if within_burst and answered == 1 else 0
        if late == LATE_LIMIT:
            move_to_other_core()
            late = 0


def _answer_burst(bell: "memoryview[int]", responder: Responder, max_age_ns: int) -> int:
    """Answer until BURST_END_POLLS polls in a row find no request; return the number answered, up to MOST_PER_BURST.

    The first request may be up to `max_age_ns` old.
    """
    quiet = answered = 0
    while quiet < BURST_END_POLLS and answered < MOST_PER_BURST:
        request = bell[0]
        if request == IDLE:
            quiet += 1
            continue
        bell[0] = IDLE
        responder.ring(request & 0xFFFF, max_age_ns=0 if answered else max_age_ns)
        quiet, answered = 0, answered + 1
    responder.flush()
    return answered
