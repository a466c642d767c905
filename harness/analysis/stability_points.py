"""Compute the stability of a series: deviations, MTIE, and the confidence of each TDEV, at chosen averaging times."""

import math
from collections.abc import Sequence

import numpy as np

from harness.analysis.confidence import compute_tdev_interval, count_freedom, identify_noise
from harness.analysis.offset_series import OffsetSeries
from harness.analysis.stability import Deviations, compute_deviations
from harness.analysis.time_interval_error import compute_mtie
from harness.model.quality import StabilityPoint


def count_tdev_freedoms(series: OffsetSeries, computed: Sequence[Deviations]) -> list[float | None]:
    """Count the equivalent degrees of freedom of each TDEV of a series; None where it has no confidence interval.

    Where too few offsets are left to identify the noise, it is that of the averaging time before.
    """
    exponent: int | None = None
    offsets_ns = series.offsets_ns[series.seen].astype(np.float64)
    freedoms: list[float | None] = []
    for deviations in computed:
        identified = identify_noise(offsets_ns, deviations.slots)
        exponent = exponent if identified is None else identified
        freedom = math.nan
        if deviations.tdev_ns is not None and exponent is not None:
            count = deviations.mdev_terms + 3 * deviations.slots - 1
            freedom = count_freedom(exponent, deviations.slots, count)
        freedoms.append(freedom if freedom >= 1 else None)
    return freedoms


def compute_stability(series: OffsetSeries, windows: Sequence[int]) -> tuple[StabilityPoint, ...]:
    """Compute the stability of a series at averaging times in slots, with the confidence interval of each TDEV."""
    computed = compute_deviations(series, windows)
    freedoms = count_tdev_freedoms(series, computed)
    points: list[StabilityPoint] = []
    for deviations, error, freedom in zip(computed, compute_mtie(series, windows), freedoms, strict=True):
        interval = None if freedom is None else compute_tdev_interval(deviations.tdev_ns or 0.0, freedom)
        points.append(
            StabilityPoint(
                tau_s=deviations.tau_s,
                adev=deviations.adev,
                hdev=deviations.hdev,
                mdev=deviations.mdev,
                tdev_ns=deviations.tdev_ns,
                tdev_low_ns=interval[0] if interval else None,
                tdev_high_ns=interval[1] if interval else None,
                tie_rms_ns=deviations.tie_rms_ns,
                mtie_ns=error.mtie_ns,
                mtie_low_ns=error.low_ns,
                mtie_high_ns=error.high_ns if error.whole_share == 1 else None,
                whole_share=error.whole_share,
                adev_terms=deviations.adev_terms,
                tdev_terms=deviations.mdev_terms,
            )
        )
    return tuple(points)
