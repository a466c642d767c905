"""Reports and comparisons over HTTP: each form as the command writes it, with its media type, and never as a page."""

import json
from xml.etree import ElementTree

import pytest

from harness.model import Outcome
from harness.report.comparison_forms import ComparisonForm
from harness.report.formats import Format, render
from harness.report.html.document_frame import POLICY
from harness.service.report_routes import COMPARISON_MEDIA_TYPES, MEDIA_TYPES
from harness.store.baselines import Baselines
from harness.store.tables import OWNERS
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService


def test_every_form_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(Format)
    assert set(COMPARISON_MEDIA_TYPES) == set(ComparisonForm)


@pytest.mark.parametrize("form", Format)
def test_a_report_is_what_the_command_writes(earlier: RunningService, form: Format) -> None:
    answer = earlier.get(f"/v1/runs/3a5r/report?form={form}")
    record = earlier.ledger.record("3a5r")
    assert record is not None
    plots, _ = earlier.context.sources.collect_plots(record)
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPES[form])
    assert answer.text == render(record, form, plots if form is Format.HTML else {})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-exit-code"] == "1"


def test_the_page_loads_and_runs_nothing_and_says_which_plots_lack(earlier: RunningService) -> None:
    answer = earlier.get("/v1/runs/last/report?form=html")
    assert answer.headers["content-security-policy"] == f"{POLICY}; frame-ancestors 'none'"
    assert "<svg" in answer.text
    assert answer.headers["x-plots-missing"] == "the evidence of lab.phc, lab.driver-off is not on this machine"
    for form in (Format.JUNIT, Format.MARKDOWN, Format.TEXT):
        answer = earlier.get(f"/v1/runs/3a5r/report?form={form}")
        assert "default-src 'none'; sandbox" in answer.headers["content-security-policy"]


def test_a_run_under_way_has_no_report_and_it_is_said_since_when_it_runs(service: RunningService) -> None:
    run = add_run(service.ledger, ended=False)
    answer = service.get(f"/v1/runs/{run}/report?form=json")
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert answer.json()["detail"].startswith(f"run {run} has not ended: it runs since 20")
    service.ledger.database.write(lambda db: db.execute(OWNERS.update().values(pid_start_ticks=1)))
    died = service.get(f"/v1/runs/{run}/report").json()
    assert (died["status"], "has no report: its process" in died["detail"]) == (409, True)


@pytest.mark.parametrize("form", ["", "pdf", "HTML"])
def test_a_form_that_is_none_is_a_problem(earlier: RunningService, form: str) -> None:
    assert earlier.get(f"/v1/runs/3a5r/report?form={form}").status_code == 422


# --- comparisons ------------------------------------------------------------------------------------------------------


@pytest.fixture
def good_and_bad(service: RunningService) -> tuple[str, str, str]:
    """Two runs that passed, and a later one that failed."""
    good = [MadeUpHost(offset_ns=80.0)]
    runs = [add_run(service.ledger, hosts) for hosts in (good, good, [MadeUpHost(outcome=Outcome.FAIL)])]
    return runs[0], runs[1], runs[2]


def test_a_run_is_compared_with_those_that_are_named(
    service: RunningService, good_and_bad: tuple[str, str, str]
) -> None:
    first, second, bad = good_and_bad
    answer = service.get(f"/v1/runs/{bad}/diff?base={first}&base={second}&base={first}")
    document = answer.json()
    assert (answer.status_code, answer.headers["x-exit-code"]) == (200, "1")
    assert (document["run"], sorted(document["bases"]), document["regressed"]) == (bad, sorted([first, second]), True)
    text = service.get(f"/v1/runs/last/diff?base={first}&form=text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith(f"run {bad} against {first}\n")
    assert "REGRESSION" in text.text
    junit = ElementTree.fromstring(service.get(f"/v1/runs/{bad}/diff?base={first}&form=junit").content)
    assert junit.get("failures") == "1"
    assert service.get(f"/v1/runs/{second}/diff?base={first}").headers["x-exit-code"] in ("0", "3")


def test_a_run_is_compared_with_a_baseline(service: RunningService, good_and_bad: tuple[str, str, str]) -> None:
    first, second, bad = good_and_bad
    Baselines(service.ledger.database).add("default", [first])
    Baselines(service.ledger.database).add("november", [second])
    assert service.get(f"/v1/runs/{bad}/diff").json()["bases"] == [first]
    assert service.get(f"/v1/runs/{bad}/diff?baseline=november").json()["bases"] == [second]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "the baseline 'default' is empty"),
        ("?baseline=none", 400, "the baseline 'none' is empty"),
        ("?base={run}", 400, "cannot be compared with itself"),
        ("?base={open}", 409, "has not ended"),
        ("?base={other}", 400, "is of bench lab, and others are not"),
        ("?base=nope", 404, "there is no run 'nope'"),
        ("?form=pdf", 422, "form"),
        ("?baseline=../x", 422, "baseline"),
    ],
)
def test_what_cannot_be_compared_is_a_problem(
    file_service: RunningService, query: str, status: int, words: str
) -> None:
    ledger = file_service.ledger
    names = {"run": add_run(ledger), "open": add_run(ledger, ended=False), "other": add_run(ledger, bench="ec2")}
    answer = file_service.get(f"/v1/runs/{names['run']}/diff{query.format(**names)}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


def test_the_json_of_a_report_holds_no_value_that_is_none_of_json(earlier: RunningService) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(earlier.get("/v1/runs/3a5r/report?form=json").content, parse_constant=refuse)
