"""Sum up the samples of a clock as they arrive, in a bounded number of intervals, for a drawing over time."""

from dataclasses import dataclass

from harness.analysis import sample_values
from harness.model import Sample

MOST_INTERVALS = 2048
"""Most intervals that are held: when there are more slots, each interval stands for twice as many."""

_MOST_NS = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestReading:
    """The latest sample. All values are in nanoseconds; None: not observed.

    `offset_ns`: system clock minus PHC by the fastest reading, `uncertainty_ns` half of the time that it took.
    `bound_ns`: chrony's bound. `source`: the name of the selected source, as the host tells it.
    """

    slot: int
    offset_ns: int | None
    uncertainty_ns: float | None
    bound_ns: int | None
    source: str | None


@dataclass(slots=True, kw_only=True)
class SlotSpan:
    """Extremes over successive slots, in nanoseconds, and numbers of slots.

    `read`: slots with a reading. `refuted`: slots in which the reading refutes chrony's bound. `missing`: slots that
    have passed without a reading.
    """

    least_ns: int | None = None
    greatest_ns: int | None = None
    bound_ns: int | None = None
    read: int = 0
    refuted: int = 0
    missing: int = 0

    def add(self, other: "SlotSpan") -> None:
        """Extend this span by another one."""
        if other.least_ns is not None and other.greatest_ns is not None:
            self._extend(other.least_ns, other.greatest_ns)
        self.extend_bound(other.bound_ns)
        self.read += other.read
        self.refuted += other.refuted
        self.missing += other.missing

    def add_offset(self, offset_ns: int, *, refuted: bool) -> None:
        """Add a slot with a reading."""
        self._extend(offset_ns, offset_ns)
        self.read += 1
        self.refuted += refuted

    def extend_bound(self, bound_ns: int | None) -> None:
        """Note a bound, if there is one."""
        if bound_ns is not None:
            self.bound_ns = bound_ns if self.bound_ns is None else max(self.bound_ns, bound_ns)

    def _extend(self, least_ns: int, greatest_ns: int) -> None:
        self.least_ns = least_ns if self.least_ns is None else min(self.least_ns, least_ns)
        self.greatest_ns = greatest_ns if self.greatest_ns is None else max(self.greatest_ns, greatest_ns)


class ClockHistory:
    """Sums up the samples of a host as they come. `slots`: slots up to the latest one; `reads`, `refused`: readings.

    `refuted` and `missing` count slots, as in SlotSpan.
    """

    def __init__(self) -> None:
        self.slots, self.reads, self.refused, self.refuted, self._read = 0, 0, 0, 0, 0
        self.latest: LatestReading | None = None
        self._intervals: list[SlotSpan] = []
        self._width = 1
        self._before: Sample | None = None

    @property
    def missing(self) -> int:
        return self.slots - self._read

    def add(self, sample: Sample) -> None:
        """Add the next sample. Samples come in the order of their slots."""
        bound_ns = sample_values.larger_bound(sample, self._before)
        self._before = sample
        self.slots = sample.slot + 1
        self.reads += len(sample.reads or ())
        self.refused += sample.read_errors or 0
        interval = self._find_interval(sample.slot)
        interval.extend_bound(sample_values.chrony_bound(sample))
        offset_ns, uncertainty_ns = sample_values.phc_offset(sample), sample_values.phc_uncertainty(sample)
        if offset_ns is not None and abs(offset_ns) >= _MOST_NS:
            offset_ns = uncertainty_ns = None  # no clock has that
        if sample.reads and offset_ns is not None:
            least_ns = sample_values.least_distance_ns(sample_values.fastest(sample.reads))
            refuted = bound_ns is not None and least_ns > bound_ns
            interval.add_offset(offset_ns, refuted=refuted)
            self.refuted += refuted
            self._read += 1
        self.latest = LatestReading(
            slot=sample.slot,
            offset_ns=offset_ns,
            uncertainty_ns=uncertainty_ns,
            bound_ns=sample_values.chrony_bound(sample),
            source=next((source.name for source in sample.sources or () if source.state == "*"), None),
        )

    def sum_up(self, first: int, end: int) -> SlotSpan:
        """Sum up the slots from `first` to before `end`; of long histories, also some slots beside these."""
        whole, width = SlotSpan(), self._width
        for number in range(first // width, min((end - 1) // width + 1, len(self._intervals))):
            interval = self._intervals[number]
            whole.add(interval)
            whole.missing += max(0, min(self.slots, (number + 1) * width) - number * width - interval.read)
        return whole

    def _find_interval(self, slot: int) -> SlotSpan:
        while slot // self._width >= MOST_INTERVALS:
            self._halve()
        while len(self._intervals) <= slot // self._width:
            self._intervals.append(SlotSpan())
        return self._intervals[slot // self._width]

    def _halve(self) -> None:
        for first, second in zip(self._intervals[::2], self._intervals[1::2], strict=False):
            first.add(second)
        self._intervals, self._width = self._intervals[::2], self._width * 2
