"""Who may do what: without a token 401, with too small a scope 403, and every refusal is a problem with a next step."""

import pytest

from harness.model.tasks import Scope
from tests.servers.service import RunningService


def test_a_service_says_that_it_lives_to_whoever_asks(service: RunningService) -> None:
    assert service.get("/healthz", None).json() == {"status": "ok"}
    assert service.get("/readyz", None).json()["ready"] is True


def test_without_a_token_nothing_is_told(file_service: RunningService) -> None:
    answer = file_service.get("/v1/tasks", None)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["next_step"]


@pytest.mark.parametrize("secret", ["ptph_unknown", "x" * 5000])
def test_an_unknown_token_is_refused(file_service: RunningService, secret: str) -> None:
    with file_service.client(None) as client:
        answer = client.get("/v1/tasks", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json()["detail"]) == (401, "the token is not known")


def test_a_scope_that_is_too_small_is_refused(file_service: RunningService) -> None:
    answer = file_service.post("/v1/tasks", Scope.READ, json={"campaign": "instance_types: [lab.phc]"})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "has the scope read, and this needs submit" in answer.json()["detail"]
