"""The figures of a clock are those that its samples were made of."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.offset_series import make_series
from harness.analysis.plot_series import MOST_COLUMNS, make_histogram, reduce_samples
from harness.analysis.quality import compute_quality, describe
from harness.analysis.time_interval_error import compute_mtie
from harness.model import ClockQuality, Evidence, PhcRead, Sample
from harness.model.quality import QUALITY_DEFINITION

START_NS, SECOND_NS = 1_795_233_800_000_000_000, 10**9


def sample_of(like: Sample, slot: int, offset_ns: int, *, delay_ns: int = 2_000, oscillator_ppb: float = 0.0) -> Sample:
    """A sample whose fastest reading shows this offset; another reading, which is slower, shows a wrong one."""
    phc_ns = START_NS + slot * SECOND_NS
    middle_ns = phc_ns + offset_ns
    raw_ns = 5 * SECOND_NS + slot * SECOND_NS + round(slot * oscillator_ppb) - 500_000
    fast = PhcRead(before_ns=middle_ns - delay_ns // 2, phc_ns=phc_ns, after_ns=middle_ns + delay_ns // 2)
    slow = replace(fast, before_ns=fast.before_ns - 7_000, after_ns=fast.after_ns + 90_000)
    return replace(like, slot=slot, reads=(slow, fast), utc_ns=middle_ns - 500_000, raw_ns=raw_ns)


Measured = Callable[..., ClockQuality]


@pytest.fixture
def evidence_of(good: Evidence) -> Callable[..., Evidence]:
    like = (good.samples or ())[0]

    def make(offsets_ns: Iterable[int | None], **settings: float) -> Evidence:
        offsets = list(offsets_ns)
        samples = tuple(
            sample_of(like, slot, offset, **settings) if offset is not None else replace(like, slot=slot, reads=None)  # type: ignore[arg-type]
            for slot, offset in enumerate(offsets)
        )
        return replace(good, samples=samples, slots=len(offsets))

    return make


@pytest.fixture
def measured(evidence_of: Callable[..., Evidence]) -> Measured:
    def compute(offsets_ns: Iterable[int | None], **settings: float) -> ClockQuality:
        quality = compute_quality(evidence_of(offsets_ns, **settings), interval_s=1.0)
        assert quality is not None
        return quality

    return compute


def white(sigma_ns: float, count: int, seed: int = 13) -> list[int]:
    return (np.random.default_rng(seed).normal(size=count) * sigma_ns).round().astype(int).tolist()


def test_an_offset_of_5_us_with_jitter_of_200_ns_is_found(measured: Measured) -> None:
    quality = measured(5_000 + value for value in white(200, 600))
    assert quality.offset_ns.mean == pytest.approx(5_000, abs=30)
    assert quality.offset_ns.std == pytest.approx(200, rel=0.1)
    assert quality.stability[0].tdev_ns == pytest.approx(200, rel=0.1)
    assert (quality.definition, quality.slots, quality.seen, quality.gaps) == (QUALITY_DEFINITION, 600, 600, 0)
    assert (quality.settling_s, quality.steps, quality.outliers) == (0.0, (), 0)
    assert quality.read_delay_ns.maximum == 2_000


def test_a_step_of_20_us_is_found(measured: Measured) -> None:
    (step,) = measured(value + (20_000 if slot >= 300 else 0) for slot, value in enumerate(white(200, 600))).steps
    assert step.size_ns == pytest.approx(20_000, abs=1_000)
    assert step.after_s == pytest.approx(300, abs=2)


def test_a_drift_of_the_oscillator_of_50_ppb_is_found(measured: Measured) -> None:
    quality = measured(white(200, 600), oscillator_ppb=50.0)
    assert quality.oscillator is not None
    assert quality.oscillator.frequency_ppb == pytest.approx(50, abs=0.2)
    assert quality.oscillator.uncertainty_ppb == pytest.approx(2_000 / 599, rel=0.01)


def with_processor_time(evidence: Evidence, cpu_ns: Sequence[int | None], boots: Sequence[int]) -> Evidence:
    """The evidence whose samples tell this processor time, and are of these boots; a second apart."""
    samples = tuple(
        replace(sample, mono_ns=sample.slot * SECOND_NS, cpu_ns=used, boot=boot)
        for sample, used, boot in zip(evidence.samples or (), cpu_ns, boots, strict=True)
    )
    return replace(evidence, samples=samples)


def test_the_processor_time_of_the_sampler_is_a_share_of_a_core(evidence_of: Callable[..., Evidence]) -> None:
    """What it took before its first sample is its start, and does not count; neither does the time of a reboot."""
    growing = [90_000_000 + slot * 3_000_000 for slot in range(20)]
    cases: list[tuple[list[int | None], list[int], float | None]] = [
        ([*growing], [0] * 20, 0.003),
        ([*growing[:12], *growing[:8]], [0] * 12 + [1] * 8, 0.003),
        ([None, *growing[1:]], [0] * 20, 0.003),
        ([None] * 20, [0] * 20, None),
        ([*growing[:1], *[None] * 19], [0] * 20, None),
        ([*growing[:12], *growing[:8]], [0] * 20, None),  # less than before, in one boot
        ([7] * 20, [0] * 20, 0.0),
    ]
    for cpu_ns, boots, share in cases:
        quality = compute_quality(with_processor_time(evidence_of([0] * 20), cpu_ns, boots), interval_s=1.0)
        assert quality is not None
        assert quality.sampler_cpu_share == (None if share is None else pytest.approx(share))


def test_what_the_sampler_took_while_the_clock_settled_is_left_out(evidence_of: Callable[..., Evidence]) -> None:
    settling = [value + round(1e6 * math.exp(-slot / 5)) for slot, value in enumerate(white(200, 600))]
    cpu_ns = [10**9 * min(slot, 25) + 10**6 * slot for slot in range(600)]
    quality = compute_quality(with_processor_time(evidence_of(settling), cpu_ns, [0] * 600), interval_s=1.0)
    assert quality is not None
    assert quality.sampler_cpu_share == pytest.approx(0.001)


def test_gaps_are_counted_and_open_the_upper_end_of_mtie(measured: Measured) -> None:
    offsets: list[int | None] = [*white(200, 600)]
    offsets[100:103] = [None] * 3
    offsets[599] = None
    quality = measured(offsets)
    assert (quality.slots, quality.seen, quality.gaps, quality.longest_gap_s) == (600, 596, 2, 3.0)
    first = quality.stability[0]
    assert first.whole_share < 1
    assert first.mtie_high_ns is None
    assert first.adev_terms == 599 - 2 - 5


def test_converging_is_left_out_of_the_figures(measured: Measured) -> None:
    quality = measured(value + round(1e6 * math.exp(-slot / 5)) for slot, value in enumerate(white(200, 600)))
    assert 25 <= quality.settling_s <= 60
    assert quality.offset_ns.max_abs < 2_000
    assert quality.slots == 600 - quality.settling_s


def test_mtie_of_uncertain_readings_is_an_interval_that_holds_the_true_one() -> None:
    generator = np.random.default_rng(5)
    true = np.cumsum(generator.normal(size=500) * 300).round().astype(int)
    delays = generator.integers(100, 3_000, size=500)
    read = true + (delays * generator.uniform(-1, 1, size=500)).round().astype(int)
    windows = [1, 2, 4, 16, 64]
    exact = compute_mtie(make_series(range(500), true.tolist(), slot_s=1.0), windows)
    seen = compute_mtie(make_series(range(500), read.tolist(), slot_s=1.0, reading_ns=(delays + 1).tolist()), windows)
    for point, known in zip(seen, exact, strict=True):
        assert point.low_ns <= known.mtie_ns <= point.high_ns
        assert point.low_ns <= point.mtie_ns <= point.high_ns


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=50))
def test_a_distribution_is_in_order(values: list[int]) -> None:
    found = describe(values)
    assert found.count == len(values)
    assert found.minimum <= found.median <= found.maximum
    assert found.median_abs <= found.p90_abs <= found.p99_abs <= found.max_abs
    assert found.median in [float(value) for value in values]
    assert all(math.isfinite(value) for value in asdict(found).values())


def test_without_readings_there_are_no_figures(good: Evidence, evidence_of: Callable[..., Evidence]) -> None:
    for evidence in (
        Evidence(),
        replace(good, samples=()),
        evidence_of([None] * 100),
        evidence_of([1] * 9),
        evidence_of([2**61] * 100),
    ):
        assert compute_quality(evidence, interval_s=1.0) is None
        assert reduce_samples(evidence, interval_s=1.0) is None


# --- what plots show ------------------------------------------------------------------------------------------------


def known(values: Sequence[int | None]) -> list[int]:
    return [value for value in values if value is not None]


@pytest.mark.parametrize("count", [10, 255, 256, 257, 3600, 5000])
def test_a_plot_loses_no_extreme_value(evidence_of: Callable[..., Evidence], count: int) -> None:
    offsets: list[int | None] = [*white(200, count)]
    offsets[count // 2] = 77_777
    offsets[count // 3] = -88_888
    plots = reduce_samples(evidence_of(offsets), interval_s=1.0)
    assert plots is not None
    assert max(known(plots.offset_ns.greatest)) == 77_777
    assert min(known(plots.offset_ns.least)) == -88_888
    columns = len(plots.offset_ns.least)
    assert columns <= MOST_COLUMNS
    assert (columns - 1) * plots.column_s < count <= columns * plots.column_s
    assert plots.bound_ns is not None
    assert plots.bound_has_device
    assert len(plots.bound_ns.least) == columns
    offsets_shown = plots.offsets
    assert sum(offsets_shown.counts) + offsets_shown.below + offsets_shown.above == count
    assert (offsets_shown.below, offsets_shown.above) == (1, 1)


def test_a_histogram_without_outliers_reaches_from_the_least_to_the_greatest() -> None:
    values = white(200, 1000)
    found = make_histogram(values)
    assert (found.low, found.below, found.above, sum(found.counts)) == (min(values), 0, 0, 1000)
    assert found.low + found.width * len(found.counts) == pytest.approx(max(values))
    assert make_histogram([5] * 9).counts == (9,)
    lonely = make_histogram([*[5] * 9, 1000])
    assert (lonely.counts, lonely.above) == ((9,), 1)


def test_a_gap_is_an_empty_column(evidence_of: Callable[..., Evidence]) -> None:
    plots = reduce_samples(evidence_of([1, 2, 3, 4, 5, 6, None, 8, 9, 10, 11]), interval_s=1.0)
    assert plots is not None
    assert plots.offset_ns.least == (1, 2, 3, 4, 5, 6, None, 8, 9, 10, 11)
