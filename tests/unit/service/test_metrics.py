"""The figures of a service: right for nothing, one and many, bounded, and in both formats of Prometheus."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from harness.model import HostState, Outcome, Stage
from harness.model.tasks import Scope, TaskState
from harness.service import request_metrics
from harness.service.ledger_figures import is_timeout, make_figures
from harness.service.request_metrics import RequestMetrics
from harness.store.service_figures import EndedStep, EndedTask, ServiceFigures, read_figures
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from tests.doubles.records import make_host, make_verdict
from tests.servers.service import RunningService, running_service

CAMPAIGN = "instance_types: [lab.phc]\n"
OPENMETRICS = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture
def service(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """A service that carries nothing out, and reads its ledger for each request of figures."""
    monkeypatch.setattr("harness.service.metrics.FIGURES_FRESH_S", 0.0)
    with running_service(ledger_url, tmp_path / "state") as running:
        yield running


def carry_out_one(service: RunningService, result: str = "done", state: TaskState = TaskState.ENDED) -> None:
    """A task with a run of one host, as a process would carry it out."""
    service.post("/v1/tasks", json={"campaign": CAMPAIGN})
    ledger, queue = service.ledger, TaskQueue(service.ledger)
    task = queue.claim(QueueLimits(tasks=100, per_bench={}))
    assert task is not None
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}, task=task.task)
    line = ledger.claim(run)
    assert line is not None
    ledger.end_step(ledger.begin_step(line.token, Stage.PROVISION), "done")
    ledger.end_step(ledger.begin_step(line.token, Stage.MEASURE), result)
    outcome = Outcome.PASS if result == "done" else Outcome.INCONCLUSIVE
    record = make_host(verdict=make_verdict(outcome=outcome), state=HostState.RELEASED)
    ledger.record_state(line.token, record)
    queue.finish(task, state, exit_code=0, outcome=outcome)


def samples(text: str, parse: object = parse_text) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of each name, by the values of their labels in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parse(text):  # type: ignore[operator]
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_a_service_without_tasks_has_figures_of_nothing(service: RunningService) -> None:
    document = service.get("/v1/metrics").json()
    assert (document["stages"], document["types"], document["sites"]) == ([], [], [])
    assert document["tasks"] == {"states": {}, "oldest_waiting_s": None}
    assert document["schedules"] == {"total": 0, "paused": 0, "troubled": 0, "missed": 0}
    assert document["retries"]["hosts"] == 0
    text = samples(service.get("/metrics").text)
    assert text["ptp_harness_service_tasks"] == {("queued",): 0, ("running",): 0}


def test_stages_types_and_sites_have_their_figures(service: RunningService) -> None:
    carry_out_one(service)
    one = service.get("/v1/metrics").json()
    assert [
        (each["bench"], each["stage"], each["succeeded"], each["duration_s"]["count"]) for each in one["stages"]
    ] == [
        ("lab", "measure", 1, 1),
        ("lab", "provision", 1, 1),
    ]
    (measured,) = (each["duration_s"] for each in one["stages"] if each["stage"] == "measure")
    assert measured["p50"] == measured["p95"] == measured["p99"] >= 0
    carry_out_one(service, "TransientError: the instance of x took longer than 300 s to run: pending")
    carry_out_one(service, "Interrupted: ", TaskState.CANCELLED)
    carry_out_one(service, "CommandError: ssh ended with status 255", TaskState.FAILED)
    service.post("/v1/tasks", json={"campaign": CAMPAIGN})
    document = service.get("/v1/metrics").json()
    (stage,) = (each for each in document["stages"] if each["stage"] == "measure")
    assert (stage["succeeded"], stage["failed"], stage["timed_out"], stage["interrupted"]) == (1, 2, 1, 1)
    (kind,) = document["types"]
    assert (kind["instance_type"], kind["outcomes"]) == ("lab.phc", {"PASS": 1, "INCONCLUSIVE": 3})
    (site,) = document["sites"]
    assert (site["site"], site["succeeded"], site["failed"], site["interrupted"]) == ("here", 2, 1, 1)
    assert document["tasks"]["states"] == {"ended": 2, "cancelled": 1, "failed": 1, "queued": 1}
    assert 0 <= document["tasks"]["oldest_waiting_s"] < 60
    text = samples(service.get("/metrics").text)
    prefix = "ptp_harness_service"
    assert text[f"{prefix}_stage_steps"]["lab", "timed_out", "measure"] == 1
    assert text[f"{prefix}_verdicts"]["lab", "lab.phc", "INCONCLUSIVE"] == 3
    assert text[f"{prefix}_tasks_ended_total"]["PASS", "ended"] == 1
    assert ("lab", "0.99", "measure") in text[f"{prefix}_stage_duration_seconds"]
    assert text[f"{prefix}_tasks"] == {("queued",): 1, ("running",): 0}


def test_both_formats_of_prometheus_can_be_parsed_and_say_the_same(service: RunningService) -> None:
    carry_out_one(service)
    plain = service.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    with service.client(Scope.READ) as client:
        answer = client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("# EOF\n")
    left, right = samples(plain.text), samples(answer.text, parse_openmetrics)
    name = "ptp_harness_service_verdicts"
    assert left[name] == right[name] == {("lab", "lab.phc", "PASS"): 1}
    for accept in ("", "*/*", "text/html", "application/openmetrics-text", "text/plain;version=x,\xff", "a" * 3000):
        with service.client(Scope.READ) as client:
            assert client.get("/metrics", headers={"Accept": accept.encode("latin-1")}).status_code == 200


def test_requests_are_counted_by_the_template_of_their_route(service: RunningService) -> None:
    task = service.post("/v1/tasks", json={"campaign": CAMPAIGN}).json()["task"]
    for path in (f"/v1/tasks/{task}", "/v1/tasks/none1", "/v1/tasks/none2", "/nowhere/1", "/nowhere/2"):
        service.get(path)
    service.get("/v1/tasks", None)
    with service.client() as client:
        client.request("BREW", "/v1/tasks")
    rows = {(each["method"], each["route"]): each for each in service.get("/v1/metrics").json()["requests"]}
    assert rows["GET", "/v1/tasks/{task}"]["requests"] == 3
    assert rows["GET", "none"]["requests"] == 2
    assert rows["POST", "/v1/tasks"]["failures"] == 0
    assert rows["POST", "/v1/tasks"]["duration_s"]["p99"] > 0
    assert not any(task in route or "nowhere" in route for _, route in rows)
    counted = samples(service.get("/metrics").text)["ptp_harness_service_requests_total"]
    assert counted["GET", "/v1/tasks/{task}", "404"] == 2
    assert counted["GET", "/v1/tasks", "401"] == 1
    assert all(method in ("GET", "POST", "other") for method, _, _ in counted)


def test_figures_need_a_token(service: RunningService) -> None:
    assert [service.get(path, None).status_code for path in ("/metrics", "/v1/metrics")] == [401, 401]


# -- bounds


def test_a_route_keeps_the_latest_requests_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = RequestMetrics(CollectorRegistry())
    for number in range(3 * request_metrics.MOST_KEPT):
        metrics.add("GET", "/a", 200 if number else 500, float(number))
    figures = metrics.read()["GET", "/a"]
    assert (figures.requests, figures.failures) == (3000, 1)
    assert (figures.durations_s.count, figures.durations_s.p50) == (1000, 2499.0)
    now = time.monotonic()
    monkeypatch.setattr(request_metrics.time, "monotonic", lambda: now + request_metrics.WINDOW_S + 1)
    old = metrics.read()["GET", "/a"]
    assert (old.requests, old.durations_s.count, old.durations_s.p50) == (3000, 0, None)


def test_methods_and_routes_are_so_many_and_no_more() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    for number in range(2000):
        metrics.add(f"X{number}", f"/{number}", 200, 0.1)
    figures = metrics.read()
    assert len(figures) <= 501
    assert {method for method, _ in figures} == {"other"}
    assert sum(each.requests for each in figures.values()) == 2000
    assert len([sample for family in registry.collect() for sample in family.samples]) < 20_000


def test_the_rows_of_the_ledger_are_so_many_and_no_more(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        carry_out_one(service)
    monkeypatch.setattr("harness.store.service_figures.MOST_STEPS", 4)
    monkeypatch.setattr("harness.store.service_figures.MOST_TASKS", 2)
    monkeypatch.setattr("harness.store.service_figures.MOST_TYPES", 0)
    rows = read_figures(service.ledger.database, window_s=3600.0)
    assert (len(rows.steps), len(rows.ended), len(rows.types)) == (4, 2, 0)
    assert rows.tasks == {("ended", "PASS"): 3}, "these are counted, not read"
    assert read_figures(service.ledger.database, window_s=-1.0).steps == []


# -- results


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("done", False),
        ("CommandError: ssh did not end within 30 s", True),
        ("TransientError: the instance of x took longer than 300 s to run: it is pending", True),
        ("TransientError: no answer in time", True),
        ("HostLost: it did not come back from a reboot in 300 s: refused", True),
        ("CommandError: ssh ended with status 255", False),
    ],
)
def test_what_took_too_long_is_told_from_what_failed(result: str, expected: bool) -> None:
    assert is_timeout(result) is expected


def test_the_time_of_a_host_is_the_sum_of_its_steps() -> None:
    steps = [
        EndedStep(
            token=f"k3f9/a/{attempt}", stage=stage, seconds=seconds, result="done", bench="lab", instance_type="t"
        )
        for attempt, stage, seconds in ((1, "provision", 1.0), (1, "measure", 2.0), (2, "provision", 5.0))
    ]
    ended = [EndedTask(site="rack7", state="ended", outcome="PASS", seconds=9.0)]
    rows = ServiceFigures(
        tasks={}, oldest_waiting_s=None, steps=steps, ended=ended, types={("lab", "t"): {Outcome.PASS: 1}},
        retaken_hosts=0, kept_hosts=0, schedules=0, paused_schedules=0, troubled_schedules=0, missed=0,
    )  # fmt: skip
    figures = make_figures(rows)
    assert figures.types["lab", "t"][1].p50 == 3.0
    assert figures.types["lab", "t"][1].p99 == 5.0
    assert [*figures.sites] == ["rack7"]
