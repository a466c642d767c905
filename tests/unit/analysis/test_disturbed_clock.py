"""How a clock fared under a disturbance: known offsets, bounds and times give known figures."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.disturbed_clock import compute_disturbances
from harness.model import ChronySource, Evidence, PhcRead, Sample, Tracking
from harness.model.disturbances import Disturbance, DisturbanceFigures, DisturbanceWindow, LimitExceeded

BOUND_NS = 6_000
"""Chrony's bound in a sample whose dispersion is 1 us: half of a root delay of 10 us, and the dispersion."""


def reading(offset_ns: int, window_ns: int = 2_000) -> tuple[PhcRead, ...]:
    """One reading with the system clock so far ahead of the PHC."""
    return (PhcRead(before_ns=10**9, phc_ns=10**9 + window_ns // 2 - offset_ns, after_ns=10**9 + window_ns),)


@pytest.fixture
def sample(good: Evidence) -> Callable[..., Sample]:
    """A sample of a slot: its offset, chrony's dispersion in ns, whether the clock is selected, and other changes."""
    first = (good.samples or ())[0]
    assert first.tracking is not None
    tracking: Tracking = replace(first.tracking, system_offset_ns=0, root_delay_ns=10_000, root_dispersion_ns=1_000)
    refclock: ChronySource = (first.sources or ())[0]

    def make(
        slot: int, offset_ns: int = 100, *, dispersion_ns: int = 1_000, state: str = "*", **changes: Any
    ) -> Sample:
        return replace(
            first,
            slot=slot,
            tracking=replace(tracking, root_dispersion_ns=dispersion_ns),
            sources=(replace(refclock, state=state),),
            reads=reading(offset_ns),
            error_bound_ns=None,
            **changes,
        )

    return make


Make = Callable[..., Sample]


def compute(samples: list[Sample], *windows: tuple[str, int, int], slots: int = 100) -> tuple[DisturbanceFigures, ...]:
    disturbed = Evidence(
        samples=tuple(samples),
        slots=slots,
        disturbances=tuple(
            DisturbanceWindow(disturbance=Disturbance(name), begun=begun, ended=ended) for name, begun, ended in windows
        ),
    )
    return compute_disturbances(Evidence(disturbed=disturbed), 1.0)


def test_a_clock_that_nothing_moves_is_back_at_once(sample: Make) -> None:
    (found,) = compute([sample(slot) for slot in range(100)], ("cpu-load", 10, 70))
    assert found == DisturbanceFigures(
        disturbance=Disturbance.CPU_LOAD,
        lasted_s=60.0,
        seconds=90,
        compared=90,
        refuted=0,
        largest_offset_ns=100,
        largest_offset_uncertainty_ns=1_000,
        largest_bound_ns=BOUND_NS,
        offset_exceeded=(),
        bound_exceeded=(),
        back_after_s=0.0,
    )


def test_holdover_lets_the_bound_grow_and_no_reading_is_held_against_it(sample: Make) -> None:
    """A clock that answers nobody for 60 s; chrony's dispersion grows by 1 us a second."""
    samples = [sample(slot) for slot in range(10)]
    samples += [sample(slot, dispersion_ns=1_000 * (slot - 9), state="?") for slot in range(10, 70)]
    samples = [replace(one, reads=(), read_errors=5) if one.slot >= 10 else one for one in samples]
    samples += [sample(slot) for slot in range(70, 100)]
    (found,) = compute(samples, ("phc-withdrawn", 10, 70))
    assert (found.seconds, found.compared, found.refuted) == (90, 30, 0)
    assert found.bound_exceeded == (
        LimitExceeded(limit_ns=10_000, after_s=5.0),
        LimitExceeded(limit_ns=50_000, after_s=45.0),
    )
    assert (found.largest_bound_ns, found.back_after_s) == (65_000, 0.0)


def test_a_bound_that_a_reading_refutes_is_counted_and_the_way_back_timed(sample: Make) -> None:
    """A pause of the guest leaves its clock 20 us behind for 4 s, while chrony knows nothing of it."""
    behind = {slot: sample(slot, -20_000) for slot in range(12, 16)}
    samples = [behind.get(slot, sample(slot)) for slot in range(100)]
    (found,) = compute(samples, ("guest-paused", 10, 12))
    assert (found.compared, found.refuted) == (90, 4)
    assert found.largest_offset_ns == -20_000
    assert found.offset_exceeded == (LimitExceeded(limit_ns=10_000, after_s=2.0),)
    assert found.back_after_s == 4.0


def test_a_reading_that_its_own_uncertainty_leaves_inside_refutes_nothing(sample: Make) -> None:
    slow = replace(sample(20), reads=reading(10_000, window_ns=9_000))
    (found,) = compute([slow if slot == 20 else sample(slot) for slot in range(100)], ("cpu-load", 10, 70))
    assert (found.refuted, found.largest_offset_ns, found.largest_offset_uncertainty_ns) == (0, 10_000, 4_500)


def test_a_bound_that_was_larger_a_second_before_still_counts(sample: Make) -> None:
    """chronyd may have corrected the clock between the reading and its report."""
    changed = {20: sample(20, dispersion_ns=50_000), 21: sample(21, 40_000)}
    (found,) = compute([changed.get(slot, sample(slot)) for slot in range(100)], ("cpu-load", 10, 70))
    assert found.refuted == 0


def test_limits_that_were_exceeded_before_are_not_told(sample: Make) -> None:
    (found,) = compute([sample(slot, dispersion_ns=60_000) for slot in range(100)], ("cpu-load", 10, 70))
    assert found.bound_exceeded == ()


def test_the_bound_of_the_device_counts(sample: Make) -> None:
    samples = [replace(sample(slot), error_bound_ns=30_000) for slot in range(100)]
    (found,) = compute(samples, ("cpu-load", 10, 70))
    assert (found.largest_bound_ns, found.refuted) == (BOUND_NS + 30_000, 0)


def test_each_disturbance_is_watched_until_the_next_begins(sample: Make) -> None:
    moved = {slot: sample(slot, 3_000) for slot in range(50, 100)}
    first, second = compute(
        [moved.get(slot, sample(slot)) for slot in range(100)],
        ("chronyd-restarted", 10, 10), ("cpu-load", 50, 70),
    )  # fmt: skip
    assert (first.seconds, first.largest_offset_ns, first.lasted_s) == (40, 100, 0.0)
    assert (second.seconds, second.largest_offset_ns) == (50, 3_000)


def test_a_clock_that_is_not_followed_again_is_not_back(sample: Make) -> None:
    samples = [sample(slot, state="*" if slot < 10 else "?") for slot in range(100)]
    assert compute(samples, ("chronyd-restarted", 10, 10))[0].back_after_s is None


def test_a_clock_that_is_near_for_a_moment_only_is_not_back_yet(sample: Make) -> None:
    far = {slot: sample(slot, 5_000) for slot in [*range(70, 75), *range(76, 80)]}
    (found,) = compute([far.get(slot, sample(slot)) for slot in range(100)], ("cpu-load", 10, 70))
    assert found.back_after_s == 10.0


def test_near_enough_is_measured_by_the_undisturbed_clock(sample: Make) -> None:
    """Its offsets of up to 4 us were its own before: 5 us after the disturbance are no news."""
    measured = tuple(sample(slot, 4_000) for slot in range(60))
    disturbed = Evidence(
        samples=tuple(sample(slot, 5_000 if slot >= 10 else 100) for slot in range(100)),
        slots=100,
        disturbances=(DisturbanceWindow(disturbance=Disturbance.CPU_LOAD, begun=10, ended=70),),
    )
    (found,) = compute_disturbances(Evidence(samples=measured, disturbed=disturbed), 1.0)
    assert found.back_after_s == 0.0


@pytest.mark.parametrize("evidence", [Evidence(), Evidence(disturbed=Evidence())])
def test_a_clock_that_was_not_disturbed_has_no_figures(evidence: Evidence) -> None:
    assert compute_disturbances(evidence, 1.0) == ()


def test_a_disturbance_without_samples_has_no_figures_to_tell(sample: Make) -> None:
    (found,) = compute([], ("cpu-load", 10, 70), slots=0)
    assert (found.seconds, found.compared, found.largest_offset_ns, found.largest_bound_ns, found.back_after_s) == (
        0, 0, None, None, None,
    )  # fmt: skip
