"""Compute the maximum time interval error (MTIE, ITU-T G.810), and prove masks of it for every observation interval.

MTIE never falls with the observation interval: equal values at both ends of a range are the value in all of it, and a
mask whose least limit in a range is met by the upper end is met in all of it. With gaps each value is a lower bound:
what was not seen can only add to it. The uncertainty of each offset by its reading makes MTIE an interval: the least
that the offsets can be apart, and the most.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from harness.analysis.offset_series import OffsetSeries
from harness.campaign.masks import Mask

Offsets = npt.NDArray[np.signedinteger]

_MOST_PACKED_NS = 2 * (np.iinfo(np.int16).max // 2)
"""The span of offsets whose 16-bit integers have room for differences with offsets that were not seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeIntervalError:
    """MTIE in ns for one observation interval of `slots` slots: `tau_s` seconds.

    `low_ns` to `high_ns`: what it may be by the uncertainty of readings. `whole_share`: the share of windows in which
    every offset was seen; below 1 each value is a lower bound.
    """

    slots: int
    tau_s: float
    mtie_ns: int
    low_ns: int
    high_ns: int
    whole_share: float


class ReadingBias(IntEnum):
    """How the uncertainty of readings counts: as none, such that MTIE is least, or such that it is greatest."""

    NOMINAL = 0
    LEAST = -1
    GREATEST = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskExcess:
    """An observation interval at which MTIE is above a mask: by this series, which may not be the first such one."""

    slots: int
    mtie_ns: int
    mask_ns: float


def compute_mtie(series: OffsetSeries, windows: Iterable[int]) -> list[TimeIntervalError]:
    """Compute MTIE at observation intervals in slots, each with its interval and the share of whole windows.

    Raises ValueError for a window that is not within the series.
    """
    windows = list(windows)
    nominal = MtieTable(series)
    least, greatest = (
        nominal if series.reading_ns is None else MtieTable(series, reading)
        for reading in (ReadingBias.LEAST, ReadingBias.GREATEST)
    )
    if windows and all(window > 0 and window & (window - 1) == 0 for window in windows):
        for table in dict.fromkeys((nominal, least, greatest)):
            table.compute_octaves(max(windows))
    return [
        TimeIntervalError(
            slots=window,
            tau_s=window * series.slot_s,
            mtie_ns=nominal.compute(window),
            low_ns=least.compute(window),
            high_ns=greatest.compute(window),
            whole_share=nominal.compute_whole_share(window),
        )
        for window in windows
    ]


class MtieTable:
    """MTIE of one series at any observation interval. What a level of doubling needs is made once and kept."""

    def __init__(self, series: OffsetSeries, reading: ReadingBias = ReadingBias.NOMINAL) -> None:
        self._series = series
        high = low = series.offsets_ns
        if reading is not ReadingBias.NOMINAL and series.reading_ns is not None:
            high, low = high + reading.value * series.reading_ns, low - reading.value * series.reading_ns
        high, low = _pack(high, low)
        if not series.whole:  # such that any difference with them is negative, and within the type
            unseen = np.iinfo(high.dtype).max // 2 + 1
            high, low = np.where(series.seen, high, -unseen), np.where(series.seen, low, unseen)
        self._levels: list[tuple[Offsets, Offsets]] = [(high, low)]
        self._known: dict[int, int] = {}
        self._missing: npt.NDArray[np.int32] | None = None

    def compute(self, slots: int) -> int:
        """Compute MTIE in ns over windows of so many slots, that is of one offset more.

        Raises ValueError for a window that is longer than the series, or of no slot.
        """
        if not 1 <= slots < len(self._series):
            raise ValueError(f"a window of {slots} slots is not within the series of {len(self._series)} offsets")
        if slots not in self._known:
            high, low = self._find_extremes(slots + 1)
            self._known[slots] = max(int((high - low).max()), 0)
        return self._known[slots]

    def compute_octaves(self, longest: int) -> None:
        """Compute MTIE for 1, 2, 4 ... slots up to `longest` at once, which `compute` then knows.

        Two windows in a row share an offset, so one comparison of highest and one of lowest offsets makes the windows
        of twice the length. The windows of one length are made in one pair of arrays, those of the next length in the
        other: numpy compares several numbers at once only where it does not overwrite what it reads.
        """
        high, low = self._levels[0]
        pairs = [(np.empty_like(high), np.empty_like(high)) for _ in range(2)]
        shift, slots, count = 1, 1, len(self._series) - 1
        while slots <= longest and count > 0:
            (next_high, next_low), (spare, _) = pairs
            np.maximum(high[:count], high[shift : shift + count], out=next_high[:count])
            np.minimum(low[:count], low[shift : shift + count], out=next_low[:count])
            np.subtract(next_high[:count], next_low[:count], out=spare[:count])
            self._known[slots] = max(int(spare[:count].max()), 0)
            high, low = next_high, next_low
            shift, slots, count = slots, 2 * slots, count - slots
            pairs.reverse()

    def compute_all(self, longest: int | None = None) -> list[int]:
        """Compute MTIE at every observation interval of 1, 2, 3 ... slots, up to `longest`."""
        end = len(self._series) - 1 if longest is None else longest
        values = [0] * end
        for first, last in self._list_equal_ranges(1, end):
            values[first - 1 : last] = [self.compute(first)] * (last - first + 1)
        return values

    def find_excess(self, mask: Mask, longest: int | None = None) -> MaskExcess | None:
        """Find an observation interval at which MTIE exceeds a mask; None proves that there is none up to `longest`."""
        end, slot_s = len(self._series) - 1 if longest is None else longest, self._series.slot_s
        ranges = [(1, end)] if end >= 1 else []
        while ranges:
            first, last = ranges.pop()
            for slots in (last, first):
                limit_ns = mask.limit_ns(slots * slot_s)
                if limit_ns is not None and self.compute(slots) > limit_ns:
                    return MaskExcess(slots=slots, mtie_ns=self.compute(slots), mask_ns=limit_ns)
            least_ns = mask.least_limit_ns(first * slot_s, last * slot_s)
            if last - first > 1 and least_ns is not None and self.compute(last) > least_ns:
                middle = (first + last) // 2
                ranges += [(first, middle), (middle, last)]
        return None

    def compute_whole_share(self, slots: int) -> float:
        """Compute the share of the windows of so many slots in which every offset was seen."""
        if self._series.whole:
            return 1.0
        if self._missing is None:
            self._missing = np.zeros(len(self._series) + 1, dtype=np.int32)
            np.cumsum(~self._series.seen, out=self._missing[1:])
        windows = len(self._series) - slots
        return np.count_nonzero(self._missing[slots + 1 :] == self._missing[:windows]) / windows

    def _list_equal_ranges(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """List ranges of observation intervals, without overlap, in each of which MTIE is the same."""
        ranges = [(first, last)] if first <= last else []
        while ranges:
            begin, end = ranges.pop()
            if self.compute(begin) == self.compute(end):
                yield begin, end
            else:
                middle = (begin + end) // 2
                ranges += [(begin, middle), (middle + 1, end)]

    def _find_extremes(self, width: int) -> tuple[Offsets, Offsets]:
        """Find the highest and the lowest offset of each window of that width, by two windows of a power of two."""
        power = width.bit_length() - 1
        while len(self._levels) <= power:
            half, (high, low) = 1 << (len(self._levels) - 1), self._levels[-1]
            self._levels.append((np.maximum(high[:-half], high[half:]), np.minimum(low[:-half], low[half:])))
        high, low = self._levels[power]
        shift, count = width - (1 << power), len(self._series) - width + 1
        if shift == 0:
            return high, low
        return (
            np.maximum(high[:count], high[shift : shift + count]),
            np.minimum(low[:count], low[shift : shift + count]),
        )


def _pack(high: Offsets, low: Offsets) -> tuple[Offsets, Offsets]:
    """Return highest and lowest offsets from the middle of their range, as 16-bit integers where all of them fit.

    Their differences stay the same, and fit, too: within 32 us a series takes half of the memory and of the time.
    """
    top, bottom = (int(extreme) for extreme in (max(high.max(), low.max()), min(high.min(), low.min())))
    if top - bottom > _MOST_PACKED_NS:
        return high, low
    middle = (top + bottom) // 2
    packed = (high - middle).astype(np.int16)
    return packed, packed if low is high else (low - middle).astype(np.int16)
