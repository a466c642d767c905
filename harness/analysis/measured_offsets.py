"""Hold what one host's measurement says of its offsets: the series, the bounds, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.analysis import sample_values
from harness.analysis.offset_series import OffsetSeries
from harness.model import Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredOffsets:
    """A host's offsets: system clock minus PHC, after settling.

    `samples` are all samples of the same time, one for each slot that was not missed. `complete`: no slot is missing,
    and the sampler reached its end. `device_bound_ns`: the largest bound that the device published for its distance
    from UTC; None where a sample has none.
    """

    series: OffsetSeries
    samples: Sequence[Sample]
    complete: bool
    device_bound_ns: int | None

    @property
    def duration_s(self) -> float:
        """The time from the first slot to the end of the last."""
        return len(self.series) * self.series.slot_s


def find_device_bound(samples: Sequence[Sample]) -> int | None:
    """Find the largest published bound of the device; None where any sample has none, or 0, which is unknown."""
    bounds = [sample.error_bound_ns for sample in samples]
    return max((bound for bound in bounds if bound), default=None) if all(bounds) else None


def filter_low_pass(series: OffsetSeries, bandwidth_hz: float) -> OffsetSeries | None:
    """Pass a series through a low-pass filter of the first order; None for one with gaps.

    The first offset stands for all before it. The uncertainty of readings passes the same filter, all of one sign.
    """
    if not series.whole:
        return None
    decay = float(np.exp(-2 * np.pi * bandwidth_hz * series.slot_s))
    taps = min(len(series), int(np.ceil(np.log(1e-9) / np.log(decay))) + 1) if decay > 0 else 1
    kernel = (1 - decay) * decay ** np.arange(taps)
    kernel /= kernel.sum()

    def apply(values: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
        padded = np.concatenate((np.full(taps - 1, values[0], dtype=np.float64), values.astype(np.float64)))
        return np.rint(np.convolve(padded, kernel, mode="valid")).astype(values.dtype)

    reading_ns = None if series.reading_ns is None else apply(series.reading_ns)
    return replace(series, offsets_ns=apply(series.offsets_ns), reading_ns=reading_ns)


def is_bound_refuted(samples: Sequence[Sample]) -> bool:
    """Whether a reading excludes chrony's bound: the least possible |offset| is above this bound and the one before."""
    before_ns = 0
    for sample in samples:
        bound_ns = sample_values.chrony_bound(sample)
        if bound_ns is not None and sample.reads:
            least_ns = abs(sample_values.phc_offset(sample) or 0) - (sample_values.phc_uncertainty(sample) or 0.0)
            if least_ns > max(bound_ns, before_ns):
                return True
        before_ns = bound_ns or 0
    return False
