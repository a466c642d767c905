"""The queue over HTTP: what runs and how long yet, what waits, and when its turn is expected."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.model import HostState, Outcome, Stage
from harness.model.tasks import Scope, TaskState
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from tests.doubles.records import make_host
from tests.servers.service import RunningService, running_service

LIMITS = QueueLimits(tasks=2, per_bench={"lab": 1})


@pytest.fixture
def service(ledger_url: str, tmp_path: Path) -> Iterator[RunningService]:
    """A service that carries nothing out: a test does."""
    with running_service(ledger_url, tmp_path / "state", limits=LIMITS) as running:
        yield running


def submit(service: RunningService, types: str = "lab.phc", **more: object) -> dict[str, object]:
    answer = service.post("/v1/tasks", json={"campaign": f"instance_types: [{types}]\n", **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def seconds_between(begin: object, end: object) -> float:
    parse = datetime.datetime.fromisoformat
    return (parse(str(end)) - parse(str(begin))).total_seconds()


def test_an_empty_queue(service: RunningService) -> None:
    queue = service.get("/v1/queue").json()
    assert (queue["running"], queue["waiting"], queue["waits"], queue["next"]) == ([], [], 0, None)


def test_what_waits_stands_in_the_order_of_turns_each_after_the_one_before(service: RunningService) -> None:
    first, urgent = submit(service), submit(service, priority=5)
    waiting = service.get("/v1/queue").json()["waiting"]
    assert [(line["task"], line["position"]) for line in waiting] == [(urgent["task"], 1), (first["task"], 2)]
    assert waiting[0]["expected_end"] == waiting[1]["expected_start"], "one at a time in the lab"
    assert seconds_between(waiting[0]["expected_start"], waiting[0]["expected_end"]) == urgent["expected_s"]
    shown = service.get(f"/v1/tasks/{first['task']}").json()
    assert seconds_between(shown["expected_start"], waiting[1]["expected_start"]) == pytest.approx(0, abs=3)
    listed = {line["task"]: line for line in service.get("/v1/tasks").json()["items"]}
    assert listed[urgent["task"]]["expected_start"] is not None


def test_a_task_that_was_submitted_just_now_has_its_times_at_once(service: RunningService) -> None:
    for _ in range(3):
        task = submit(service)["task"]
        assert service.get(f"/v1/tasks/{task}").json()["expected_start"] is not None


def test_what_runs_tells_its_hosts_and_how_long_yet(service: RunningService) -> None:
    task = submit(service, "lab.phc, lab.drifting")
    ledger, queue = service.ledger, TaskQueue(service.ledger)
    line = queue.claim(LIMITS)
    assert line is not None
    hosts = {"lab.phc": "lab.phc", "lab.drifting": "lab.drifting"}
    run = ledger.open_run(bench="lab", campaign={}, hosts=hosts, task=line.task)
    claimed = ledger.claim(run)
    assert claimed is not None
    ledger.begin_step(claimed.token, Stage.PROVISION)
    waits = submit(service)
    document = service.get("/v1/queue").json()
    (running,) = document["running"]
    assert (running["task"], running["run"], running["state"]) == (task["task"], run, "running")
    assert running["expected_start"] == running["begun"]
    assert 0 < running["remaining_s"] <= task["expected_s"]
    at_work = {host["host"]: host for host in running["hosts_at_work"]}
    assert [*at_work] == ["lab.phc", "lab.drifting"]
    assert at_work[claimed.host]["begun"] is not None
    assert [host["begun"] for name, host in at_work.items() if name != claimed.host] == [None]
    assert document["waiting"][0]["task"] == waits["task"]
    assert document["waiting"][0]["expected_start"] == running["expected_end"]
    queue.finish(line, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
    ended = service.get(f"/v1/tasks/{task['task']}").json()
    assert (ended["expected_start"], ended["expected_end"]) == (None, None)


def test_a_task_is_expected_to_take_as_long_as_its_types_took_before(service: RunningService) -> None:
    estimated = submit(service)["expected_s"]
    ledger = service.ledger
    for seconds in (400.0, 500.0, 9000.0):
        run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
        stages = {Stage.PROVISION: 100.0, Stage.MEASURE: seconds}
        record = make_host(name="a", instance_type="lab.phc", stages=stages, state=HostState.RELEASED)
        ledger.record_state(ledger.own_host(run, "a").token, record)
    assert service.context.durations.find_s("lab", ["lab.phc", "lab.none"]) == {}, "as it was read a moment ago"
    service.context.durations.forget()
    assert service.context.durations.find_s("lab", ["lab.phc", "lab.none"]) == {"lab.phc": 600.0}
    assert submit(service)["expected_s"] == 600.0 != estimated


def test_pages_of_what_waits_name_each_task_once(service: RunningService) -> None:
    tasks = [submit(service, priority=number % 3)["task"] for number in range(7)]
    listed, cursor = [], None
    while True:
        page = service.get("/v1/queue", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        assert page["waits"] == 7
        listed += [(line["position"], line["task"]) for line in page["waiting"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert [position for position, _ in listed] == [*range(1, 8)]
    assert {task for _, task in listed} == {*tasks}


@pytest.mark.parametrize("cursor", ["x", "!!", "WzEsMiwzXQ", "WyJhIl0", ""])
def test_a_cursor_that_is_none_is_refused(service: RunningService, cursor: str) -> None:
    answer = service.get("/v1/queue", params={"cursor": cursor})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_queue_is_for_those_with_a_token(service: RunningService) -> None:
    assert service.get("/v1/queue", None).status_code == 401
    assert service.get("/v1/queue", Scope.READ).status_code == 200
