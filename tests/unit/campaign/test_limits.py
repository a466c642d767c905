"""The tables, what a campaign changes in them, and the statuses just inside, on and just outside each limit."""

import math

import pytest

from harness.campaign import limits
from harness.campaign.limit_fields import limit_parser
from harness.errors import RequestError
from harness.ladder.findings import compare_with_limits
from harness.model import Evidence
from harness.model.bench_traits import BENCHES, BenchName

ALL = [(bench, limit) for bench, table in limits.TABLES.items() for limit in table]


@pytest.mark.parametrize(("bench", "limit"), ALL, ids=lambda one: getattr(one, "quantity", one))
def test_inside_on_and_outside(bench: str, limit: limits.Requirement) -> None:
    below, above = math.nextafter(limit.value, -math.inf), math.nextafter(limit.value, math.inf)
    found = [limit.is_met_by(value) for value in (below, limit.value, above)]
    assert found == ([True, True, False] if limit.comparison == "<=" else [False, True, True])


@pytest.mark.parametrize("bench", limits.TABLES)
def test_a_table_has_every_quantity_once_with_a_statistic_that_makes_sense(bench: str) -> None:
    table = limits.TABLES[bench]
    assert sorted(limit.quantity for limit in table) == sorted(limits.STATISTICS)
    assert all(limit.statistic in limits.STATISTICS[limit.quantity] for limit in table)
    assert all(limit.source and limit.valid_for and limit.min_samples > 0 for limit in table)
    assert {limit.quantity: limit.comparison for limit in table if limit.comparison == ">="} == {
        "phc_read_success": ">="
    }


def test_every_quantity_has_a_unit_that_limits_can_be_written_in_and_that_ends_its_name() -> None:
    assert limits.UNITS.keys() == limits.STATISTICS.keys()
    for quantity, unit in limits.UNITS.items():
        assert limit_parser(unit)(1) == 1
        assert unit == "ratio" or quantity.endswith(f"_{unit}")


def test_every_quantity_is_compared_with_its_limits(good: Evidence) -> None:
    for quantity in limits.STATISTICS:
        (limit,) = [limit for limit in limits.EC2 if limit.quantity == quantity]
        (finding,) = compare_with_limits(good, [limit])
        assert (finding.quantity, finding.unit, finding.held) == (quantity, limits.UNITS[quantity], True)


@pytest.mark.parametrize("bench", BENCHES)
def test_every_bench_has_a_table(bench: BenchName) -> None:
    assert set(limits.requirements(bench)) == set(limits.TABLES[BENCHES[bench].limits])


def test_values_for_ec2() -> None:
    found = {limit.quantity: (limit.statistic, limit.value) for limit in limits.requirements("ec2")}
    assert found == {
        "offset_ns": ("p99_abs", 1_000),
        "chrony_bound_ns": ("p99", 25_000),
        "error_bound_ns": ("max", 50_000),
        "phc_read_success": ("min", 0.99),
        "phc_offset_ns": ("median_abs", 5_000),
        "second_opinion_offset_ns": ("median_abs", 1_000_000),
        "second_opinion_drift_ppb": ("max", 1_000),
        "convergence_s": ("max", 120),
    }


def test_a_campaign_s_limit_takes_the_place_of_the_table_s() -> None:
    before = limits.requirements("lab")
    after = limits.requirements("lab", {"offset_ns": {"median_abs": 500.0, "p99_abs": 900.0}})
    assert [one for one in after if one.quantity != "offset_ns"] == [
        one for one in before if one.quantity != "offset_ns"
    ]
    assert [
        (one.statistic, one.value, one.unit, one.min_samples, one.source)
        for one in after
        if one.quantity == "offset_ns"
    ] == [
        ("median_abs", 500.0, "ns", 20, "the campaign"),
        ("p99_abs", 900.0, "ns", 20, "the campaign"),
    ]


def test_every_mistake_is_named_with_the_nearest_word() -> None:
    with pytest.raises(RequestError) as refused:
        limits.requirements("ec2", {"ofset_ns": {"p99": 1}, "error_bound_ns": {"p98": 1}, "offset_ns": {}})
    assert refused.value.message == (
        "unknown limit 'ofset_ns' (did you mean 'offset_ns'?); "
        "unknown statistic 'p98' of error_bound_ns (did you mean 'p99'?): max, p99; "
        "limit offset_ns names no statistic: p99_abs, median_abs, max"
    )
