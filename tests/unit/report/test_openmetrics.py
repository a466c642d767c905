"""The report as OpenMetrics is read by Prometheus' own parser, with the record's figures in base units."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.analysis.quality import compute_quality
from harness.model import Evidence, Outcome, Reason, RunRecord
from harness.report import openmetrics
from harness.system.profile_files import load_standards
from tests.doubles.records import make_finding, make_host, make_verdict

Samples = dict[str, list[tuple[dict[str, str], float]]]


def parse(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(samples: Samples, metric: str, **labels: str) -> float:
    (found,) = [number for given, number in samples[metric] if labels.items() <= given.items()]
    return found


@pytest.fixture
def record(good: Evidence) -> RunRecord:
    finding, quality = make_finding(), compute_quality(good, interval_s=1.0, profiles=load_standards())
    assert quality is not None
    host = make_host(
        name="m7i.large",
        instance_type="m7i.large",
        verdict=make_verdict(
            sentence="well", findings=(finding, replace(finding, quantity="phc_offset_ns", held=None))
        ),
        facts=good.facts,
        zone="eu-north-1a",
        quality=replace(quality, sampler_cpu_share=0.003),
    )
    return RunRecord(
        run="k3f9",
        bench="ec2",
        started="2026-11-29T12:00:00+00:00",
        seconds=100.0,
        interrupted=False,
        hosts=(host, replace(host, name="m7i.large-2", quality=None, facts=None)),
        leftovers=(),
        version="0.1.0",
    )


def test_prometheus_reads_every_figure_in_base_units(record: RunRecord) -> None:
    samples = parse(openmetrics.report(record))
    quality, first = record.hosts[0].quality, {"run": "k3f9", "host": "m7i.large", "instance_type": "m7i.large"}
    assert quality is not None
    assert value(samples, "ptp_harness_run_info", run="k3f9", bench="ec2", version="0.1.0") == 1
    assert value(samples, "ptp_harness_run_start_timestamp_seconds") == 1_795_953_600
    assert value(samples, "ptp_harness_host_info", host="m7i.large", zone="eu-north-1a", driver_version="2.17.0g") == 1
    assert value(samples, "ptp_harness_offset_seconds", statistic="p99_abs", **first) == pytest.approx(
        quality.offset_ns.p99_abs * 1e-9
    )
    assert quality.error_bound_ns is not None
    assert value(samples, "ptp_harness_error_bound_seconds", statistic="max_abs", **first) == pytest.approx(
        quality.error_bound_ns.max_abs * 1e-9
    )
    assert value(samples, "ptp_harness_mtie_seconds", tau_seconds="16", **first) == pytest.approx(
        next(point.mtie_ns for point in quality.stability if point.tau_s == 16) * 1e-9
    )
    assert value(samples, "ptp_harness_slots_seen", **first) == 120
    assert value(samples, "ptp_harness_sampler_cpu_ratio", **first) == 0.003


def test_states_are_one_of_each_set(record: RunRecord) -> None:
    samples = parse(openmetrics.report(record))
    for host in ("m7i.large", "m7i.large-2"):
        states = {
            labels["ptp_harness_host_outcome"]: number
            for labels, number in samples["ptp_harness_host_outcome"]
            if labels["host"] == host
        }
        assert states == {"PASS": 1, "FAIL": 0, "UNSUPPORTED": 0, "INCONCLUSIVE": 0}
    assert value(samples, "ptp_harness_profile_status", profile="ec2-phc", ptp_harness_profile_status="met") == 1


def test_what_was_not_decided_or_measured_has_no_sample(record: RunRecord) -> None:
    samples = parse(openmetrics.report(record))
    assert {labels["quantity"] for labels, _ in samples["ptp_harness_limit_held"]} == {"offset_ns"}
    assert {labels["host"] for labels, _ in samples["ptp_harness_offset_seconds"]} == {"m7i.large"}
    assert parse(openmetrics.report(replace(record, hosts=()))).keys() == {
        "ptp_harness_run_info",
        "ptp_harness_run_start_timestamp_seconds",
    }


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.floats())
def test_any_text_and_number_of_a_host_is_valid(text: str, number: float) -> None:
    verdict = make_verdict(outcome=Outcome.FAIL, reason=Reason.OUT_OF_LIMITS, sentence=text)
    host = make_host(name=text, instance_type=text, verdict=verdict, image=text)
    record = RunRecord(
        run="k3f9", bench="lab", started=text, seconds=number, interrupted=False, hosts=(host,), leftovers=()
    )
    samples = parse(openmetrics.report(record))
    assert all(math.isfinite(value) for points in samples.values() for _, value in points)
