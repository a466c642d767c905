"""Put the offsets of a clock into slots of equal length, so that gaps in time are gaps in the series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_SLOTS = 10_000_000
"""Slots of a series: 115 days of one second each. Times are what a host says: absurd ones must not fill the memory."""

_EXACT_BITS = 31  # the span of offsets that 32-bit integers hold: 2.1 s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OffsetSeries:
    """Offsets in ns, one for each slot of `slot_s` seconds: an integer array of N, and whether each was `seen`.

    What was not seen is 0. The first and the last slot were seen. `reading_ns`: the uncertainty of each offset by its
    reading, either way, as an array of the same type; None where there is none.
    """

    offsets_ns: npt.NDArray[np.signedinteger]
    seen: npt.NDArray[np.bool_]
    slot_s: float
    reading_ns: npt.NDArray[np.signedinteger] | None = None

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


Integers = Sequence[int] | npt.NDArray[Any]


def make_series(
    slots: Integers, offsets_ns: Integers, *, slot_s: float, reading_ns: Integers | None = None
) -> OffsetSeries:
    """Make a series from the numbers of slots, which grow, and the offset in each, with its uncertainty.

    Raises ValueError without offsets, for unequal numbers of them, for slots that do not grow or are too far apart, and
    for a slot that is not above 0 s.
    """
    if len(slots) == 0 or any(len(slots) != len(given) for given in (offsets_ns, reading_ns) if given is not None):
        raise ValueError("a series needs offsets, each with its slot")
    if not slot_s > 0:
        raise ValueError("a slot lasts longer than 0 s")
    if slots[-1] - slots[0] >= MOST_SLOTS:
        raise ValueError(f"the offsets are further apart than {MOST_SLOTS} slots")
    places = np.asarray(slots, dtype=np.int64) - slots[0]
    if not (np.diff(places) > 0).all():
        raise ValueError("the slots do not grow")
    offsets, readings, seen = (np.zeros(places[-1] + 1, dtype=kind) for kind in (np.int64, np.int64, np.bool_))
    offsets[places], seen[places] = offsets_ns, True
    if reading_ns is not None:
        readings[places] = reading_ns
    kind = _choose_type(int(np.abs(offsets).max()) + int(readings.max()))
    return OffsetSeries(
        offsets_ns=offsets.astype(kind),
        seen=seen,
        slot_s=slot_s,
        reading_ns=None if reading_ns is None else readings.astype(kind),
    )


def _choose_type(largest: int) -> type[np.int32] | type[np.int64]:
    """Choose 32-bit integers where all offsets fit with room for differences: half the memory, twice the speed."""
    return np.int32 if largest < 1 << (_EXACT_BITS - 1) else np.int64
