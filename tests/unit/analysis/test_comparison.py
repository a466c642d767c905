"""A run is compared with earlier ones: what got worse is found, and chance is not taken for it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparison import compare_runs
from harness.analysis.figure_changes import FALSE_ALARMS, LEAST_RATIO, compare_figure, decide, prior_spread
from harness.analysis.quality import compute_quality
from harness.model import Evidence, HostRecord, Outcome
from tests.doubles.records import make_host, make_verdict

FIGURES, TRIALS = 10, 400


def trial(generator: np.random.Generator, bases: int, worse: float) -> list[bool]:
    """Ten figures of a run whose clock got worse by a factor in the first of them; spread 15 % from run to run."""
    tested = []
    for number in range(FIGURES):
        values = np.exp(generator.normal(size=bases + 1) * 0.15)
        values[-1] *= worse if number == 0 else 1.0
        tested.append(compare_figure("t", str(number), values[-1:].tolist(), values[:-1].tolist(), unit="ns"))
    return [change.worse for change in decide(tested)]


@pytest.mark.parametrize("bases", [1, 3, 8])
def test_false_alarms_are_rare_with_any_number_of_earlier_runs(bases: int) -> None:
    generator = np.random.default_rng(bases)
    alarms = sum(any(trial(generator, bases, 1.0)) for _ in range(TRIALS))
    assert alarms / TRIALS <= FALSE_ALARMS


@pytest.mark.parametrize(("bases", "found"), [(1, 0.25), (3, 0.6), (8, 0.8)])
def test_a_clock_that_is_twice_as_bad_is_found_the_oftener_the_more_runs_there_are(bases: int, found: float) -> None:
    generator = np.random.default_rng(100 + bases)
    hits = sum(trial(generator, bases, 2.0)[0] for _ in range(TRIALS))
    assert hits / TRIALS >= found


def test_a_change_below_a_quarter_is_none_however_sure_it_is() -> None:
    before = [100.0] * 5000
    for factor, worse in ((LEAST_RATIO - 0.01, False), (LEAST_RATIO + 0.01, True)):
        (change,) = decide([compare_figure("t", "f", [100.0 * factor] * 5000, before, unit="ns")])
        assert change.worse is worse
        assert change.p < 1e-6


def test_the_smallest_visible_ratio_is_the_one_that_would_have_been_told() -> None:
    """Just above it the change is told, just below it is not; among ten figures."""
    rng = np.random.default_rng(1)
    before = [np.exp(rng.normal(size=3) * 0.15).tolist() for _ in range(10)]
    others = [compare_figure("t", str(number), [1.0], before[number], unit="ns") for number in range(1, 10)]
    visible = decide([compare_figure("t", "0", [1.0], before[0], unit="ns"), *others])[0].visible_ratio
    mean = float(np.exp(np.mean(np.log(before[0]))))
    for factor, worse in ((0.999, False), (1.001, True)):
        tested = [compare_figure("t", "0", [mean * visible * factor], before[0], unit="ns"), *others]
        assert decide(tested)[0].worse is worse


def test_a_smaller_figure_is_better_and_no_regression() -> None:
    (change,) = decide([compare_figure("t", "f", [10.0], [100.0, 110.0, 95.0], unit="ns")])
    assert (change.worse, change.better) == (False, True)


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def host(good: Evidence) -> HostRecord:
    quality = compute_quality(good, interval_s=1.0)
    assert quality is not None
    quality = replace(quality, offset_ns=replace(quality.offset_ns, rms=100.0, p99_abs=300.0))
    return make_host(
        name="m7i.large",
        instance_type="m7i.large",
        verdict=make_verdict(sentence="well"),
        facts=good.facts,
        quality=quality,
    )


def changed(host: HostRecord, *, factor: float = 1.0, **changes: Any) -> HostRecord:
    quality = host.quality
    assert quality is not None
    worse = replace(quality.offset_ns, rms=quality.offset_ns.rms * factor, p99_abs=quality.offset_ns.p99_abs * factor)
    return replace(host, **{"quality": replace(quality, offset_ns=worse)} | changes)


def with_outcome(host: HostRecord, outcome: Outcome) -> HostRecord:
    return replace(host, verdict=replace(host.verdict, outcome=outcome, sentence=f"it is {outcome}"))


def test_equal_runs_do_not_differ(host: HostRecord) -> None:
    found = compare_runs([host], [[host], [host], [host]])
    assert not found.regressed
    assert [change.changed for change in found.verdicts] == [False]
    assert not any(change.worse or change.better for change in found.figures)
    assert {"offset RMS", "offset p99", "chrony bound p99", "error bound p99", "convergence"} <= {
        change.figure for change in found.figures
    }
    assert (found.circumstances, found.uncompared) == ((), ())


def test_a_worse_clock_is_a_regression_with_its_ratio(host: HostRecord) -> None:
    found = compare_runs([changed(host, factor=4.0)], [[host], [host], [host]])
    assert found.regressed
    worse = {change.figure: change.ratio for change in found.figures if change.worse}
    assert worse == {"offset RMS": pytest.approx(4.0), "offset p99": pytest.approx(4.0)}
    assert all(change.measurements == 3 for change in found.figures)


@pytest.mark.parametrize(
    ("before", "now", "is_changed", "regressed"),
    [
        (Outcome.PASS, Outcome.PASS, False, False),
        (Outcome.PASS, Outcome.FAIL, True, True),
        (Outcome.PASS, Outcome.UNSUPPORTED, True, True),
        (Outcome.PASS, Outcome.INCONCLUSIVE, True, False),
        (Outcome.FAIL, Outcome.FAIL, False, False),
        (Outcome.FAIL, Outcome.PASS, True, False),
        (Outcome.INCONCLUSIVE, Outcome.FAIL, True, False),
    ],
)
def test_a_changed_verdict_is_told_and_a_lost_pass_is_a_regression(
    host: HostRecord, before: Outcome, now: Outcome, is_changed: bool, regressed: bool
) -> None:
    (change,) = compare_runs([with_outcome(host, now)], [[host], [with_outcome(host, before)]]).verdicts
    assert (change.changed, change.regressed) == (is_changed, regressed)
    assert change.before == (Outcome.PASS, before)
    assert change.sentence == f"it is {now}"


def test_the_worst_host_of_a_type_counts(host: HostRecord) -> None:
    second = replace(with_outcome(host, Outcome.FAIL), name="m7i.large-2")
    (change,) = compare_runs([host, second], [[host]]).verdicts
    assert change.now is Outcome.FAIL


def test_what_else_is_different_is_told(host: HostRecord) -> None:
    assert host.facts is not None
    newer = changed(host, facts=replace(host.facts, kernel="7.3.1", chrony_version="4.8"), zone="eu-north-1c")
    found = compare_runs([newer], [[replace(host, zone="eu-north-1a")]])
    assert {(change.what, change.before, change.now) for change in found.circumstances} == {
        ("kernel", (host.facts.kernel,), ("7.3.1",)),
        ("chrony", (host.facts.chrony_version,), ("4.8",)),
        ("zone", ("eu-north-1a",), ("eu-north-1c",)),
    }


def test_what_cannot_be_compared_is_said(host: HostRecord) -> None:
    other = replace(host, name="c7g.large", instance_type="c7g.large")
    assert compare_runs([host], [[other]]).uncompared == (
        "m7i.large: no earlier run has this type",
        "c7g.large: not in this run",
    )
    assert compare_runs([replace(host, quality=None)], [[host]]).uncompared == (
        "m7i.large: this run has no figures of its clock",
    )
    assert host.quality is not None
    later = replace(host, quality=replace(host.quality, definition=host.quality.definition + 1))
    assert compare_runs([later], [[host]]).uncompared == (
        "m7i.large: no earlier run has figures of the same definition and interval",
    )
    slower = replace(host, quality=replace(host.quality, interval_s=2.0))
    assert compare_runs([slower], [[host]]).figures == ()


def test_a_figure_of_0_has_no_ratio_and_is_left_out(host: HostRecord) -> None:
    still = changed(host, factor=0.0)
    assert "offset RMS" not in {change.figure for change in compare_runs([host], [[still]]).figures}


# --- the spread from run to run ---------------------------------------------------------------------------------------

SPREAD = json.loads((Path(__file__).parents[2] / "data" / "spread" / "lab.json").read_text())


def test_the_spread_of_the_lab_is_the_measured_one() -> None:
    """Ten equal runs of three types: the pooled variance of the logarithms of all their figures."""
    assert len(SPREAD) == 3
    values = [run_values for by_figure in SPREAD.values() for run_values in by_figure.values()]
    assert {len(run_values) for run_values in values} == {10}
    pooled = np.sqrt(np.mean([np.var(np.log(run_values), ddof=1) for run_values in values]))
    assert prior_spread("lab") == pytest.approx(pooled, abs=0.005)
    assert prior_spread("ec2") < prior_spread("lab")


def test_each_run_of_the_lab_against_the_nine_others_is_hardly_ever_a_regression() -> None:
    """Of equal clocks: at most two of thirty hosts are called worse."""
    alarms, prior = 0, prior_spread("lab")
    for by_figure in SPREAD.values():
        for run in range(10):
            tested = [
                compare_figure("t", name, [found[run]], found[:run] + found[run + 1 :], unit="ns", prior=prior)
                for name, found in by_figure.items()
            ]
            alarms += any(change.worse for change in decide(tested))
    assert alarms <= 2
