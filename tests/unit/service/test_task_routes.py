"""Campaigns over HTTP: submitted once, listed page by page, cancelled by whom they belong to."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.campaign.campaign_file import json_schema
from harness.model.tasks import Scope, TaskState
from harness.store.audit_log import AuditLog
from tests.servers.service import RunningService, running_service

CAMPAIGN = "instance_types: [lab.phc, lab.no-phc]\n"


@pytest.fixture
def service(ledger_url: str, tmp_path: Path) -> Iterator[RunningService]:
    """A service that carries nothing out: tasks wait."""
    with running_service(ledger_url, tmp_path / "state", most_waiting=20) as running:
        yield running


def submit(service: RunningService, scope: Scope = Scope.SUBMIT, key: str | None = None, **more: object) -> str:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = service.post("/v1/tasks", scope, json={"campaign": CAMPAIGN, **more}, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["task"])


def test_a_submitted_campaign_waits_for_its_turn(service: RunningService) -> None:
    answer = service.post("/v1/tasks", json={"campaign": CAMPAIGN, "priority": 3})
    assert answer.status_code == 201
    task = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{task['task']}"
    assert (task["state"], task["bench"], task["hosts"], task["priority"]) == ("queued", "lab", 2, 3)
    assert (task["run"], task["begun"], task["ended"], task["outcome"]) == (None, None, None, None)
    assert task["submitter"] == service.names[Scope.SUBMIT]
    shown = service.get(answer.headers["location"])
    expected = {name: shown.json()[name] for name in ("expected_start", "expected_end")}
    assert shown.json() == task | {"position": 1, **expected}
    assert service.get(f"/v1/tasks/{task['task']}/campaign").text == CAMPAIGN


def test_json_is_a_campaign_too(service: RunningService) -> None:
    submitted = json.dumps({"instance_types": ["lab.phc"], "measure": {"duration": "40s"}})
    assert service.post("/v1/tasks", json={"campaign": submitted}).status_code == 201


def test_a_request_that_is_sent_again_makes_no_second_task(service: RunningService) -> None:
    first = submit(service, key="deploy-7")
    with ThreadPoolExecutor(8) as pool:
        again = {*pool.map(lambda _number: submit(service, key="deploy-7"), range(16))}
    assert again == {first}
    assert submit(service, Scope.OPERATE, key="deploy-7") != first, "the keys of another token are its own"
    other = service.post(
        "/v1/tasks", json={"campaign": CAMPAIGN, "priority": 1}, headers={"Idempotency-Key": "deploy-7"}
    )
    assert other.status_code == 422
    assert other.json()["detail"] == "the idempotency key 'deploy-7' came before, with another request"
    assert first in other.json()["next_step"]


def test_requests_with_one_key_at_the_same_moment_make_one_task(service: RunningService) -> None:
    barrier = threading.Barrier(8)

    def send(_number: int) -> str:
        barrier.wait()
        return submit(service, key="at-once")

    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(send, range(8))}) == 1
    assert len(service.get("/v1/tasks").json()["items"]) == 1


def test_every_mistake_is_named_with_its_line_and_nothing_is_kept(service: RunningService) -> None:
    answer = service.post("/v1/tasks", json={"campaign": "instance_types: [lab.phc]\nkept: 1\nparallel: none\n"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [(mistake["line"], mistake["key"]) for mistake in problem["mistakes"]] == [(2, "kept"), (3, "parallel")]
    assert problem["next_step"]
    assert service.get("/v1/tasks").json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "campaign"),
        ({"campaign": ""}, "campaign"),
        ({"campaign": CAMPAIGN, "prio": 1}, "prio"),
        ({"campaign": CAMPAIGN, "priority": 101}, "priority"),
        ({"campaign": CAMPAIGN, "site": "../../etc"}, "site"),
        ([CAMPAIGN], ""),
    ],
)
def test_a_body_that_is_no_submission_is_refused(service: RunningService, body: object, key: str) -> None:
    answer = service.post("/v1/tasks", json=body)
    assert answer.status_code == 422
    assert key in [mistake["key"] for mistake in answer.json()["mistakes"]]


def test_a_site_that_is_not_there_is_named(service: RunningService) -> None:
    answer = service.post("/v1/tasks", json={"campaign": CAMPAIGN, "site": "rack7"})
    assert answer.status_code in (400, 404)
    assert "rack7" in answer.json()["detail"]


def test_who_may_only_read_submits_nothing(service: RunningService) -> None:
    answer = service.post("/v1/tasks", Scope.READ, json={"campaign": CAMPAIGN})
    assert answer.status_code == 403
    assert "has the scope read, and this needs submit" in answer.json()["detail"]


def test_no_more_than_so_many_of_one_submitter_wait(service: RunningService) -> None:
    for _ in range(20):
        submit(service)
    answer = service.post("/v1/tasks", json={"campaign": CAMPAIGN})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    submit(service, Scope.OPERATE)


def test_a_list_goes_on_behind_its_cursor_and_loses_nothing(service: RunningService) -> None:
    submitted = [submit(service, scope) for scope in (Scope.SUBMIT, Scope.OPERATE) for _ in range(10)]
    found: list[str] = []
    cursor = None
    while True:
        page = service.get("/v1/tasks", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        found += [task["task"] for task in page["items"]]
        submit(service, Scope.ADMIN)  # newer ones do not shift the pages
        cursor = page["next"]
        if cursor is None:
            break
    assert len(found) == len({*found}) == 20
    assert {*found} == {*submitted}


def test_a_list_is_filtered(service: RunningService) -> None:
    waiting, cancelled = submit(service), submit(service, Scope.OPERATE)
    service.post(f"/v1/tasks/{cancelled}/cancel", Scope.OPERATE)

    def listed(**query: str) -> list[str]:
        return [task["task"] for task in service.get("/v1/tasks", params=query).json()["items"]]

    assert listed(state="queued") == listed(submitter=service.names[Scope.SUBMIT]) == [waiting]
    assert listed(state="cancelled") == [cancelled]
    assert listed(type="lab.no-phc", state="queued") == [waiting]
    assert listed(type="lab.no") == listed(type="%") == listed(bench="ec2") == listed(outcome="PASS") == []
    assert {*listed(since="1h", bench="lab")} == {waiting, cancelled}
    assert listed(until="1h") == listed(site="rack7") == listed(schedule="nightly") == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"state": "waiting"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"cursor": "x"}, "the cursor is not one of this list"),
        ({"since": "soon"}, "since is 'soon'"),
    ],
)
def test_a_wrong_filter_is_named(service: RunningService, query: dict[str, str], sentence: str) -> None:
    answer = service.get("/v1/tasks", params=query)
    assert answer.status_code in (400, 422)
    assert sentence in answer.json()["detail"]


def test_a_task_is_cancelled_by_its_submitter_or_an_operator(service: RunningService) -> None:
    own, of_another = submit(service), submit(service, Scope.ADMIN)
    cancelled = service.post(f"/v1/tasks/{own}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, TaskState.CANCELLED)
    assert cancelled.json()["cancelled_by"] == service.names[Scope.SUBMIT]
    assert service.post(f"/v1/tasks/{own}/cancel").json() == cancelled.json(), "a second time changes nothing"
    refused = service.post(f"/v1/tasks/{of_another}/cancel")
    assert refused.status_code == 403
    assert service.names[Scope.ADMIN] in refused.json()["next_step"]
    assert service.post(f"/v1/tasks/{of_another}/cancel", Scope.OPERATE).json()["state"] == TaskState.CANCELLED
    assert service.get(f"/v1/tasks/{own}").json()["position"] is None


@pytest.mark.parametrize("path", ["/v1/tasks/nobody", "/v1/tasks/nobody/campaign", "/v1/tasks/%0a", "/v1/nothing"])
def test_a_name_that_nothing_has_is_a_problem(service: RunningService, path: str) -> None:
    answer = service.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["status"] == 404
    assert "there is no" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/tasks/a%00b", "/v1/tasks?submitter=%00"])
def test_an_address_with_a_nul_is_a_problem(service: RunningService, path: str) -> None:
    answer = service.get(path)
    assert (answer.status_code, answer.json()["detail"]) == (400, "there is no address with a NUL in it")


def test_what_was_done_is_in_the_audit_log(service: RunningService) -> None:
    task = submit(service)
    service.post(f"/v1/tasks/{task}/cancel")
    entries = [line.entry for line in AuditLog(service.ledger.database).list_lines()]
    done = [entry for entry in entries if entry.object == task]
    assert [(entry.action, entry.status) for entry in done] == [("task.cancel", 200), ("task.submit", 201)]
    assert {entry.actor for entry in done} == {service.names[Scope.SUBMIT]}
    assert {entry.address for entry in done} == {"127.0.0.1"}


def test_a_service_that_is_being_stopped_takes_nothing_new(service: RunningService) -> None:
    with service.client(Scope.SUBMIT) as client:
        assert client.get("/readyz").status_code == 200
        service.context.draining.set()
        answer = client.post("/v1/tasks", json={"campaign": CAMPAIGN})
        assert (answer.status_code, answer.json()["detail"]) == (503, "the service is being stopped")
        assert client.get("/readyz").status_code == 503


def test_the_schema_of_campaigns_is_served(service: RunningService) -> None:
    assert service.get("/v1/campaign-schema").json() == json_schema()


def test_info_names_what_runs_here(service: RunningService) -> None:
    info = service.get("/v1/info").json()
    assert (info["name"], info["api"], info["benches"]) == ("ptp-harness", "v1", ["lab", "ec2"])
    assert info["tasks_per_bench"] == {"lab": 1}
