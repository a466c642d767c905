"""The audit log of a service: every change and every refused change, once; a flood of refusals fills nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry

from harness.model.tasks import Scope
from harness.service import audit_trail
from harness.service.app import make_app
from harness.service.audit_trail import AuditTrail, RefusalLimit
from harness.store.audit_log import AuditEntry, AuditLog
from harness.store.ledger import Ledger
from tests.servers.service import RunningService, running_service

CAMPAIGN = "instance_types: [lab.phc]\n"
ENTRY = AuditEntry(actor="", address="10.0.0.7", action="POST /v1/tasks", object="/v1/tasks", status=401)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running


def entries(service: RunningService, least: int = 1) -> list[dict[str, Any]]:
    """The entries, the oldest first, once there are so many."""
    give_up_at = time.monotonic() + 15
    while True:
        items = service.get("/v1/audit", Scope.ADMIN, params={"limit": 500}).json()["items"]
        if len(items) >= least or time.monotonic() > give_up_at:
            return list(items[::-1])
        time.sleep(0.1)


def test_what_was_changed_and_by_whom(service: RunningService) -> None:
    task = service.post("/v1/tasks", json={"campaign": CAMPAIGN}).json()["task"]
    service.post(f"/v1/tasks/{task}/cancel", Scope.OPERATE)
    service.post("/v1/tokens", Scope.ADMIN, json={"name": "ci", "scope": "read"})
    logged = entries(service, 3)
    assert [(entry["actor"], entry["action"], entry["object"], entry["status"]) for entry in logged] == [
        (service.names[Scope.SUBMIT], "task.submit", task, 201),
        (service.names[Scope.OPERATE], "task.cancel", task, 200),
        (service.names[Scope.ADMIN], "token.create", "ci read", 201),
    ]
    assert {entry["address"] for entry in logged} == {"127.0.0.1"}
    assert [entry["number"] for entry in logged] == [1, 2, 3]


def test_what_was_refused(service: RunningService) -> None:
    service.post("/v1/tasks", None, json={"campaign": CAMPAIGN})
    with service.client(Scope.READ) as client:
        client.delete("/v1/tokens/ada")
        client.get("/v1/tokens")
    logged = entries(service, 2)
    assert [(entry["actor"], entry["action"], entry["object"], entry["status"]) for entry in logged] == [
        ("", "POST /v1/tasks", "/v1/tasks", 401),
        (service.names[Scope.READ], "DELETE /v1/tokens/{name}", "/v1/tokens/ada", 403),
    ]


def test_a_change_that_its_route_did_not_write_is_written_all_the_same(service: RunningService) -> None:
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        service.post("/v1/tasks", json={"campaign": CAMPAIGN}, headers=headers)
    assert [(entry["action"], entry["status"]) for entry in entries(service, 2)] == [
        ("task.submit", 201),
        ("POST /v1/tasks", 200),
    ]


def test_a_request_with_a_mistake_changes_nothing_and_is_not_written(service: RunningService) -> None:
    for body in ({"campaign": "x: 1"}, {}, {"campaign": CAMPAIGN, "more": 1}):
        assert service.post("/v1/tasks", json=body).status_code == 422
    service.post("/v1/tasks/none/cancel")
    time.sleep(1.5)
    assert entries(service, 0) == []


def test_entries_are_read_page_by_page(service: RunningService) -> None:
    for number in range(5):
        service.context.audit.add(AuditEntry(actor="a", address="", action="x", object=str(number), status=200))
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = service.get("/v1/audit", Scope.ADMIN, params=params).json()
        seen += [entry["object"] for entry in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["4", "3", "2", "1", "0"]


def test_a_flood_of_refused_requests_leaves_a_few_entries_and_a_number(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service.client(None) as client:
        for _ in range(200):
            assert client.post("/v1/tasks", json={}).status_code == 401
    service.post("/v1/tasks", json={"campaign": CAMPAIGN})
    assert len(entries(service, 11)) == 11
    monkeypatch.setattr(audit_trail, "WINDOW_S", 0.0)
    logged = entries(service, 12)
    assert len(logged) == 12
    assert (logged[-1]["action"], logged[-1]["object"]) == ("requests.refused", "190 more, of 1 addresses")
    assert logged[-1]["address"] == "127.0.0.1"


def test_many_addresses_share_one_limit() -> None:
    limit = RefusalLimit()
    allowed = sum(limit.allows(f"10.0.{number // 256}.{number % 256}") for number in range(5000))
    assert allowed == audit_trail.REFUSED_IN_ALL
    assert len(limit.unwritten) <= 1001
    (entry,) = limit.summarise(at_end=True)
    assert entry.object.startswith("4940 more")
    assert [*limit.summarise(at_end=True)] == []
    assert limit.allows("10.0.0.1"), "a new window"


def test_a_ledger_that_is_away_holds_nobody_up_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    class Away(AuditLog):
        def add(self, *_entries: AuditEntry) -> None:
            time.sleep(60)

    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    trail = AuditTrail(Away(ledger.database), CollectorRegistry())
    begun = time.monotonic()
    for _ in range(1500):
        trail.add(AuditEntry(actor="a", address="", action="x", object="", status=200))
    trail.stop()
    assert time.monotonic() - begun < 10
    assert next(iter(trail.lost.collect())).samples[0].value >= 300
    ledger.close()


def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    trail = AuditTrail(AuditLog(ledger.database), CollectorRegistry())
    for _ in range(250):
        trail.add(AuditEntry(actor="a", address="", action="x", object="", status=200))
    for _ in range(20):
        trail.add(ENTRY)
    trail.stop()
    written = AuditLog(ledger.database).list_lines(most=500)
    assert len(written) == 250 + audit_trail.REFUSED_OF_ADDRESS + 1
    assert written[0].entry.object == "10 more, of 1 addresses"
    ledger.close()


def test_every_route_that_changes_something_asks_for_a_scope(service: RunningService) -> None:
    """Without a token each is refused, and each refusal is written."""
    app = make_app(service.context)
    changes = [
        (method, path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method in ("post", "put", "patch", "delete")
    ]
    assert len(changes) >= 8
    assert any(isinstance(route, APIRoute) for route in app.routes) or changes
    with service.client(None) as client:
        for method, path in changes:
            answer = client.request(method.upper(), path.replace("{", "").replace("}", ""))
            assert answer.status_code in (401, 403), (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
