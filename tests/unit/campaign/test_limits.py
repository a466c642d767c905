"""The tables, what a campaign changes in them, and the statuses just inside, on and just outside each limit."""

import math
import re
from pathlib import Path

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
    found = {limit.quantity: (limit.statistic, limit.value, limit.min_samples) for limit in limits.requirements("ec2")}
    assert found == {
        "offset_ns": ("p99_abs", 1_000, 45),
        "chrony_bound_ns": ("p99", 25_000, 60),
        "error_bound_ns": ("max", 50_000, 60),
        "phc_read_success": ("min", 0.99, 100),
        "phc_offset_ns": ("median_abs", 5_000, 60),
        "second_opinion_offset_ns": ("median_abs", 1_000_000, 5),
        "second_opinion_drift_ppb": ("max", 1_000, 10),
        "convergence_s": ("max", 120, 1),
    }


def test_values_for_the_lab() -> None:
    found = {limit.quantity: (limit.statistic, limit.value, limit.min_samples) for limit in limits.requirements("lab")}
    assert found == {
        "offset_ns": ("p99_abs", 3_000_000, 20),
        "chrony_bound_ns": ("p99", 6_000_000, 20),
        "error_bound_ns": ("max", 10_000_000, 20),
        "phc_read_success": ("min", 0.99, 100),
        "phc_offset_ns": ("median_abs", 2_000_000, 20),
        "second_opinion_offset_ns": ("median_abs", 5_000_000, 5),
        "second_opinion_drift_ppb": ("max", 50_000, 8),
        "convergence_s": ("max", 120, 1),
    }


def test_the_page_of_the_campaign_file_has_every_statistic_that_a_campaign_may_limit() -> None:
    page = (Path(__file__).parents[3] / "docs" / "campaign-file.md").read_text()
    rows = re.findall(r"^\| `limits\.(\w+)\.(\w+)`", page, re.MULTILINE)
    pairs = [(quantity, statistic) for quantity, known in limits.STATISTICS.items() for statistic in known]
    assert sorted(rows) == sorted(pairs)


@pytest.mark.parametrize(("quantity", "statistic"), [("phc_read_success", "min"), ("error_bound_ns", "p99")])
def test_a_campaign_s_limit_is_compared_as_its_statistic_demands(quantity: str, statistic: str) -> None:
    (limit,) = [
        limit for limit in limits.requirements("ec2", {quantity: {statistic: 0.5}}) if limit.quantity == quantity
    ]
    assert [limit.is_met_by(value) for value in (0.4, 0.5, 0.6)] == (
        [False, True, True] if statistic == "min" else [True, True, False]
    )
    assert limit.comparison == (">=" if statistic == "min" else "<=")


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
    assert refused.value.next_step == f"quantities are {', '.join(limits.STATISTICS)}"
