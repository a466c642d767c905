"""How is a request for the time answered?

The driver writes a request number to the doorbell and polls the response in its own memory until the number stands
there (ena_com_phc_get_timestamp in the driver's ena_com.c; struct ena_admin_phc_resp in ena_admin_defs.h).
"""

import random
import struct
import time
from dataclasses import astuple

from ena_device.clock import BILLION, ClockSettings, Mode, SharedClock
from ena_device.guest_memory import Window

RESPONSE_SIZE = 64
REQUEST_ID_AT, VALUES_AT = 0, 8
_VALUES = struct.Struct("<QQII")  # timestamp in ns, reserved, error bound in ns, error flags
ERROR_TIMESTAMP, ERROR_BOUND = 1, 2  # enum ena_admin_phc_error_flags
NO_BOUND = 0xFFFFFFFF
_MODE_FLAGS = {
    Mode.ok: 0,
    Mode.silent: 0,
    Mode.late: 0,
    Mode.err_ts: ERROR_TIMESTAMP,
    Mode.err_eb: ERROR_BOUND,
    Mode.err_both: ERROR_TIMESTAMP | ERROR_BOUND,
}
PAUSE_NS = 500_000_000  # longer than between the readings of one burst, shorter than between bursts
_ASKED, _ANSWERED, _REFUSED, _SILENT, _LATE, _LAST = range(6)


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _busy_until(mono_ns: int) -> int:
    """Compute until a moment of CLOCK_MONOTONIC, and return the one that it became."""
    while (now := now_ns()) < mono_ns:
        pass
    return now


class RateLimit:
    """A bucket of one second's requests, filled again at the same rate."""

    def __init__(self) -> None:
        self._rate_per_s = 0
        self._tokens = 0.0
        self._filled_ns = 0

    def allows(self, rate_per_s: int, mono_ns: int) -> bool:
        if rate_per_s != self._rate_per_s:
            self._rate_per_s, self._tokens, self._filled_ns = rate_per_s, rate_per_s, mono_ns
        self._tokens = min(rate_per_s, self._tokens + (mono_ns - self._filled_ns) * rate_per_s / BILLION)
        self._filled_ns = mono_ns
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Responder:
    """Answers into one response window. Lives in whichever process watches the doorbell."""

    def __init__(self, clock: SharedClock, window: Window) -> None:
        self._clock, self._window = clock, window
        self._counts = list(astuple(clock.counts()))
        self._limit = RateLimit()
        self._random = random.Random()  # seeded anew by the system: two watchers never draw the same jitter
        self._rung_ns = self._after_pause = 0  # the last request (CLOCK_MONOTONIC), and which one after a pause it was
        self._giving_ns = 0  # how long it took to give the last answer
        self._held: tuple[int, int, bytes] | None = None  # due (CLOCK_MONOTONIC ns), request number, values

    @property
    def due_ns(self) -> int | None:
        """When flush wants to be called: an answer is held back until then."""
        return self._held[0] if self._held else None

    def ring(self, request_id: int, *, unseen_ns: int = 0) -> None:
        """Answer one request, as the clock is bent now. It may have come up to `unseen_ns` before it was seen."""
        mono_ns = now_ns()
        settings = self._clock.load()
        before_ns = after_ns = 0
        if settings.spread_us:
            before_ns = self._spread_ns(settings, mono_ns) // 2
            # So that the middle stays right, on the average: what giving the answer takes is part of it.
            after_ns = max(before_ns + unseen_ns // 2 - self._giving_ns, 0)
            mono_ns = _busy_until(mono_ns + before_ns)
        due_ns = mono_ns + after_ns + settings.busy_us * 1000
        counts = self._counts
        counts[_ASKED] += 1
        flags = self._flags(settings, mono_ns)
        time_ns = settings.at(mono_ns)
        if settings.jitter_ns:
            time_ns = max(time_ns + self._random.randint(-settings.jitter_ns, settings.jitter_ns), 0)
        counts[_LAST] = time_ns
        bound_ns = NO_BOUND if flags & ERROR_BOUND else settings.error_bound_ns
        values = _VALUES.pack(0 if flags & ERROR_TIMESTAMP else time_ns, 0, bound_ns, flags)
        self._held = None
        if settings.mode is Mode.silent:
            counts[_SILENT] += 1
        elif flags:
            counts[_REFUSED] += 1
            self._publish(request_id, values, due_ns)
        elif settings.mode is Mode.late:
            counts[_LATE] += 1
            self._held = mono_ns + settings.late_us * 1000, request_id, values
        else:
            counts[_ANSWERED] += 1
            self._publish(request_id, values, due_ns)
        self._clock.count(counts)

    def flush(self) -> None:
        """Give the answer that was held back, once its time has come."""
        if self._held and now_ns() >= self._held[0]:
            _, request_id, values = self._held
            self._held = None
            self._put(request_id, values)

    def _spread_ns(self, settings: ClockSettings, mono_ns: int) -> int:
        """How much longer this answer takes: by chance, but for the first two after a pause.

        chronyd before 4.7 takes only readings that last as long as those that it has learned are fast, and it begins
        with its very first two (HCL_ProcessReadings in hwclock.c, quantiles.c). The first takes the longest and the
        second no longer than it must, so that it begins with all there are.
        """
        longest_ns = settings.spread_us * 1000
        self._after_pause = 0 if mono_ns - self._rung_ns > PAUSE_NS else self._after_pause + 1
        self._rung_ns = mono_ns
        return (longest_ns, 0)[self._after_pause] if self._after_pause < 2 else self._random.randint(0, longest_ns)

    def _flags(self, settings: ClockSettings, mono_ns: int) -> int:
        flags = _MODE_FLAGS[settings.mode]
        if settings.refuse_every and self._counts[_ASKED] % settings.refuse_every == 0:
            flags |= ERROR_TIMESTAMP
        if settings.rate_per_s and not self._limit.allows(settings.rate_per_s, mono_ns):
            flags |= ERROR_TIMESTAMP
        return flags

    def _publish(self, request_id: int, values: bytes, due_ns: int) -> None:
        begun_ns = _busy_until(due_ns)
        self._put(request_id, values)
        self._giving_ns = now_ns() - begun_ns

    def _put(self, request_id: int, values: bytes) -> None:
        self._window.write(VALUES_AT, values)
        self._window.publish_u16(REQUEST_ID_AT, request_id)  # last: it tells the driver to look
