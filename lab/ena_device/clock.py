"""Compute the time that the device's clock shows, with its bends, and share the clock between processes.

ClockSettings is plain data and arithmetic. SharedClock keeps one ClockSettings and the counters in memory shared with
the process that watches the doorbell, so that a bend takes effect with the next answer.
"""

import mmap
import struct
from dataclasses import astuple, dataclass, fields, replace
from enum import IntEnum

BILLION = 1_000_000_000


class Mode(IntEnum):
    """The kind of answer to a request."""

    ok = 0
    silent = 1  # never
    err_ts = 2  # with ENA_ADMIN_PHC_ERROR_FLAG_TIMESTAMP
    err_eb = 3  # with ENA_ADMIN_PHC_ERROR_FLAG_ERROR_BOUND
    err_both = 4
    late = 5  # correct, but late_us after the request


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSettings:
    """The clock with its present bends. It shows base_utc_ns at base_mono_ns (CLOCK_MONOTONIC) and runs from there."""

    base_utc_ns: int
    base_mono_ns: int
    freq_ppb: int = 0  # how much faster than CLOCK_MONOTONIC
    frozen: bool = False
    error_bound_ns: int = 20_000
    mode: Mode = Mode.ok
    rate_per_s: int = 0  # requests above this are refused; 0: none
    refuse_every: int = 0  # each Nth request is refused; 0: none
    busy_us: int = 0  # computing time spent on each answer
    spread_us: int = 0  # each answer takes up to this much longer, evenly: half before its time is taken, half after
    late_us: int = 55_000
    jitter_ns: int = 0  # each answer off by up to this, evenly

    def time_at(self, mono_ns: int) -> int:
        """Compute the time shown at a moment of CLOCK_MONOTONIC, in ns of UTC, without jitter."""
        if self.frozen:
            return self.base_utc_ns
        elapsed_ns = mono_ns - self.base_mono_ns
        return self.base_utc_ns + elapsed_ns + elapsed_ns * self.freq_ppb // BILLION

    def set_to(self, utc_ns: int, mono_ns: int) -> "ClockSettings":
        """Return the same clock, set to show utc_ns at mono_ns."""
        return replace(self, base_utc_ns=utc_ns, base_mono_ns=mono_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """Counts of requests since the device started; `asked` is the sum of the other counts."""

    asked: int
    answered: int
    refused: int
    silent: int
    late: int
    last_ns: int  # time of the last answer


_SETTINGS = struct.Struct("@" + "".join("?" if field.type is bool else "q" for field in fields(ClockSettings)))
_COUNTS = struct.Struct("@6q")
_GENERATION_AT, _COUNTS_AT, _FIRST_SLOT_AT = 0, 64, 128
_SLOTS_AT = (_FIRST_SLOT_AT, _FIRST_SLOT_AT + -(-_SETTINGS.size // 64) * 64)


class SharedClock:
    """Keeps one ClockSettings and one RequestCounts in anonymous shared memory.

    The memory is inherited over fork; each of the two is written by one process.

    The settings lie in two slots; a change fills the unused one, then moves the generation by one 8-byte store. A
    reader that finds the generation changed around its copy copies again: it never sees half a change.
    """

    def __init__(self, settings: ClockSettings) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._generation = memoryview(self._memory)[_GENERATION_AT : _GENERATION_AT + 8].cast("Q")
        self._loaded_generation = -1
        self._settings = settings
        self.store(settings)

    def store(self, settings: ClockSettings) -> None:
        generation = self._generation[0] + 1
        _SETTINGS.pack_into(self._memory, _SLOTS_AT[generation & 1], *astuple(settings))
        self._generation[0] = generation

    def load(self) -> ClockSettings:
        while self._generation[0] != self._loaded_generation:
            generation = self._generation[0]
            values = _SETTINGS.unpack_from(self._memory, _SLOTS_AT[generation & 1])
            if self._generation[0] == generation:
                self._settings, self._loaded_generation = _settings(values), generation
        return self._settings

    def store_counts(self, counts: list[int]) -> None:
        """Store new counts, in the order of RequestCounts.

        This is more than one store: a reader may see a request half counted.
        """
        _COUNTS.pack_into(self._memory, _COUNTS_AT, *counts)

    def load_counts(self) -> RequestCounts:
        asked, answered, refused, silent, late, last_ns = _COUNTS.unpack_from(self._memory, _COUNTS_AT)
        return RequestCounts(asked=asked, answered=answered, refused=refused, silent=silent, late=late, last_ns=last_ns)


def _settings(values: tuple[int, ...]) -> ClockSettings:
    names = tuple(ClockSettings.__dataclass_fields__)
    settings = dict(zip(names, values, strict=True))
    return ClockSettings(**{**settings, "mode": Mode(settings["mode"])})  # type: ignore[arg-type]
