"""What is computed of all samples at once is what is computed of one after the other, number by number."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.analysis import sample_arrays, sample_values, summary
from harness.analysis.measured_offsets import is_bound_refuted
from harness.analysis.quality import compute_sampler_share
from harness.analysis.sample_arrays import Observed, to_arrays
from harness.analysis.slot_readings import choose_readings
from harness.ladder import bound_check, quantities
from harness.ladder.quantities import Series
from harness.model import Evidence, Sample
from harness.model.sample_table import SampleTable
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from tests.doubles import drawn_samples, plain_quantities

LAB = Path(__file__).parents[2] / "data" / "lab"
MEASURED = sorted(path.parent for path in LAB.glob("*/samples.jsonl"))

any_number_of = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def observe(folder: Path) -> Evidence:
    facts, _ = read_facts((folder / "facts.json").read_text(), where="facts.json")
    samples, _, slots = read_samples((folder / "samples.jsonl").read_text(), where="samples.jsonl")
    return Evidence(facts=facts, samples=samples, slots=slots)


def listed(quantity: Observed) -> list[float | None]:
    return [value if known else None for value, known in zip(quantity.values.tolist(), quantity.known, strict=True)]


def typed(value: object) -> object:
    """A value with the types of its numbers, which reports tell apart: 1 is not 1.0."""
    return [typed(item) for item in value] if isinstance(value, list | tuple) else (type(value), value)


def points(series: Series) -> plain_quantities.Points:
    return series.points, series.missing


def check_values(samples: Sequence[Sample]) -> None:
    """Compare each value of each sample."""
    arrays = to_arrays(samples)
    values: dict[str, Callable[[Sample], float | None]] = {
        "chrony_bound": sample_values.chrony_bound,
        "error_bound": sample_values.error_bound,
        "phc_offset": sample_values.phc_offset,
        "window_ns": lambda sample: sample_values.fastest(sample.reads).window_ns if sample.reads else None,
        "least_distance": lambda sample: (
            sample_values.least_distance_ns(sample_values.fastest(sample.reads)) if sample.reads else None
        ),
        "device_bound": lambda sample: sample.error_bound_ns or None,
        "read_errors": lambda sample: sample.read_errors,
        "raw_ns": lambda sample: sample.raw_ns,
    }
    for name, value_of in values.items():
        assert typed(listed(getattr(arrays, name))) == typed([value_of(sample) for sample in samples]), name
    before = [None, *samples][: len(samples)]
    larger = [sample_values.larger_bound(sample, last) for sample, last in zip(samples, before, strict=True)]
    assert typed(listed(sample_arrays.larger_bounds(arrays.chrony_bound))) == typed(larger)
    read_ns = [read.phc_ns for sample in samples for read in sample.reads or ()]
    assert arrays.phc_never_back is summary.monotonic(read_ns)
    share = compute_sampler_share(arrays, np.ones(len(arrays), dtype=np.bool_))
    assert share == plain_quantities.compute_sampler_share(samples)
    readings = choose_readings(arrays)
    columns = (readings.slots, readings.offset_ns, readings.delay_ns, readings.phc_ns)
    rows = zip(*(column.tolist() for column in columns), listed(readings.oscillator_ns), strict=True)
    assert typed(list(rows)) == typed(plain_quantities.list_readings(samples))


def check_quantities(evidence: Evidence) -> None:
    """Compare each quantity that the ladder judges by."""
    assert quantities.count_slots(evidence) == plain_quantities.count_slots(evidence)
    assert quantities.count_lost(evidence) == plain_quantities.count_lost(evidence)
    assert quantities.leap_second_is_near(evidence) is plain_quantities.leap_second_is_near(evidence)
    assert quantities.count_reads(evidence) == plain_quantities.count_reads(evidence)
    for name in ("chrony_bound", "error_bound", "phc_offset"):
        series = quantities.collect_series(evidence, attrgetter(name))
        plain = plain_quantities.collect_series(evidence, getattr(sample_values, name))
        assert typed(points(series)) == typed(plain)
        assert typed(series.sizes) == typed(sorted(abs(value) for _, value in plain[0]))
    for name in ("offset_series", "second_opinion_series", "phc_minus_second_opinion"):
        series, plain = getattr(quantities, name)(evidence), getattr(plain_quantities, name)(evidence)
        assert typed(points(series)) == typed(plain), name
        if len({time_s for time_s, _ in plain[0]}) > 1:
            assert quantities.compute_drift(series) == plain_quantities.slope(plain[0], missing=plain[1])
    check = plain_quantities.check_samples(evidence)
    assert bound_check.check_samples(evidence) == check
    arrays = quantities.to_arrays(evidence)
    assert is_bound_refuted(arrays, np.ones(len(arrays), dtype=np.bool_)) is check.refuted


@pytest.mark.parametrize("folder", MEASURED, ids=lambda folder: folder.name)
def test_of_a_recorded_host_they_are_the_same(folder: Path) -> None:
    evidence = observe(folder)
    assert evidence.samples
    check_values(evidence.samples)
    check_quantities(evidence)


@any_number_of
@example([])
@given(st.lists(drawn_samples.samples, max_size=8))
def test_of_any_samples_they_are_the_same(good: Evidence, samples: list[Sample]) -> None:
    check_values(samples)
    for published in (True, False):
        assert good.facts is not None
        facts = replace(good.facts, counters_published=published)
        for slots in (31, None):
            check_quantities(replace(good, facts=facts, samples=tuple(samples), slots=slots))


@pytest.mark.parametrize(
    ("counters", "grown"),
    [([], 0), ([7], 0), ([7, 7], 0), ([2291, 2300], 9), ([2291, 2300, 4, 10], 19), ([5, 0, 0, 3], 3)],
)
def test_growth_over_a_reset(counters: list[int], grown: int) -> None:
    assert sample_arrays.add_growth(np.array(counters, dtype=np.int64)) == grown


@given(st.lists(st.integers(0, 2**61 - 1), max_size=40))
def test_sums_are_exact_also_beyond_64_bits(values: list[int]) -> None:
    assert sample_arrays.add_up(np.array(values, dtype=np.int64)) == sum(values)


def test_arrays_of_a_table_are_made_once_until_it_grows(good: Evidence) -> None:
    table = SampleTable((good.samples or ())[:3])
    arrays = to_arrays(table)
    assert to_arrays(table) is arrays
    table.append((good.samples or ())[3])
    assert (len(arrays), len(to_arrays(table))) == (3, 4)
