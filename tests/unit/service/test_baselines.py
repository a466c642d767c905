"""Baselines over HTTP: listed, filled and emptied, by operators alone."""

import pytest

from harness.model.tasks import Scope
from tests.doubles.ledger_runs import add_run
from tests.servers.service import RunningService

OPERATE = Scope.OPERATE


def test_runs_are_added_listed_and_removed(service: RunningService) -> None:
    assert service.get("/v1/baselines").json() == []
    first, second = add_run(service.ledger), add_run(service.ledger)
    added = service.post("/v1/baselines/november/runs", OPERATE, json={"runs": [first, "last", first]})
    assert added.status_code == 200, added.text
    lines = added.json()
    assert [(line["name"], line["run"], line["bench"]) for line in lines] == [
        ("november", first, "lab"),
        ("november", second, "lab"),
    ]
    assert {line["added_by"] for line in lines} == {service.names[OPERATE]}
    assert all(line["started"].endswith("Z") and line["added"].endswith("Z") for line in lines)
    assert service.get("/v1/baselines").json() == lines == service.get("/v1/baselines?name=november").json()
    assert service.get("/v1/baselines?name=other").json() == []
    with service.client(OPERATE) as client:
        assert client.delete(f"/v1/baselines/november/runs/{first}").json() == {"name": "november", "runs": [first]}
        again = client.delete(f"/v1/baselines/november/runs/{first}")
        assert (again.status_code, "has no run" in again.json()["detail"]) == (404, True)
        assert client.delete("/v1/baselines/november").json() == {"name": "november", "runs": [second]}
        assert client.delete("/v1/baselines/november").status_code == 404
    entries = [line.entry for line in service.context.audit.list_lines()]
    assert [(entry.action, entry.object) for entry in entries] == [
        ("baseline.remove", "november"),
        ("baseline.remove", f"november: {first}"),
        ("baseline.add", f"november: {first} last {first}"),
    ]
    assert {entry.actor for entry in entries} == {service.names[OPERATE]}


def test_what_cannot_be_added_is_a_problem(service: RunningService) -> None:
    ended, other, under_way = (
        add_run(service.ledger),
        add_run(service.ledger, bench="ec2"),
        add_run(service.ledger, ended=False),
    )
    for runs, status, words in (
        ([under_way], 409, "has not ended"),
        (["nope"], 404, "there is no run 'nope'"),
        ([ended, other], 409, "a baseline has runs of one bench"),
        ([], 422, "runs"),
        (["x" * 100], 422, "runs"),
    ):
        answer = service.post("/v1/baselines/b/runs", OPERATE, json={"runs": runs})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert words in answer.json()["detail"]
    assert service.get("/v1/baselines").json() == []


@pytest.mark.parametrize("name", ["a%20b", "-x", "..", "a" * 65, "%0a", "b%0a"])
def test_a_name_that_is_none_is_a_problem(file_service: RunningService, name: str) -> None:
    answer = file_service.post(f"/v1/baselines/{name}/runs", OPERATE, json={"runs": ["last"]})
    assert answer.status_code in (404, 405, 422)


@pytest.mark.parametrize("scope", [None, Scope.READ, Scope.SUBMIT])
def test_only_operators_change_baselines(file_service: RunningService, scope: Scope | None) -> None:
    run = add_run(file_service.ledger)
    refused = 401 if scope is None else 403
    assert file_service.post("/v1/baselines/b/runs", scope, json={"runs": [run]}).status_code == refused
    with file_service.client(scope) as client:
        assert client.delete("/v1/baselines/b").status_code == refused
        assert client.delete(f"/v1/baselines/b/runs/{run}").status_code == refused
