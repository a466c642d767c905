"""Define what the plots of a host's clock show: series over time in columns, a histogram, and stability curves."""

from dataclasses import dataclass

from harness.model.quality import StabilityPoint

PLOTS_DEFINITION = 1
"""The version of the definitions of all plots; plots of another version are computed again from the samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A quantity over time: the least and the greatest value in each column. None: nothing was seen in the column."""

    least: tuple[int | None, ...]
    greatest: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of values in bins of `width`, the first of which begins at `low`; the last one includes its end.

    `below` and `above`: how many values are outside of the bins, which end eight standard deviations from the median.
    """

    low: int
    width: float
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockPlots:
    """The plots of one host. Each column covers `column_s` seconds, the first from `begin_utc_ns` on.

    Over time all samples are shown; `offsets` and `stability` are of those after settling. `offset_ns`: system clock
    minus PHC; `bound_ns`: chrony's bound on the offset from its reference's time, with the device's where the driver
    publishes one; `read_delay_ns`: the time of the fastest reading. `stability`: at 24 averaging times a decade.
    """

    definition: int
    begin_utc_ns: int  # the first sample, by the host's clock, ns since the epoch
    column_s: float
    offset_ns: Envelope
    bound_ns: Envelope | None
    bound_has_device: bool
    read_delay_ns: Envelope
    offsets: Histogram
    stability: tuple[StabilityPoint, ...]
