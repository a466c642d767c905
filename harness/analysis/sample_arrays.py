"""Compute the values of all samples at once, as arrays with one value for each sample.

`sample_values` defines the same quantities of one sample. Offsets are positive when the system clock is ahead.

Whole numbers stay whole numbers: arrays are of 64-bit integers, or of Python's integers where a host sent such large
ones that sums of them could overflow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.model import Sample
from harness.model.columns import Column
from harness.model.sample_table import SampleTable

Numbers = npt.NDArray[Any]
"""64-bit integers, or Python's integers as objects."""
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_LARGEST = 1 << 61
"""Sums and differences of four numbers below this size fit in 64 bits. Until 2043 a time in ns since 1970 is below."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """A quantity of N samples: an array of N values, and whether each was observed. Others are 0."""

    values: Numbers
    known: Flags

    def choose(self, chosen: Flags | Places | slice) -> "Observed":
        """Return the quantity of some of the samples."""
        return Observed(values=self.values[chosen], known=self.known[chosen])

    @property
    def observed(self) -> Numbers:
        """The values that were observed."""
        return self.values[self.known]


def to_arrays(samples: Sequence[Sample]) -> "SampleArrays":
    """Return the arrays of samples. Those of a table are computed once."""
    table = samples if isinstance(samples, SampleTable) else SampleTable(samples)
    return table.derive(SampleArrays)


class SampleArrays:
    """The samples of a host as arrays of N, in the order of the samples. Their table must not grow meanwhile."""

    def __init__(self, table: SampleTable) -> None:
        table.settle()
        self._columns, self._count = table.columns, len(table)

    def __len__(self) -> int:
        return self._count

    # --- clocks -------------------------------------------------------------------------------------------------------

    @cached_property
    def slot(self) -> Numbers:
        return self._read("slot")

    @cached_property
    def slot_count(self) -> int:
        """The number of different slots."""
        return len(self) if (self.slot[1:] > self.slot[:-1]).all() else len(set(self.slot.tolist()))

    @cached_property
    def boot(self) -> Numbers:
        """The number of the host's boot since the beginning of the samples."""
        return self._read("boot")

    @cached_property
    def mono_ns(self) -> Numbers:
        """CLOCK_MONOTONIC."""
        return self._read("mono_ns")

    @cached_property
    def mono_s(self) -> npt.NDArray[np.float64]:
        """CLOCK_MONOTONIC in seconds."""
        return (self.mono_ns / 1e9).astype(np.float64)

    @cached_property
    def utc_ns(self) -> Numbers:
        return self._read("utc_ns")

    @cached_property
    def raw_ns(self) -> Observed:
        """CLOCK_MONOTONIC_RAW."""
        return self._observe("raw_ns")

    @cached_property
    def sampler_cpu_ns(self) -> Observed:
        """Processor time of the sampler, its programs included, since its start in this boot."""
        return self._observe("cpu_ns")

    # --- chrony -------------------------------------------------------------------------------------------------------

    @cached_property
    def tracked(self) -> Flags:
        """Whether chrony's tracking was observed."""
        return self._read_flags("tracking?")

    def tracking(self, field: str) -> Observed:
        """Return a field of chrony's tracking that is a number."""
        return self._spread(self._read(f"tracking.{field}"), np.flatnonzero(self.tracked))

    @cached_property
    def chrony_bound(self) -> Observed:
        """Chrony's bound on the distance of the system clock from the reference's time, in ns."""
        offset, dispersion, delay = (
            self._read(f"tracking.{field}") for field in ("system_offset_ns", "root_dispersion_ns", "root_delay_ns")
        )
        return self._spread(np.abs(offset) + dispersion + (delay + 1) // 2, np.flatnonzero(self.tracked))

    @cached_property
    def device_bound(self) -> Observed:
        """The bound that the device publishes, in ns. 0, before the driver's first reading, is unknown."""
        bound = self._observe("error_bound_ns")
        return Observed(values=bound.values, known=bound.values != 0)

    @cached_property
    def error_bound(self) -> Observed:
        """Chrony's bound plus the device's bound."""
        known = self.chrony_bound.known & self.device_bound.known
        return Observed(values=np.where(known, self.chrony_bound.values + self.device_bound.values, 0), known=known)

    def has_leap(self, leaps: Sequence[str]) -> bool:
        """Whether chrony announced one of these leap seconds in any sample."""
        return bool(self._match("tracking.leap", leaps.__contains__).any())

    # --- readings of the PHC ------------------------------------------------------------------------------------------

    @cached_property
    def read_count(self) -> Observed:
        """The number of readings that were served."""
        return self._spread(self._read("reads#"), np.flatnonzero(self._read_flags("reads?")))

    @cached_property
    def read_errors(self) -> Observed:
        """The number of readings that were refused."""
        return self._observe("read_errors")

    @cached_property
    def windows_ns(self) -> Numbers:
        """The time of every reading, in the order of the readings."""
        return self._read("reads.after_ns") - self._read("reads.before_ns")

    @property
    def phc_never_back(self) -> bool:
        """Whether no reading of the PHC is before the reading that precedes it."""
        phc_ns = self._read("reads.phc_ns")
        return bool((phc_ns[1:] >= phc_ns[:-1]).all())

    @cached_property
    def _fastest(self) -> tuple[Places, Places]:
        """The samples with readings, and of each the place of its fastest reading: the first of equal ones."""
        counts = self.read_count.values.astype(np.intp)
        having = np.flatnonzero(counts)
        if not len(having):
            return having, having
        lengths = counts[having]
        begins = np.cumsum(lengths) - lengths
        least = np.minimum.reduceat(self.windows_ns, begins)
        fast = np.flatnonzero(self.windows_ns == np.repeat(least, lengths))
        return having, fast[np.searchsorted(fast, begins)]

    def _of_fastest(self, values: Numbers) -> Observed:
        having, fastest = self._fastest
        return self._spread(values[fastest], having)

    @cached_property
    def phc_ns(self) -> Observed:
        """The PHC's time of the fastest reading."""
        return self._of_fastest(self._read("reads.phc_ns"))

    @cached_property
    def window_ns(self) -> Observed:
        """The time that the fastest reading took. Half of it is the uncertainty of `phc_offset`."""
        return self._of_fastest(self.windows_ns)

    @cached_property
    def phc_offset(self) -> Observed:
        """System clock minus PHC in ns, by the middle of the fastest reading."""
        before, phc, after = (self._read(f"reads.{field}") for field in ("before_ns", "phc_ns", "after_ns"))
        return self._of_fastest((before + after) // 2 - phc)

    @cached_property
    def least_distance(self) -> Observed:
        """The least |system clock minus PHC| in ns that the fastest reading allows."""
        before, phc, after = (self._read(f"reads.{field}") for field in ("before_ns", "phc_ns", "after_ns"))
        return self._of_fastest(np.maximum(before - phc, phc - after))

    # --- chrony's sources ---------------------------------------------------------------------------------------------

    @cached_property
    def sourced(self) -> Flags:
        """Whether chrony's sources were observed."""
        return self._read_flags("sources?")

    @cached_property
    def _source_sample(self) -> Places:
        """The sample of each source."""
        return np.repeat(np.flatnonzero(self.sourced), self._read("sources#").astype(np.intp))

    def has_source(self, *, mode: str, state: str, name: str = "") -> Flags:
        """Whether each sample has a source of this mode and state whose name begins so."""
        matches = self._match_sources(mode, name) & self._match("sources.state", state.__eq__)
        has = np.zeros(self._count, dtype=np.bool_)
        has[self._source_sample[matches]] = True
        return has

    def find_reach(self, *, mode: str, name: str) -> Observed:
        """Return the reach register of a source of this mode whose name begins so, of the samples that have one."""
        places = np.flatnonzero(self._match_sources(mode, name))
        return self._spread(self._read("sources.reach")[places], self._source_sample[places])

    def _match_sources(self, mode: str, name: str) -> Flags:
        """Whether each source is of this mode, and has a name that begins so."""
        matches = self._match("sources.mode", mode.__eq__)
        return matches & self._match("sources.name", lambda text: text.startswith(name)) if name else matches

    def find_answers(self, name: str | None, *, fresh_s: int) -> tuple[Flags, Observed]:
        """Find the fresh answers of a source: of the first with this name, where it has answered.

        Whether each sample has an answer that is not known to be older than `fresh_s`, and system clock minus source in
        ns by the answers whose age is known.
        """
        places = np.flatnonzero(self._match("sources.name", lambda text: text == name))
        samples = self._source_sample[places]
        first = np.ones(len(places), dtype=np.bool_)
        first[1:] = samples[1:] != samples[:-1]
        places, samples = places[first], samples[first]
        aged = self._read_flags("sources.last_rx_s?")
        ages_s = self._read("sources.last_rx_s")
        age_s = np.zeros(len(aged), dtype=ages_s.dtype)
        age_s[aged] = ages_s
        is_fresh = (self._read("sources.reach")[places] != 0) & ~(aged[places] & (age_s[places] > fresh_s))
        fresh = np.zeros(self._count, dtype=np.bool_)
        fresh[samples[is_fresh]] = True
        known = is_fresh & aged[places]
        return fresh, self._spread(self._read("sources.offset_ns")[places[known]], samples[known])

    # --- the driver's counters ----------------------------------------------------------------------------------------

    @cached_property
    def counted(self) -> Flags:
        """Whether the driver's counters were observed."""
        return self._read_flags("counters?")

    def counter(self, field: str) -> Numbers:
        """Return a counter, of the samples that have counters; 0 where this driver has no such counter."""
        if f"counters.{field}?" not in self._columns:
            return self._read(f"counters.{field}")
        known = self._read_flags(f"counters.{field}?")
        values = self._read(f"counters.{field}")
        counts = np.zeros(len(known), dtype=values.dtype)
        counts[known] = values
        return counts

    # --- columns ------------------------------------------------------------------------------------------------------

    def _read(self, path: str) -> Numbers:
        return _to_array(self._columns[path])

    def _read_flags(self, path: str) -> Flags:
        return np.array(self._columns[path].values, dtype=np.bool_)

    def _observe(self, path: str) -> Observed:
        """Return a field of the samples that may be None."""
        return self._spread(self._read(path), np.flatnonzero(self._read_flags(f"{path}?")))

    def _spread(self, values: Numbers, places: Places) -> Observed:
        """Put values to the samples that they are of."""
        spread, known = np.zeros(self._count, dtype=values.dtype), np.zeros(self._count, dtype=np.bool_)
        spread[places], known[places] = values, True
        return Observed(values=spread, known=known)

    def _match(self, path: str, fits: Callable[[str], bool]) -> Flags:
        """Whether each text of a column fits."""
        column = self._columns[path]
        fitting = np.array([fits(text) for text in column.texts or ()], dtype=np.bool_)
        return fitting[np.array(column.values, dtype=np.intp)]


def _to_array(column: Column) -> Numbers:
    """Make an array of a column of numbers: of Python's integers where 64 bits may not be enough."""
    if not column.compact:
        return np.array(column.values, dtype=object)
    array = np.array(column.values, dtype=np.float64 if column.typecode == "d" else np.int64)
    if column.typecode == "q" and len(array) and (array.max() >= _LARGEST or array.min() <= -_LARGEST):
        return array.astype(object)
    return array


# --- statistics of arrays ---------------------------------------------------------------------------------------------


def sort_sizes(values: Numbers) -> list[Any]:
    """List the sizes of values in their order."""
    return np.sort(np.abs(values)).tolist()  # type: ignore[no-any-return]


def add_up(values: Numbers) -> int:
    """Add up whole numbers exactly, however large the sum is."""
    if values.dtype != object and len(values) and int(np.abs(values).max()) > _LARGEST // len(values):
        values = values.astype(object)
    return int(values.sum())


def add_growth(counters: Numbers) -> int:
    """Add up the increase of a counter, exactly. A value below the previous value means that it restarted at 0."""
    changes = counters[1:] - counters[:-1]
    return add_up(np.where(changes >= 0, changes, counters[1:]))


def larger_bounds(bounds: Observed) -> Observed:
    """Return the bound of each sample or, if larger, of the one before it; unknown where the sample has none."""
    before = np.concatenate((bounds.values[:1], bounds.values[:-1]))
    known_before = np.concatenate((bounds.known[:1], bounds.known[:-1]))
    return Observed(values=np.where(known_before, np.maximum(bounds.values, before), bounds.values), known=bounds.known)
