"""Tokens over HTTP: the secret once, no more rights than one's own, and revoked soon after."""

import time

import pytest

from harness.errors import HarnessError
from harness.model.tasks import Scope
from harness.service.authentication import Caller
from harness.service.token_routes import refuse_elevation
from tests.servers.service import RunningService


def create(service: RunningService, **request: object) -> dict[str, object]:
    answer = service.post("/v1/tokens", Scope.ADMIN, json={"name": "ci-main"} | request)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def test_a_secret_is_shown_once_and_works_at_once(service: RunningService) -> None:
    token = create(service, scope="read", expires="90d")
    assert (token["name"], token["scope"], token["state"], token["last_used"]) == ("ci-main", "read", "valid", None)
    assert token["created_by"] == service.names[Scope.ADMIN]
    with service.client(None) as client:
        client.headers["Authorization"] = f"Bearer {token['secret']}"
        assert client.get("/v1/tasks").status_code == 200
        assert client.post("/v1/tasks", json={"campaign": "instance_types: [lab.phc]"}).status_code == 403
    listed = service.get("/v1/tokens", Scope.ADMIN)
    assert str(token["secret"]) not in listed.text
    assert "digest" not in listed.text
    (line,) = (line for line in listed.json()["items"] if line["name"] == "ci-main")
    assert line["last_used"] is not None


def test_a_revoked_token_is_refused_within_seconds(service: RunningService) -> None:
    secret = create(service)["secret"]
    with service.client(None) as client, service.client(Scope.ADMIN) as admin:
        client.headers["Authorization"] = f"Bearer {secret}"
        assert client.get("/v1/tasks").status_code == 200
        answer = admin.delete("/v1/tokens/ci-main")
        assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        begun = time.monotonic()
        while client.get("/v1/tasks").status_code == 200:
            assert time.monotonic() - begun < 4
            time.sleep(0.1)
        refused = client.get("/v1/tasks")
        assert (refused.status_code, refused.json()["detail"]) == (401, "the token 'ci-main' is revoked")
        assert admin.delete("/v1/tokens/ci-main").json()["state"] == "revoked"
        assert admin.delete("/v1/tokens/nobody").status_code == 404
        assert admin.post("/v1/tokens", json={"name": "ci-main"}).status_code == 409


@pytest.mark.parametrize(
    ("request_body", "status", "tells"),
    [
        ({"name": "Ada Lovelace"}, 422, "name"),
        ({"name": "a\0"}, 422, "name"),
        ({"name": "ada", "scope": "root"}, 422, "scope"),
        ({"name": "ada", "expires": "soon"}, 400, "must be a duration such as 8h or 90d"),
        ({"name": "ada", "expires": "1s"}, 400, "valid from 1 minute to 10 years"),
        ({"name": "ada", "expires": "9999d"}, 400, "valid from 1 minute to 10 years"),
        ({"name": "ada", "digest": "x"}, 422, "digest"),
        ({}, 422, "name"),
    ],
)
def test_a_token_with_a_mistake_is_refused(
    file_service: RunningService, request_body: dict[str, object], status: int, tells: str
) -> None:
    answer = file_service.post("/v1/tokens", Scope.ADMIN, json=request_body)
    assert (answer.status_code, tells in answer.text) == (status, True), answer.text
    assert len(file_service.get("/v1/tokens", Scope.ADMIN).json()["items"]) == len(Scope)


@pytest.mark.parametrize("scope", [None, Scope.READ, Scope.SUBMIT, Scope.OPERATE])
def test_only_an_admin_sees_and_makes_tokens(file_service: RunningService, scope: Scope | None) -> None:
    expected = 401 if scope is None else 403
    with file_service.client(scope) as client:
        assert client.get("/v1/tokens").status_code == expected
        assert client.get("/v1/audit").status_code == expected
        assert client.post("/v1/tokens", json={"name": "eve", "scope": "admin"}).status_code == expected
        assert client.delete(f"/v1/tokens/{file_service.names[Scope.ADMIN]}").status_code == expected


@pytest.mark.parametrize("scope", [*Scope])
def test_nobody_gives_more_rights_than_his_own(scope: Scope) -> None:
    caller = Caller(name="ada", scope=scope, address="::1")
    for other in Scope:
        if scope.includes(other):
            refuse_elevation(caller, other)
        else:
            with pytest.raises(HarnessError, match=f"gives no token the scope {other}"):
                refuse_elevation(caller, other)
