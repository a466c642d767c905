"""Answer requests for the time.

The driver writes a request number to the doorbell and polls the response in its own memory until the number appears
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
_ASKED, _ANSWERED, _REFUSED, _SILENT, _LATE, _LAST_NS = range(6)


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _busy_until(mono_ns: int) -> int:
    """Keep the processor busy until a moment of CLOCK_MONOTONIC; return the time at the end."""
    while (now := now_ns()) < mono_ns:
        pass
    return now


class RateLimit:
    """A token bucket that holds one second's requests and is refilled at the same rate."""

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
    """Write answers into one response window, in the process that watches the doorbell."""

    def __init__(self, clock: SharedClock, window: Window) -> None:
        self._clock, self._window = clock, window
        self._counts = list(astuple(clock.load_counts()))
        self._limit = RateLimit()
        self._random = random.Random()  # seeded by the system: two watchers never draw the same jitter
        self._last_request_ns = 0  # CLOCK_MONOTONIC
        self._requests_after_pause = 0  # index of the last request after a pause
        self._publish_duration_ns = 0  # how long writing the last answer took
        self._delayed: tuple[int, int, bytes] | None = None  # due (CLOCK_MONOTONIC ns), request number, values

    @property
    def due_ns(self) -> int | None:
        """The time at which flush must be called to write a delayed answer; None when there is none."""
        return self._delayed[0] if self._delayed else None

    def ring(self, request_id: int, *, max_age_ns: int = 0) -> None:
        """Answer one request with the clock's present bends. The request may be up to `max_age_ns` old."""
        mono_ns = now_ns()
        settings = self._clock.load()
        before_ns = after_ns = 0
        if settings.spread_us:
            before_ns = self._spread_ns(settings, mono_ns) // 2
            # Writing the answer takes part of the time after the reading, so that the middle stays correct on average.
            after_ns = max(before_ns + max_age_ns // 2 - self._publish_duration_ns, 0)
            mono_ns = _busy_until(mono_ns + before_ns)
        due_ns = mono_ns + after_ns + settings.busy_us * 1000
        counts = self._counts
        counts[_ASKED] += 1
        flags = self._flags(settings, mono_ns)
        time_ns = settings.time_at(mono_ns)
        if settings.jitter_ns:
            time_ns = max(time_ns + self._random.randint(-settings.jitter_ns, settings.jitter_ns), 0)
        counts[_LAST_NS] = time_ns
        bound_ns = NO_BOUND if flags & ERROR_BOUND else settings.error_bound_ns
        values = _VALUES.pack(0 if flags & ERROR_TIMESTAMP else time_ns, 0, bound_ns, flags)
        self._delayed = None
        if settings.mode is Mode.silent:
            counts[_SILENT] += 1
        elif flags:
            counts[_REFUSED] += 1
            self._publish(request_id, values, due_ns)
        elif settings.mode is Mode.late:
            counts[_LATE] += 1
            self._delayed = mono_ns + settings.late_us * 1000, request_id, values
        else:
            counts[_ANSWERED] += 1
            self._publish(request_id, values, due_ns)
        self._clock.store_counts(counts)

    def flush(self) -> None:
        """Write the delayed answer, once it is due."""
        if self._delayed and now_ns() >= self._delayed[0]:
            _, request_id, values = self._delayed
            self._delayed = None
            self._write_response(request_id, values)

    def _spread_ns(self, settings: ClockSettings, mono_ns: int) -> int:
        """Return the extra duration of this answer: random, except for the first two after a pause.

        chronyd before 4.7 accepts only readings as fast as those that it has learned, and it starts from its very first
        two (HCL_ProcessReadings in hwclock.c, quantiles.c). Here the first takes the longest and the second the
        shortest possible time, so that chronyd starts with the whole range.
        """
        longest_ns = settings.spread_us * 1000
        self._requests_after_pause = 0 if mono_ns - self._last_request_ns > PAUSE_NS else self._requests_after_pause + 1
        self._last_request_ns = mono_ns
        return (
            (longest_ns, 0)[self._requests_after_pause]
            if self._requests_after_pause < 2
            else self._random.randint(0, longest_ns)
        )

    def _flags(self, settings: ClockSettings, mono_ns: int) -> int:
        flags = _MODE_FLAGS[settings.mode]
        if settings.refuse_every and self._counts[_ASKED] % settings.refuse_every == 0:
            flags |= ERROR_TIMESTAMP
        if settings.rate_per_s and not self._limit.allows(settings.rate_per_s, mono_ns):
            flags |= ERROR_TIMESTAMP
        return flags

    def _publish(self, request_id: int, values: bytes, due_ns: int) -> None:
        started_ns = _busy_until(due_ns)
        self._write_response(request_id, values)
        self._publish_duration_ns = now_ns() - started_ns

    def _write_response(self, request_id: int, values: bytes) -> None:
        self._window.write(VALUES_AT, values)
        self._window.publish_u16(REQUEST_ID_AT, request_id)  # last: the driver polls this number
