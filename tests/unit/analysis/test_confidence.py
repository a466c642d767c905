"""The confidence intervals hold what they say: for the noises of clocks, and for one that a servo disciplines."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis import confidence
from harness.analysis.offset_series import make_series
from harness.analysis.stability_points import compute_stability

Offsets = "np.ndarray[tuple[int], np.dtype[np.float64]]"
TRIALS, LENGTH = 200, 1024
WINDOWS = (1, 4, 16, 64)


@pytest.mark.parametrize("freedom", [1.0, 1.7, 5.0, 40.3, 1000.0, 86_400.0])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_quantiles_of_chi_square_are_those_of_scipy(freedom: float, share: float) -> None:
    assert confidence.chi_square_quantile(share, freedom) == pytest.approx(stats.chi2.ppf(share, freedom), rel=1e-9)


def make_noise(kind: str, generator: np.random.Generator) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Simulate offsets in ns: power-law noise, or white frequency noise that a servo of 20 s memory disciplines."""
    noise = generator.normal(size=2 * LENGTH) * 1000
    match kind:
        case "white phase":
            offsets = noise
        case "white frequency":
            offsets = np.cumsum(noise)
        case "random walk of frequency":
            offsets = np.cumsum(np.cumsum(noise)) / 100
        case "flicker of phase":
            spectrum = np.fft.rfft(noise)
            spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
            offsets = np.fft.irfft(spectrum) * 30
        case _:
            offsets = np.convolve(noise, np.exp(-np.arange(400) / 20))[: 2 * LENGTH]
            offsets += generator.normal(size=2 * LENGTH) * 1000
    return offsets[LENGTH:]


@pytest.mark.parametrize(
    "kind", ["white phase", "flicker of phase", "white frequency", "random walk of frequency", "disciplined"]
)
def test_nine_of_ten_intervals_of_tdev_hold_its_true_value(kind: str) -> None:
    """The true TDEV is that of all trials together. Of a nominal 90 %, 80 to 99 % hold it at each averaging time."""
    generator = np.random.default_rng(20261129)
    points = []
    for _ in range(TRIALS):
        offsets = make_noise(kind, generator).round().astype(int).tolist()
        points.append(compute_stability(make_series(range(LENGTH), offsets, slot_s=1.0), WINDOWS))
    for place, window in enumerate(WINDOWS):
        at = [trial[place] for trial in points]
        true_ns = np.sqrt(np.mean([(point.tdev_ns or 0.0) ** 2 for point in at]))
        held = np.mean([(point.tdev_low_ns or 0.0) <= true_ns <= (point.tdev_high_ns or 0.0) for point in at])
        assert 0.80 <= held <= 0.995, (kind, window)


def test_the_noise_is_identified() -> None:
    generator = np.random.default_rng(7)
    kinds = {"white phase": 2, "flicker of phase": 1, "white frequency": 0, "random walk of frequency": -2}
    assert {kind: confidence.identify_noise(make_noise(kind, generator), 1) for kind in kinds} == kinds


def test_what_has_no_noise_or_too_few_offsets_has_no_interval() -> None:
    line = np.arange(100) * 1000.0
    assert confidence.identify_noise(np.zeros(100), 1) is None
    assert confidence.identify_noise(line[:29], 1) is None
    constant = compute_stability(make_series(range(100), [5] * 100, slot_s=1.0), [1, 2])
    assert [(point.tdev_ns, point.tdev_low_ns) for point in constant] == [(0.0, None), (0.0, None)]
    assert np.isnan(confidence.count_freedom(2, 10, 20))
