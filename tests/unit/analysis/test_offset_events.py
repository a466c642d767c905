"""Steps, outliers and the end of a convergence are found where they were put, and nowhere in noise alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.offset_events import MOST_STEPS, count_settling_slots, find_events
from harness.analysis.offset_series import OffsetSeries, make_series

Noise = "np.ndarray[tuple[int], np.dtype[np.float64]]"


def series_of(offsets: "np.ndarray[tuple[int], np.dtype[np.float64]]", reading_ns: int = 0) -> OffsetSeries:
    readings = [reading_ns] * len(offsets) if reading_ns else None
    return make_series(range(len(offsets)), offsets.astype(int).tolist(), slot_s=1.0, reading_ns=readings)


def white(seed: int, sigma_ns: float = 100.0, count: int = 600) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).normal(size=count) * sigma_ns


@given(st.integers(0, 10_000), st.sampled_from(["white", "disciplined", "random walk"]))
def test_noise_alone_has_no_event(seed: int, kind: str) -> None:
    noise = white(seed)
    if kind == "disciplined":
        noise = np.convolve(noise, 0.95 ** np.arange(100))[: len(noise)]
    if kind == "random walk":
        noise = np.cumsum(noise)
    found = find_events(series_of(noise))
    assert (found.steps, found.outliers) == ((), 0)


@pytest.mark.parametrize("size_ns", [20_000, -20_000])
def test_a_step_is_found_with_its_time_and_size(size_ns: int) -> None:
    noise = white(1)
    noise[250:] += size_ns
    found = find_events(series_of(noise))
    (step,) = found.steps
    assert found.step_count == 1
    assert abs(step.after_s - 250) <= 2
    assert step.size_ns == pytest.approx(size_ns, abs=500)
    assert found.outliers == 0


def test_a_step_across_a_gap_is_found_at_its_time() -> None:
    noise = white(2)
    noise[300:] += 20_000
    slots = [*range(200), *range(300, 600)]
    series = make_series(slots, noise[slots].astype(int).tolist(), slot_s=2.0)
    (step,) = find_events(series).steps
    assert abs(step.after_s - 600) <= 4


def test_single_outliers_are_counted_and_are_no_steps() -> None:
    noise = white(3)
    noise[[50, 300, 301, 500]] += 50_000
    found = find_events(series_of(noise))
    assert (found.steps, found.outliers) == ((), 4)


def test_a_change_within_the_time_of_a_reading_is_no_step() -> None:
    noise = white(4)
    noise[300:] += 9_000
    assert find_events(series_of(noise, reading_ns=5_000)).step_count == 0
    assert find_events(series_of(noise, reading_ns=3_000)).step_count == 1


def test_of_many_steps_the_largest_are_listed_in_the_order_of_time() -> None:
    noise = white(5, count=4000)
    for number in range(50):
        noise[80 * (number + 1) - 40 :] += (number + 1) * 10_000
    found = find_events(series_of(noise))
    assert found.step_count == 50
    assert len(found.steps) == MOST_STEPS
    assert [step.after_s for step in found.steps] == sorted(step.after_s for step in found.steps)
    assert min(step.size_ns for step in found.steps) > 300_000


def test_the_start_of_a_converging_clock_is_left_out_and_no_later_event_is() -> None:
    converging = white(6) + 1e6 * np.exp(-np.arange(600) / 10)
    assert 60 <= count_settling_slots(series_of(converging)) <= 90
    disturbed = white(6)
    disturbed[200:220] += 1e6
    assert count_settling_slots(series_of(disturbed)) == 0
    assert count_settling_slots(series_of(white(6))) == 0
    stepped = white(6)
    stepped[:250] += 1e6
    assert count_settling_slots(series_of(stepped)) == 250


@pytest.mark.parametrize("count", [1, 2, 11, 12, 19, 20])
def test_short_series_have_no_events(count: int) -> None:
    series = series_of(np.arange(count) * 1000.0)
    assert find_events(series).step_count == 0
    assert count_settling_slots(series) == 0
