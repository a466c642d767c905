"""Define the figures of a clock's quality: what a measurement says of one host's clock, beside its verdict."""

from dataclasses import dataclass
from enum import StrEnum

QUALITY_DEFINITION = 1
"""The version of the definitions of all figures. Figures of different versions are not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The distribution of a quantity, in its unit: `count` values, their moments, extremes and quantiles.

    `std` is the standard deviation of a population. Quantiles are nearest ranks: always one of the values.
    """

    count: int
    mean: float
    std: float
    rms: float
    minimum: float
    median: float
    maximum: float
    median_abs: float
    p90_abs: float
    p99_abs: float
    max_abs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityPoint:
    """Stability at one averaging time or observation interval of `tau_s` seconds. None: the series is too short.

    `adev`, `hdev` and `mdev` have no unit. `tdev_low_ns` to `tdev_high_ns`: the interval that holds the true TDEV with
    90 % confidence. `mtie_low_ns` to `mtie_high_ns`: what MTIE may be by the uncertainty of readings; with gaps
    (`whole_share`, the share of windows without a gap, below 1) it may be more, and `mtie_high_ns` is None.
    `adev_terms`, `tdev_terms`: of how many terms the values are made.
    """

    tau_s: float
    adev: float | None
    hdev: float | None
    mdev: float | None
    tdev_ns: float | None
    tdev_low_ns: float | None
    tdev_high_ns: float | None
    tie_rms_ns: float | None
    mtie_ns: int
    mtie_low_ns: int
    mtie_high_ns: int | None
    whole_share: float
    adev_terms: int
    tdev_terms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetStep:
    """A lasting change of the offset from one slot to the next: `after_s` since the first slot, by `size_ns`."""

    after_s: float
    size_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Oscillator:
    """The host's free oscillator (CLOCK_MONOTONIC_RAW) against the PHC.

    `frequency_ppb`: how much faster than the PHC it runs; `uncertainty_ppb`: of that, by the uncertainty of readings.
    `residual_ns`: RMS of what is left when the straight line is taken away, which is what a clock without its
    reference would gain beside a constant frequency.
    """

    frequency_ppb: float
    uncertainty_ppb: float
    residual_ns: float


class ProfileStatus(StrEnum):
    """The answer of a measurement about a limit of a profile.

    MET: shown to be within. EXCEEDED: shown to be beyond. NOT_REFUTED: within, as far as a comparison with the PHC
    shows; nothing shows the PHC's own distance from UTC. NOT_DEMONSTRABLE: the measurement is too short, has gaps, or
    is too coarse.
    """

    MET = "met"
    EXCEEDED = "exceeded"
    NOT_REFUTED = "not_refuted"
    NOT_DEMONSTRABLE = "not_demonstrable"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitResult:
    """A limit of a profile against a measurement: a sentence, and the value that decided with its limit, in ns.

    `tau_s`: the observation interval or averaging time of the value. None: no value decided. `mask`: points of a mask,
    as pairs of a time in s and a limit in ns, over the times that were measured.
    """

    kind: str
    status: ProfileStatus
    sentence: str
    observed_ns: float | None = None
    limit_ns: float | None = None
    tau_s: float | None = None
    mask: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """A profile against a measurement. `status`: the worst of its limits; `reference`: "utc" or "source"."""

    name: str
    title: str
    edition: str
    reference: str
    status: ProfileStatus
    limits: tuple[LimitResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockQuality:
    """The figures of one host's clock, all of its system clock against its PHC unless a name says otherwise.

    `slots` intervals of `interval_s` were to be sampled, of which `seen` have an offset; the others are in `gaps` gaps,
    the longest of `longest_gap_s`. The first `settling_s` are left out of all figures: the clock was still converging.
    `offset_ns`: system clock minus PHC by the fastest reading of each slot; `read_delay_ns`: the time of that reading,
    half of which is the uncertainty of the offset. `bound_ns`: chrony's bound; `error_bound_ns`: with the device's.
    `frequency_ppb`: chrony's correction of the oscillator. `steps`: the largest, at most 20 of `step_count`;
    `outliers`: single offsets far from their neighbours. `profiles`: those that come along, and the campaign's own.
    `sampler_cpu_share`: the processor time of the sampler itself, its programs included, as a share of a core.
    """

    definition: int
    interval_s: float
    slots: int
    seen: int
    gaps: int
    longest_gap_s: float
    settling_s: float
    offset_ns: Distribution
    read_delay_ns: Distribution
    bound_ns: Distribution | None
    error_bound_ns: Distribution | None
    frequency_ppb: Distribution | None
    convergence_s: float | None
    steps: tuple[OffsetStep, ...]
    step_count: int
    outliers: int
    oscillator: Oscillator | None
    stability: tuple[StabilityPoint, ...]
    profiles: tuple[ProfileResult, ...]
    sampler_cpu_share: float | None = None  # not in the records of early versions

    @property
    def widest_bound_ns(self) -> Distribution | None:
        """The bound with the device's; chrony's own where the device publishes none."""
        return self.bound_ns if self.error_bound_ns is None else self.error_bound_ns
