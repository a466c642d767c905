"""The ladder's text tells the figures of a clock, and leaves out what was not measured."""

from dataclasses import replace

import pytest

from harness.analysis.quality import compute_quality
from harness.model import ClockQuality, Evidence
from harness.model.quality import OffsetStep, Oscillator
from harness.report.quality_text import describe_quality
from harness.system.profile_files import load_standards


@pytest.fixture
def quality(good: Evidence) -> ClockQuality:
    found = compute_quality(good, interval_s=1.0, profiles=load_standards())
    assert found is not None
    return found


def test_every_group_of_figures_has_its_line(quality: ClockQuality) -> None:
    events = {"steps": (OffsetStep(after_s=31.0, size_ns=20_000),), "step_count": 2, "outliers": 1, "gaps": 1}
    oscillator = Oscillator(frequency_ppb=-52.0, uncertainty_ppb=4.0, residual_ns=8.0)
    quality = replace(quality, oscillator=oscillator, sampler_cpu_share=0.00312)
    text = "\n".join(describe_quality(replace(quality, **events, longest_gap_s=3.0, settling_s=6.0)))  # type: ignore[arg-type]
    for words in (
        "in 120 of 120 slots of 1 s, 6 s of settling left out",
        "mean -50 ns",
        "a reading took 4 us (median)",
        "MTIE: 0 ns at 1 s (0 ns to 4 us)",
        "2 steps: +20 us at 31 s; 1 outlier; 1 gap, the longest 3 s",
        "the free oscillator runs 52 ppb +- 4 ppb slower than the PHC",
        "the measurement itself took 0.31 % of a core",
        "profiles met: cat-participant, clock-bound, ec2-phc, finra-cat, mifid-ii-hft, mifid-ii-other",
        "that this measurement cannot show: ",
    ):
        assert words in text, words


def test_what_was_not_measured_is_left_out(quality: ClockQuality) -> None:
    bare = replace(quality, stability=(), steps=(), oscillator=None, frequency_ppb=None, profiles=())
    assert [line.split(":")[0].strip() for line in describe_quality(bare)] == ["figures", "offset"]


def test_an_mtie_with_gaps_is_at_least_so_large(quality: ClockQuality) -> None:
    point = replace(quality.stability[0], mtie_ns=500, mtie_low_ns=400, mtie_high_ns=None)
    assert any("(at least 400 ns)" in line for line in describe_quality(replace(quality, stability=(point,))))
