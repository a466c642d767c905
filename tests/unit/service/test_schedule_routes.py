"""Schedules over HTTP and in the service: checked when they are made and when they are due, each time once."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.model.tasks import Scope
from harness.service import scheduler
from harness.store.schedules import NewSchedule, ScheduleLine
from harness.store.tables import SCHEDULES
from harness.store.task_lines import QueueLimits, TaskQuery
from tests.servers.service import RunningService, running_service

CAMPAIGN = "instance_types: [lab.phc]\n"
NIGHTLY = {"name": "nightly", "cron": "0 2 * * *", "zone": "Europe/Berlin", "campaign": CAMPAIGN, "priority": 1}


@pytest.fixture
def service(ledger_url: str, tmp_path: Path) -> Iterator[RunningService]:
    """A service that carries nothing out: tasks wait."""
    with running_service(ledger_url, tmp_path / "state", most_waiting=5) as running:
        yield running


def add(service: RunningService, **changes: object) -> dict[str, object]:
    answer = service.post("/v1/schedules", Scope.OPERATE, json=NIGHTLY | changes)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def make_due(service: RunningService, name: str = "nightly", *, ago_s: float = 0.0) -> ScheduleLine:
    """As if the next time of a schedule had come so long ago, and let the service see it."""
    database, now = service.ledger.database, service.ledger.now_ns()
    here = SCHEDULES.update().where(SCHEDULES.c.name == name)
    database.write(lambda db: db.execute(here.values(due_ns=now - round(ago_s * 1e9))))
    give_up_at = time.monotonic() + 20
    while (line := service.context.schedules.find(name)).due_ns <= now:
        assert time.monotonic() < give_up_at, "the service did not look"
        time.sleep(0.05)
    return line


def test_a_schedule_is_added_shown_listed_and_removed(service: RunningService) -> None:
    added = add(service)
    assert added["due"] is not None
    assert (added["paused"], added["missed"], added["last"], added["last_task"]) == (False, 0, None, None)
    assert added["submitter"] == service.names[Scope.OPERATE]
    assert service.get("/v1/schedules/nightly").json() == added
    assert service.get("/v1/schedules/nightly/campaign").text == CAMPAIGN
    assert service.get("/v1/schedules").json() == {"items": [added], "next": None}
    with service.client(Scope.OPERATE) as client:
        assert client.delete("/v1/schedules/nightly").status_code == 204
        assert client.delete("/v1/schedules/nightly").status_code == 404
    assert service.get("/v1/schedules/nightly").status_code == 404


def test_schedules_are_listed_in_pages(service: RunningService) -> None:
    for name in ("c", "a", "b"):
        add(service, name=name)
    first = service.get("/v1/schedules", params={"limit": 2}).json()
    assert [line["name"] for line in first["items"]] == ["a", "b"]
    second = service.get("/v1/schedules", params={"limit": 2, "cursor": first["next"]}).json()
    assert ([line["name"] for line in second["items"]], second["next"]) == (["c"], None)


@pytest.mark.parametrize(
    ("changes", "status", "tells"),
    [
        ({"cron": "61 * * * *"}, 400, "is no cron expression: bad minute"),
        ({"zone": "Europe/Atlantis"}, 400, "there is no time zone"),
        ({"campaign": "instance_types: [lab.none]\n"}, 422, "lab.none"),
        ({"campaign": "instance_types: [h]\ninventory: /etc/passwd\nbench: hosts\n"}, 422, "inventory"),
        ({"campaign": "a: [" * 5000}, 400, "campaign.yaml"),
        ({"name": "Night ly"}, 422, "name"),
        ({"site": "nowhere"}, 400, "there is no site"),
        ({"more": 1}, 422, "more"),
        ({"priority": 101}, 422, "priority"),
    ],
)
def test_a_schedule_with_a_mistake_is_refused(
    service: RunningService, changes: dict[str, object], status: int, tells: str
) -> None:
    answer = service.post("/v1/schedules", Scope.OPERATE, json=NIGHTLY | changes)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert tells in answer.text
    assert service.get("/v1/schedules").json()["items"] == []


def test_schedules_need_the_scope_operate(service: RunningService) -> None:
    add(service)
    with pytest.raises(AssertionError, match="there is a schedule 'nightly' already"):
        add(service)
    for scope in (None, Scope.READ, Scope.SUBMIT):
        with service.client(scope) as client:
            expected = 401 if scope is None else 403
            assert client.post("/v1/schedules", json=NIGHTLY | {"name": "x"}).status_code == expected
            assert client.delete("/v1/schedules/nightly").status_code == expected
            for action in ("run", "pause", "resume"):
                assert client.post(f"/v1/schedules/nightly/{action}").status_code == expected
    assert [line["name"] for line in service.get("/v1/schedules").json()["items"]] == ["nightly"]


def test_at_its_time_a_schedule_makes_a_task_of_its_submitter(service: RunningService) -> None:
    add(service)
    line = make_due(service)
    assert (line.last_problem, line.missed) == (None, 0)
    task = service.get(f"/v1/tasks/{line.last_task}").json()
    assert (task["schedule"], task["submitter"], task["priority"]) == ("nightly", service.names[Scope.OPERATE], 1)
    assert line.due_ns > service.ledger.now_ns()
    assert [entry.entry.action for entry in service.context.audit.list_lines()] == ["schedule.submit", "schedule.add"]


def test_times_that_passed_while_no_service_ran_are_told_and_make_one_task(service: RunningService) -> None:
    add(service, cron="0 * * * *")
    line = make_due(service, ago_s=3 * 3600)
    assert (line.missed, line.last_task is not None) == (4, True)
    assert len(service.get("/v1/tasks", params={"schedule": "nightly"}).json()["items"]) == 1
    assert service.get("/v1/schedules/nightly").json()["missed"] == 4


def test_what_prevents_a_task_is_told(service: RunningService) -> None:
    add(service)
    database = service.ledger.database
    database.write(lambda db: db.execute(SCHEDULES.update().values(document="instance_types: [lab.gone]\n")))
    assert "lab.gone" in str(make_due(service).last_problem)
    database.write(lambda db: db.execute(SCHEDULES.update().values(document=CAMPAIGN, zone="Nowhere/Land")))
    assert "there is no time zone 'Nowhere/Land'" in str(make_due(service).last_problem)
    database.write(lambda db: db.execute(SCHEDULES.update().values(zone="UTC")))
    for _ in range(5):
        service.post("/v1/tasks", Scope.OPERATE, json={"campaign": CAMPAIGN})
    assert "wait already" in str(make_due(service).last_problem)
    assert service.get("/v1/schedules/nightly").json()["last_task"] is None


def test_a_schedule_makes_nothing_once_the_token_of_its_submitter_is_revoked(service: RunningService) -> None:
    add(service)
    service.context.tokens.revoke(service.names[Scope.OPERATE])
    assert make_due(service).last_problem == (
        f"the token {service.names[Scope.OPERATE]} is revoked: add the schedule again with a token that is valid"
    )


def test_a_schedule_of_the_command_line_belongs_to_no_token(service: RunningService) -> None:
    new = NewSchedule(name="cli", cron="0 2 * * *", zone="UTC", document=CAMPAIGN, submitter="ada@laptop")
    service.context.schedules.add(new, due_ns=4 * 10**18)
    assert make_due(service, "cli").last_problem is None


def test_a_paused_schedule_makes_nothing_and_misses_nothing(service: RunningService) -> None:
    add(service, cron="* * * * *")
    paused = service.post("/v1/schedules/nightly/pause", Scope.OPERATE).json()
    assert (paused["paused"], paused["due"]) == (True, None)
    service.ledger.database.write(lambda db: db.execute(SCHEDULES.update().values(due_ns=1)))
    time.sleep(2 * scheduler.LOOK_EVERY_S)
    resumed = service.post("/v1/schedules/nightly/resume", Scope.OPERATE).json()
    assert (resumed["paused"], resumed["missed"], resumed["last"]) == (False, 0, None)
    again = service.post("/v1/schedules/nightly/resume", Scope.OPERATE).json()
    assert again["due"] == resumed["due"]
    assert service.get("/v1/tasks").json()["items"] == []


def test_a_schedule_is_run_now_as_a_task_of_the_caller(service: RunningService) -> None:
    due = add(service)["due"]
    answer = service.post("/v1/schedules/nightly/run", Scope.ADMIN)
    assert answer.status_code == 201
    task = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{task['task']}"
    assert (task["schedule"], task["submitter"]) == ("nightly", service.names[Scope.ADMIN])
    assert service.get("/v1/schedules/nightly").json()["due"] == due
    assert service.post("/v1/schedules/none/run", Scope.ADMIN).status_code == 404


@pytest.mark.programs
def test_services_that_share_a_ledger_make_one_task_for_each_time(new_database: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = [
            stack.enter_context(running_service(new_database, tmp_path / str(number), limits=QueueLimits(per_bench={})))
            for number in range(3)
        ]
        for number in range(8):
            add(services[number % 3], name=f"s{number}")
        for number in range(8):
            make_due(services[0], f"s{number}")
        queue = services[0].context.queue
        for number in range(8):
            assert len(queue.list_lines(TaskQuery(schedule=f"s{number}"))) == 1
