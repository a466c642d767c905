"""Every form of report tells how a clock fared when it was disturbed, and that it was refuted where it was."""

import json
from dataclasses import replace

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.model import RunRecord
from harness.model.disturbances import Disturbance, DisturbanceFigures, LimitExceeded
from harness.report import openmetrics, text
from harness.report.disturbance_text import describe_disturbances
from harness.report.document import document
from harness.report.html.page import render_page
from tests.doubles.records import make_host

LOAD = DisturbanceFigures(
    disturbance=Disturbance.CPU_LOAD,
    lasted_s=60.0,
    seconds=120,
    compared=118,
    refuted=0,
    largest_offset_ns=-38_100,
    largest_offset_uncertainty_ns=10_000,
    largest_bound_ns=190_000,
    offset_exceeded=(LimitExceeded(limit_ns=10_000, after_s=3.0),),
    bound_exceeded=(),
    back_after_s=2.0,
    detail="2 busy programs",
)
PAUSED = replace(
    LOAD,
    disturbance=Disturbance.GUEST_PAUSED,
    lasted_s=0.0,
    refuted=6,
    offset_exceeded=(),
    bound_exceeded=(LimitExceeded(limit_ns=10_000, after_s=0.0), LimitExceeded(limit_ns=50_000, after_s=5.0)),
    back_after_s=None,
    detail="",
)
SENT = replace(LOAD, disturbance=Disturbance.NETWORK_LOAD, detail="", failure="<b>no</b> gateway")
HOST = make_host(disturbances=(LOAD, PAUSED, SENT))
RECORD = RunRecord(
    run="k3f9", bench="lab", started="2026-11-29T10:00:00Z", seconds=1.0, interrupted=False, hosts=(HOST,), leftovers=()
)


def test_a_line_for_each_disturbance() -> None:
    assert describe_disturbances(HOST.disturbances) == [
        "disturbances:",
        "  cpu-load (1 min, 2 busy programs): offset up to 38.1 us +- 10 us; bound up to 190 us; chrony's bound held "
        "in all 118 seconds that could be compared, of 120; offset above 10 us after 3 s; back after 2 s",
        "  guest-paused: offset up to 38.1 us +- 10 us; bound up to 190 us; chrony's bound REFUTED in 6 of 118 "
        "seconds; bound above 10 us after 0 s; not back while it was watched",
        "  network-load (1 min): <b>no</b> gateway",
    ]
    assert describe_disturbances(()) == []


def test_what_was_not_read_is_not_observed() -> None:
    nothing = replace(LOAD, largest_offset_ns=None, largest_offset_uncertainty_ns=None, largest_bound_ns=None)
    line = describe_disturbances([nothing])[1]
    assert "offset up to not observed; bound up to not observed" in line


def test_show_and_the_document_have_them() -> None:
    assert "  disturbances:" in text.ladder(HOST).splitlines()
    told = json.loads(json.dumps(document(RECORD)))["hosts"][0]["disturbances"]
    assert [one["disturbance"] for one in told] == ["cpu-load", "guest-paused", "network-load"]
    assert told[0]["offset_exceeded"] == [{"limit_ns": 10_000, "after_s": 3.0}]


def test_the_page_has_a_table_of_them_and_escapes_what_a_host_says() -> None:
    written = render_page(RECORD, {})
    assert "How the clock fared when it was disturbed" in written
    assert "&lt;b&gt;no&lt;/b&gt; gateway" in written
    assert "10 us after 0 s, 50 us after 5 s" in written.replace("µ", "u")
    assert "disturbed" not in render_page(replace(RECORD, hosts=(make_host(),)), {})


def test_metrics_have_them_by_disturbance() -> None:
    families = {family.name: family for family in text_string_to_metric_families(openmetrics.report(RECORD))}
    refuted = {
        sample.labels["disturbance"]: sample.value for sample in families["ptp_harness_disturbed_refuted"].samples
    }
    assert refuted == {"cpu-load": 0.0, "guest-paused": 6.0, "network-load": 0.0}
    returned = {sample.labels["disturbance"] for sample in families["ptp_harness_disturbed_return_seconds"].samples}
    assert returned == {"cpu-load", "network-load"}, "what was not back has no sample"
