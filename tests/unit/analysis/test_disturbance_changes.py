"""Disturbances are compared with earlier runs: a refuted bound is told, and a figure only where chance has no part."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparison import compare_runs
from harness.analysis.disturbance_changes import (
    DISTURBED_SPREAD,
    BoundAnswer,
    ComparedDisturbances,
    compare_disturbances,
)
from harness.analysis.disturbed_clock import LEAST_COMPARED
from harness.analysis.figure_changes import FALSE_ALARMS, FigureTest, compare_figure, decide
from harness.analysis.quality import compute_quality
from harness.model import Evidence, HostRecord
from harness.model.disturbances import Disturbance, DisturbanceFigures
from tests.doubles.records import make_host

LOADED = DisturbanceFigures(
    disturbance=Disturbance.CPU_LOAD,
    lasted_s=60.0,
    seconds=120,
    compared=120,
    refuted=0,
    largest_offset_ns=-25_000.0,
    largest_offset_uncertainty_ns=1_000.0,
    largest_bound_ns=170_000.0,
    offset_exceeded=(),
    bound_exceeded=(),
    back_after_s=0.0,
)
REFUTED = replace(LOADED, refuted=1)
RARELY_READ = replace(LOADED, compared=LEAST_COMPARED - 1)
NOT_BACK = replace(LOADED, back_after_s=None)
FAILED = replace(LOADED, failure="it ended with 1", compared=0)
REBOOTED = replace(LOADED, disturbance=Disturbance.REBOOT)
HELD, NOT_COMPARED = BoundAnswer.HELD, BoundAnswer.NOT_COMPARED


Host = Callable[..., HostRecord]


@pytest.fixture
def host(good: Evidence) -> Host:
    """Makes a host that was disturbed so."""
    quality = compute_quality(good, interval_s=1.0)
    assert quality is not None

    def make(*disturbances: DisturbanceFigures, interval_s: float = 1.0, **changes: Any) -> HostRecord:
        measured = {"instance_type": "m7i.large", "quality": replace(quality, interval_s=interval_s)}
        return make_host(**measured | changes, disturbances=disturbances)

    return make


def compare(now: list[HostRecord], *runs: list[HostRecord]) -> ComparedDisturbances:
    return compare_disturbances("m7i.large", now, runs, spread=0.16)


@pytest.mark.parametrize(
    ("before", "now", "answers", "changed", "regressed"),
    [
        ([LOADED], LOADED, (HELD, HELD), False, False),
        ([LOADED], REFUTED, (HELD, BoundAnswer.REFUTED), True, True),
        ([REFUTED], REFUTED, (BoundAnswer.REFUTED, BoundAnswer.REFUTED), False, False),
        ([REFUTED], LOADED, (BoundAnswer.REFUTED, HELD), True, False),
        ([REFUTED, LOADED], REFUTED, (HELD, BoundAnswer.REFUTED), True, False),
        ([LOADED, RARELY_READ], REFUTED, (NOT_COMPARED, BoundAnswer.REFUTED), True, True),
        ([RARELY_READ], REFUTED, (NOT_COMPARED, BoundAnswer.REFUTED), True, False),
        ([LOADED], RARELY_READ, (HELD, NOT_COMPARED), True, False),
    ],
)
def test_a_bound_that_always_held_and_is_refuted_is_a_regression(
    host: Host,
    before: list[DisturbanceFigures],
    now: DisturbanceFigures,
    answers: tuple[BoundAnswer, BoundAnswer],
    changed: bool,
    regressed: bool,
) -> None:
    (change,) = compare([host(now)], *([host(figures)] for figures in before)).changes
    assert (change.before[-1], change.now) == answers
    assert (change.changed, change.regressed) == (changed, regressed)


def test_a_refuted_bound_makes_the_run_worse(host: Host) -> None:
    assert compare_runs([host(REFUTED)], [[host(LOADED)]]).regressed
    assert not compare_runs([host(LOADED)], [[host(LOADED)]]).regressed


def test_the_worst_host_of_a_type_answers(host: Host) -> None:
    pair = [host(LOADED), host(REFUTED, name="second")]
    (change,) = compare(pair, [host(LOADED)]).changes
    assert change.now is BoundAnswer.REFUTED
    (change,) = compare([host(LOADED), host(RARELY_READ)], [host(LOADED)]).changes
    assert change.now is NOT_COMPARED
    (change,) = compare([host(LOADED), host(NOT_BACK)], [host(LOADED), host(LOADED)], [host(NOT_BACK)]).changes
    assert (change.back_now, change.back_before, change.changed) == (False, (True, False), False)


def test_what_cannot_be_compared_is_said(host: Host) -> None:
    assert compare([host(LOADED)], [host()]).uncompared == ("cpu-load: no earlier run has it at the same interval",)
    slower = host(LOADED, interval_s=2.0)
    assert compare([slower], [host(LOADED)]).uncompared == ("cpu-load: no earlier run has it at the same interval",)
    assert compare([host()], [host(LOADED, REBOOTED)]).uncompared == ("not disturbed in this run: cpu-load, reboot",)
    failed = compare([host(FAILED)], [host(LOADED)])
    assert (failed.changes, failed.uncompared) == ((), ("cpu-load: it ended with 1",))
    some = compare([host(FAILED), host(LOADED)], [host(LOADED)], [host(FAILED)])
    assert [(change.now, change.before) for change in some.changes] == [(HELD, (HELD,))]
    assert some.uncompared == ("cpu-load: it ended with 1",)
    assert compare([host(RARELY_READ)], [host(LOADED)]).uncompared == (
        "cpu-load: fewer than 10 readings could be held against the bound",
    )
    assert compare([host()], [host()]) == ComparedDisturbances(changes=(), tested=(), uncompared=())


# --- figures ----------------------------------------------------------------------------------------------------------


def values(compared: ComparedDisturbances) -> dict[str, tuple[float, float]]:
    """The figures that are tested: before and now."""
    return {
        tested.figure: (round(math.exp(tested.before), 3), round(math.exp(tested.now), 3)) for tested in compared.tested
    }


def test_offset_bound_and_time_back_are_tested_by_their_sizes(host: Host) -> None:
    worse = replace(LOADED, largest_offset_ns=50_000.0, largest_bound_ns=340_000.0, back_after_s=3.0)
    compared = compare([host(worse)], [host(LOADED)])
    assert values(compared) == {
        "cpu-load: largest offset": (25_000, 50_000),
        "cpu-load: largest bound": (170_000, 340_000),
        "cpu-load: time back": (1, 4),  # to the end of the second
    }
    assert {tested.unit for tested in compared.tested} == {"ns", "s"}
    assert {tested.disturbance for tested in compared.tested} == {Disturbance.CPU_LOAD}


@pytest.mark.parametrize("disturbance", [Disturbance.REBOOT, Disturbance.CHRONYD_RESTARTED])
def test_where_chronyd_starts_only_the_time_back_is_tested(host: Host, disturbance: Disturbance) -> None:
    figures = replace(LOADED, disturbance=disturbance)
    assert [*values(compare([host(figures)], [host(figures)]))] == [f"{disturbance}: time back"]


def test_what_was_not_observed_of_any_clock_is_not_tested(host: Host) -> None:
    for unknown in (
        replace(LOADED, largest_offset_ns=None, largest_bound_ns=None),
        replace(LOADED, largest_offset_ns=0.0, largest_bound_ns=None),
    ):
        for now, before in ((unknown, LOADED), (LOADED, unknown)):
            assert [*values(compare([host(now), host(LOADED)], [host(before)]))] == ["cpu-load: time back"]
    assert "cpu-load: time back" not in values(compare([host(LOADED, quality=None)], [host(LOADED, quality=None)]))


def test_a_clock_that_is_not_back_took_at_least_the_time_in_which_that_would_have_been_noticed(host: Host) -> None:
    """Of 60 s after the disturbance, the last eight are too short for eight good ones."""
    assert values(compare([host(NOT_BACK)], [host(LOADED)]))["cpu-load: time back"] == (1, 52)
    slow = replace(LOADED, back_after_s=51.0)
    assert "cpu-load: time back" not in values(compare([host(NOT_BACK)], [host(slow)]))
    assert "cpu-load: time back" not in values(compare([host(LOADED)], [host(NOT_BACK)]))
    short = replace(NOT_BACK, seconds=60)
    assert "cpu-load: time back" not in values(compare([host(short)], [host(LOADED)]))


# --- the expected spread ----------------------------------------------------------------------------------------------


def test_the_expected_spread_is_that_of_largest_values_of_a_minute() -> None:
    """The 99th percentile of 60 offsets is their largest but none; MTIE is the largest change."""
    measured = json.loads((Path(__file__).parents[2] / "data" / "spread" / "lab.json").read_text())
    logarithms = [
        np.log(of_runs)
        for by_figure in measured.values()
        for figure, of_runs in by_figure.items()
        if figure == "offset p99" or figure.startswith("MTIE at")
    ]
    assert len(logarithms) == 18
    pooled = np.sqrt(np.mean([np.var(of_figure, ddof=1) for of_figure in logarithms]))
    assert pytest.approx(pooled, abs=0.005) == DISTURBED_SPREAD


@pytest.mark.parametrize(("expected", "used"), [(0.16, DISTURBED_SPREAD), (2.0, 2.0)])
def test_a_larger_spread_of_the_bench_counts(host: Host, expected: float, used: float) -> None:
    tested = compare_disturbances("m7i.large", [host(LOADED)], [[host(LOADED)]], spread=expected).tested
    variance = 8 * used**2 / 8  # of eight expected measurements, beside a single one without a spread of its own
    assert {round(each.spread, 9) for each in tested} == {round(math.sqrt(variance * 2), 9)}


def trial(generator: np.random.Generator, bases: int, worse: float = 1.0) -> list[FigureTest]:
    """Ten figures of a clock, and nine under disturbances, the first of which got worse by a factor."""
    tested = []
    for number in range(19):
        disturbed = number >= 10
        spread = DISTURBED_SPREAD if disturbed else 0.15
        drawn = np.exp(generator.normal(size=bases + 1) * spread)
        drawn[-1] *= worse if number == 10 else 1.0
        prior = DISTURBED_SPREAD if disturbed else 0.16
        now, before = drawn[-1:].tolist(), drawn[:-1].tolist()
        tested.append(compare_figure("t", str(number), now, before, unit="ns", prior=prior))
    return tested


@pytest.mark.parametrize("bases", [1, 3, 8])
def test_false_alarms_stay_rare_with_figures_under_disturbances(bases: int) -> None:
    generator = np.random.default_rng(bases)
    alarms = sum(any(change.worse for change in decide(trial(generator, bases))) for _ in range(400))
    assert alarms / 400 <= FALSE_ALARMS


def test_a_clock_that_fares_a_hundred_times_worse_is_found_with_eight_earlier_runs() -> None:
    generator = np.random.default_rng(7)
    found = sum(decide(trial(generator, 8, worse=100.0))[10].worse for _ in range(400))
    assert found / 400 >= 0.9
