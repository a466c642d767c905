"""Whether a service is ready: told at once, with the reason and its age, also while the ledger hangs or is gone."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.model.tasks import Scope
from harness.service import readiness, request_limits
from harness.service.context import ServiceContext
from tests.servers.postgresql import Server
from tests.servers.service import RunningService, running_service

CAMPAIGN = "instance_types: [lab.phc]\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and deadlines of a second or two."""
    monkeypatch.setattr(readiness, "FRESH_S", 0.2)
    monkeypatch.setattr(readiness, "SILENT_S", 1.0)
    monkeypatch.setattr(request_limits, "ANSWER_WITHIN_S", 2.0)


@pytest.fixture
def service(quick: None, own_server: Server, tmp_path: Path) -> Iterator[RunningService]:
    """A service on a server that is its own."""
    url = own_server.make_database("readiness")
    with running_service(url, tmp_path / "state") as running:
        yield running


def look(service: RunningService, *, within_s: float = 3.0) -> tuple[int, dict[str, dict[str, Any]]]:
    """The status and the parts, which must come in time."""
    begun = time.monotonic()
    answer = service.get("/readyz", None)
    assert time.monotonic() - begun < within_s
    return answer.status_code, {part["name"]: part for part in answer.json()["parts"]}


def wait_for(service: RunningService, status: int, seconds: float = 30.0) -> dict[str, dict[str, Any]]:
    give_up_at = time.monotonic() + seconds
    while True:
        got, parts = look(service)
        if got == status:
            return parts
        assert time.monotonic() < give_up_at, parts
        time.sleep(0.1)


def test_a_service_that_can_work_is_ready(service: RunningService) -> None:
    status, parts = look(service)
    assert status == 200
    assert {*parts} == {"service", "ledger", "queue", "evidence store"}
    assert all(part["ready"] and part["reason"] is None and part["required"] for part in parts.values())
    assert all(0 <= part["age_s"] < 3 for part in parts.values())


def test_a_ledger_that_hangs_is_told_at_once_and_holds_nothing_up(service: RunningService, own_server: Server) -> None:
    assert look(service)[0] == 200
    with own_server.paused():
        parts = wait_for(service, 503)
        assert parts["ledger"]["ready"] is False
        assert parts["ledger"]["reason"].startswith("no answer for ")
        assert parts["service"]["ready"] is True
        begun = time.monotonic()
        with ThreadPoolExecutor(60) as threads:
            hanging = [threads.submit(service.get, "/v1/tasks") for _ in range(60)]
            time.sleep(0.5)
            assert service.get("/healthz", None).status_code == 200, "also while no thread is free"
            assert look(service)[0] == 503
            statuses = {future.result().status_code for future in hanging}
        assert statuses == {503}
        assert time.monotonic() - begun < 20
        age = look(service)[1]["ledger"]["age_s"]
        time.sleep(0.5)
        assert look(service)[1]["ledger"]["age_s"] > age, "the latest look that ended is an old one"
    wait_for(service, 200)
    assert service.get("/v1/tasks").status_code == 200
    assert service.post("/v1/tasks", json={"campaign": CAMPAIGN}).status_code == 201


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "killed"])
def test_a_ledger_that_is_gone_is_told_with_the_reason(
    service: RunningService, own_server: Server, how: signal.Signals
) -> None:
    assert look(service)[0] == 200
    own_server.stop(how)
    parts = wait_for(service, 503)
    assert parts["ledger"]["reason"].startswith("cannot use the ledger postgresql://")
    assert service.get("/healthz", None).status_code == 200
    answer = service.get("/v1/tasks")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    own_server.start()
    wait_for(service, 200)
    assert service.get("/v1/tasks").status_code == 200


def test_an_answer_that_comes_late_is_not_sent_twice(service: RunningService, own_server: Server) -> None:
    with service.client(Scope.SUBMIT) as client:
        assert client.get("/v1/tasks").status_code == 200
        with own_server.paused():
            late = client.post("/v1/tasks", json={"campaign": CAMPAIGN})
            assert late.status_code == 503
            assert late.headers["retry-after"] == "30"
            assert "no answer within 2 s" in late.json()["detail"]
        for _ in range(3):
            assert client.get("/v1/tasks").status_code == 200, "on the same connection"


def with_checks(**changes: Any) -> Callable[[ServiceContext], ServiceContext]:
    return lambda context: replace(context, **changes)


def test_a_part_that_the_service_can_do_without_leaves_it_ready(quick: None, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    hangs = threading.Event()
    checks = {"registry": lambda: "the registry is away", "slow": lambda: hangs.wait(60) and None}
    with running_service(url, tmp_path / "state", change=with_checks(optional_checks=checks)) as service:
        status, parts = look(service)
        assert status == 200
        assert (parts["registry"]["ready"], parts["registry"]["required"]) == (False, False)
        assert parts["registry"]["reason"] == "the registry is away"
        assert parts["slow"]["reason"].startswith("no answer for ")
        hangs.set()


def test_a_check_that_fails_by_our_fault_is_told_and_hides_nothing(quick: None, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"

    def fail() -> None:
        raise KeyError("x")

    with running_service(url, tmp_path / "state", change=with_checks(checks={"executor": fail})) as service:
        status, parts = look(service)
        assert (status, parts["executor"]["reason"], parts["ledger"]["ready"]) == (503, "our fault: KeyError", True)
        service.context.draining.set()
        time.sleep(0.3)
        assert look(service)[1]["service"]["reason"] == "it is being stopped"


def test_an_evidence_store_that_is_away_is_told(quick: None, tmp_path: Path) -> None:
    url, store = f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "store"
    store.mkdir()
    settings = {"evidence": f"file://{store}"}
    with running_service(url, tmp_path / "state", settings=settings) as service:
        assert look(service)[0] == 200
        store.rmdir()
        time.sleep(0.3)
        parts = wait_for(service, 503)
        assert "store" in parts["evidence store"]["reason"]


def test_many_who_ask_cost_one_look(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 60.0)
    looks: list[int] = []
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    change = with_checks(checks={"counted": lambda: looks.append(1)})
    with running_service(url, tmp_path / "state", change=change) as service, ThreadPoolExecutor(8) as threads:
        assert {answer.status_code for answer in threads.map(lambda _n: service.get("/readyz", None), range(100))} == {
            200
        }
        assert len(looks) == 1
