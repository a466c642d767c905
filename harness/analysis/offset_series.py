"""Put the offsets of a clock into slots of equal length, so that gaps in time are gaps in the series."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_SLOTS = 10_000_000
"""Slots of a series: 115 days of one second each. Times are what a host says: absurd ones must not fill the memory."""

_EXACT_BITS = 31  # the span of offsets that 32-bit integers hold: 2.1 s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OffsetSeries:
    """Offsets in ns, one for each slot of `slot_s` seconds: an integer array of N, and whether each was `seen`.

    What was not seen is 0. The first and the last slot were seen. `reading_ns`: the largest uncertainty of one offset
    by its reading, half the delay of the reading, in ns.
    """

    offsets_ns: npt.NDArray[np.signedinteger]
    seen: npt.NDArray[np.bool_]
    slot_s: float
    reading_ns: float = 0.0

    def __len__(self) -> int:
        return len(self.offsets_ns)

    @property
    def count(self) -> int:
        """How many offsets were seen."""
        return int(np.count_nonzero(self.seen))

    @property
    def whole(self) -> bool:
        """Whether there is no gap."""
        return self.count == len(self)


def make_series(
    times_s: Sequence[float], offsets_ns: Sequence[int], *, slot_s: float, reading_ns: float = 0.0
) -> OffsetSeries:
    """Make a series from readings: each takes the slot nearest to its time since the first reading.

    Of several readings in one slot the one nearest to the middle of the slot counts. Raises ValueError without
    readings, for readings of unequal numbers, for times that are not finite or too far apart, and for a slot that is
    not above 0.
    """
    if len(times_s) == 0 or len(times_s) != len(offsets_ns):
        raise ValueError("a series needs readings, each with a time and an offset")
    if not slot_s > 0:
        raise ValueError("a slot lasts longer than 0 s")
    times = np.asarray(times_s, dtype=np.float64)
    if not np.isfinite(times).all():
        raise ValueError("the time of a reading is not finite")
    place = (times - times.min()) / slot_s
    if place.max() >= MOST_SLOTS:
        raise ValueError(f"the readings are further apart than {MOST_SLOTS} slots of {slot_s:g} s")
    slots = np.rint(place).astype(np.int64)
    nearest_last = np.argsort(-np.abs(place - slots), kind="stable")  # a later assignment wins
    values = np.asarray(offsets_ns, dtype=np.int64)
    offsets, seen = np.zeros(slots.max() + 1, dtype=np.int64), np.zeros(slots.max() + 1, dtype=np.bool_)
    offsets[slots[nearest_last]] = values[nearest_last]
    seen[slots] = True
    return OffsetSeries(offsets_ns=_narrow(offsets), seen=seen, slot_s=slot_s, reading_ns=reading_ns)


def _narrow(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.signedinteger]:
    """Take 32-bit integers where all offsets fit with room for differences: half the memory, twice the speed."""
    fits = np.abs(offsets).max() < 1 << (_EXACT_BITS - 1)
    return offsets.astype(np.int32) if fits else offsets
