"""A profile is met only where that was shown, exceeded only where nothing else explains it, and else it is said why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.measured_offsets import MeasuredOffsets, filter_low_pass, measure_offsets
from harness.analysis.offset_series import make_series
from harness.analysis.profile_check import check_profiles
from harness.campaign.masks import Segment
from harness.campaign.profiles import LimitKind, Profile, ProfileLimit, Reference
from harness.model import Evidence, PhcRead
from harness.model.quality import LimitResult, ProfileStatus

START_NS = 1_795_233_800_000_000_000
MET, EXCEEDED, NOT_REFUTED, NOT_DEMONSTRABLE = ProfileStatus

Measure = Callable[..., MeasuredOffsets]


@pytest.fixture
def measure(good: Evidence) -> Measure:
    """Offsets in ns, None for a missing slot; each reading takes `delay_ns`, and chrony's bound is `bound_ns`."""
    like = (good.samples or ())[0]
    assert like.tracking is not None
    tracking = replace(like.tracking, system_offset_ns=0, root_delay_ns=0)

    def make(
        offsets_ns: Iterable[int | None], *, delay_ns: int = 0, bound_ns: int = 10_000, device_ns: int | None = 1_000
    ) -> MeasuredOffsets:
        offsets = list(offsets_ns)
        samples = []
        for slot, offset in enumerate(offsets):
            if offset is not None:
                phc_ns = START_NS + slot * 10**9
                before_ns = phc_ns + offset - delay_ns // 2
                read = PhcRead(before_ns=before_ns, phc_ns=phc_ns, after_ns=before_ns + delay_ns)
                samples.append(
                    replace(
                        like,
                        slot=slot,
                        reads=(read,),
                        error_bound_ns=device_ns,
                        tracking=replace(tracking, root_dispersion_ns=bound_ns),
                    )
                )
        measured = measure_offsets(replace(good, samples=tuple(samples), slots=len(offsets)), 1.0)
        assert measured is not None
        return measured

    return make


def check(limit: ProfileLimit, measured: MeasuredOffsets, reference: Reference = Reference.SOURCE) -> LimitResult:
    profile = Profile(name="p", title="P", edition="1", source="here", reference=reference, limits=(limit,))
    ((result,),) = [each.limits for each in check_profiles([profile], measured)]
    return result


def a_limit(kind: LimitKind, limit_ns: float, *, least_s: float = 60.0) -> ProfileLimit:
    return ProfileLimit(kind=kind, limit_ns=limit_ns, least_s=least_s)


def a_mask(kind: LimitKind, *segments: tuple[float, float | None, float, float]) -> ProfileLimit:
    parts = [Segment(above_s=a, to_s=to, constant_ns=c, slope_ns_per_s=slope) for a, to, c, slope in segments]
    return ProfileLimit(kind=kind, segments=tuple(parts))


def white(sigma_ns: float, count: int = 600) -> list[int]:
    return (np.random.default_rng(3).normal(size=count) * sigma_ns).round().astype(int).tolist()


# --- the bound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound_ns", "status"), [(98_999, MET), (99_000, MET), (99_001, NOT_DEMONSTRABLE)])
def test_offset_and_full_bound_decide_for_utc(measure: Measure, bound_ns: int, status: ProfileStatus) -> None:
    """The full bound is chrony's 99 us and the device's 1 us: just inside, on and outside of 100 us."""
    result = check(a_limit(LimitKind.BOUND, 100_000), measure([0] * 60, bound_ns=bound_ns), Reference.UTC)
    assert result.status is status


def test_an_offset_that_nothing_explains_exceeds_the_bound(measure: Measure) -> None:
    measured = measure([*[0] * 59, 200_000], delay_ns=20_000, bound_ns=300_000)
    result = check(a_limit(LimitKind.BOUND, 100_000), measured, Reference.UTC)
    assert (result.status, result.observed_ns) == (EXCEEDED, 200_000 - 10_000 - 1_000)
    assert result.sentence == "the clock was off by at least 189 us > 100 us"


def test_without_the_devices_bound_the_distance_from_utc_is_unknown(measure: Measure) -> None:
    measured = measure([0] * 60, device_ns=None)
    limit = a_limit(LimitKind.BOUND, 100_000)
    assert check(limit, measured, Reference.UTC).status is NOT_DEMONSTRABLE
    assert "publishes no error bound" in check(limit, measured, Reference.UTC).sentence
    assert check(limit, measured, Reference.SOURCE).status is MET


def test_a_bound_that_a_reading_refutes_meets_nothing(measure: Measure) -> None:
    result = check(a_limit(LimitKind.BOUND, 100_000), measure([*[0] * 59, 20_000], bound_ns=10_000))
    assert (result.status, result.sentence) == (NOT_DEMONSTRABLE, "a reading refutes chrony's bound")


# --- the offset and its mean ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset_ns", "status"), [(94, MET), (95, MET), (96, NOT_DEMONSTRABLE), (105, NOT_DEMONSTRABLE), (106, EXCEEDED)]
)
def test_the_time_of_a_reading_decides_near_the_limit(measure: Measure, offset_ns: int, status: ProfileStatus) -> None:
    """A reading of 10 ns leaves 5 ns either way."""
    assert check(a_limit(LimitKind.OFFSET, 100), measure([offset_ns] * 60, delay_ns=10)).status is status


def test_against_utc_the_devices_bound_counts_too(measure: Measure) -> None:
    limit = a_limit(LimitKind.OFFSET, 2_000)
    assert check(limit, measure([900] * 60), Reference.UTC).status is MET
    assert check(limit, measure([1_500] * 60), Reference.UTC).status is NOT_REFUTED
    assert check(limit, measure([900] * 60, device_ns=None), Reference.UTC).status is NOT_REFUTED
    assert check(limit, measure([2_900] * 60), Reference.UTC).status is NOT_DEMONSTRABLE
    assert check(limit, measure([3_100] * 60), Reference.UTC).status is EXCEEDED


def test_the_mean_over_the_shortest_duration_is_held(measure: Measure) -> None:
    swinging = [400 if slot % 2 else -400 for slot in range(600)]
    limit = a_limit(LimitKind.CONSTANT, 50, least_s=100)
    assert check(limit, measure(swinging)).status is MET
    assert check(limit, measure([*swinging[:300], *[offset + 60 for offset in swinging[:300]]])).status is EXCEEDED
    assert check(limit, measure(swinging[:99])).sentence.startswith("measured for 1 min 39 s; it can be shown from")
    assert check(limit, measure([*swinging[:50], None, *swinging[51:]])).status is NOT_DEMONSTRABLE


# --- what is missing --------------------------------------------------------------------------------------------------

ALL_KINDS = [
    a_limit(LimitKind.BOUND, 1e6),
    a_limit(LimitKind.OFFSET, 1e6),
    a_limit(LimitKind.CONSTANT, 1e6),
    a_mask(LimitKind.MTIE, (0.1, None, 1e6, 0)),
    a_mask(LimitKind.TDEV, (0.1, None, 1e6, 0)),
]


@pytest.mark.parametrize("limit", ALL_KINDS, ids=lambda limit: str(limit.kind))
@pytest.mark.parametrize(
    ("offsets", "status"),
    [
        (white(100), MET),
        (white(100, 59), NOT_DEMONSTRABLE),
        ([*white(100)[:300], None, *white(100)[301:]], NOT_DEMONSTRABLE),
        ([*white(100), None], NOT_DEMONSTRABLE),
    ],
    ids=["whole", "short", "gap", "end"],
)
def test_nothing_is_met_where_samples_are_missing(
    measure: Measure, limit: ProfileLimit, offsets: Sequence[int | None], status: ProfileStatus
) -> None:
    assert check(limit, measure(offsets)).status is status


@pytest.mark.parametrize("limit", ALL_KINDS, ids=lambda limit: str(limit.kind))
def test_a_sampler_that_did_not_reach_its_end_shows_nothing(measure: Measure, limit: ProfileLimit) -> None:
    assert check(limit, replace(measure(white(100)), ended=False)).status is NOT_DEMONSTRABLE


# --- masks ------------------------------------------------------------------------------------------------------------


def test_an_mtie_above_the_mask_is_shown_with_its_interval(measure: Measure) -> None:
    stepped = [0] * 300 + [1_000] * 300
    result = check(a_mask(LimitKind.MTIE, (0.1, 100, 2_000, 0), (100, None, 900, 0)), measure(stepped))
    assert (result.status, result.observed_ns, result.limit_ns) == (EXCEEDED, 1_000, 900)
    assert (result.tau_s or 0) > 100
    assert check(a_mask(LimitKind.MTIE, (0.1, None, 1_000, 0)), measure(stepped)).status is MET


def test_the_uncertainty_of_readings_neither_breaks_nor_meets_a_mask(measure: Measure) -> None:
    stepped = measure([0] * 300 + [1_000] * 300, delay_ns=100)
    for limit_ns, status in ((899, EXCEEDED), (900, NOT_DEMONSTRABLE), (1_099, NOT_DEMONSTRABLE), (1_100, MET)):
        assert check(a_mask(LimitKind.MTIE, (0.1, None, limit_ns, 0)), stepped).status is status


def test_against_utc_a_mask_is_at_best_not_refuted(measure: Measure) -> None:
    for kind in (LimitKind.MTIE, LimitKind.TDEV):
        result = check(a_mask(kind, (0.1, None, 1e6, 0)), measure(white(100)), Reference.UTC)
        assert result.status is NOT_REFUTED
        assert result.sentence.startswith("against the PHC alone, ")


def test_noise_of_readings_hides_a_small_tdev_and_is_no_excess(measure: Measure) -> None:
    mask = a_mask(LimitKind.TDEV, (0.1, None, 50, 0))
    assert check(mask, measure(white(200))).status is EXCEEDED
    assert check(mask, measure(white(200), delay_ns=800)).status is NOT_DEMONSTRABLE
    assert check(mask, measure(white(10))).status is MET


# --- the filter -------------------------------------------------------------------------------------------------------


def test_the_low_pass_filter_keeps_a_constant_and_damps_by_its_bandwidth() -> None:
    constant = filter_low_pass(make_series(range(500), [1_000] * 500, slot_s=1.0), 0.1)
    assert constant is not None
    assert set(constant.offsets_ns.tolist()) == {1_000}
    frequency_hz = 0.05
    wave = (1e6 * np.sin(2 * np.pi * frequency_hz * np.arange(2000))).round().astype(int).tolist()
    damped = filter_low_pass(make_series(range(2000), wave, slot_s=1.0), 0.01)
    assert damped is not None
    decay = np.exp(-2 * np.pi * 0.01)
    gain = (1 - decay) / abs(1 - decay * np.exp(-2j * np.pi * frequency_hz))
    assert np.abs(damped.offsets_ns[1000:]).max() == pytest.approx(1e6 * gain, rel=0.01)


def test_a_series_with_a_gap_is_not_filtered(measure: Measure) -> None:
    assert filter_low_pass(make_series([0, 2], [1, 2], slot_s=1.0), 0.1) is None
    limit = replace(a_limit(LimitKind.OFFSET, 1e6), low_pass_hz=0.1)
    result = check(limit, measure([*white(100)[:300], None, *white(100)[301:]]))
    assert (result.status, "filtered series needs all" in result.sentence) == (NOT_DEMONSTRABLE, True)
