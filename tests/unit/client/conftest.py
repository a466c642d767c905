"""A service in a thread of the tests, and clients of it that do not wait long."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.client.client import Client
from harness.client.retries import RetryPolicy
from harness.client.service_connection import ConnectionOptions
from harness.model.tasks import Scope
from tests.servers.service import RunningService, running_service

PATIENT = RetryPolicy(deadline_s=60.0, first_pause_s=0.02, longest_pause_s=0.1)
HASTY = RetryPolicy(deadline_s=2.0, answer_s=0.5, first_pause_s=0.02, longest_pause_s=0.1)

MakeClient = Callable[..., Client]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service on SQLite that carries nothing out."""
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running


@pytest.fixture
def make_client(service: RunningService) -> Iterator[MakeClient]:
    """Makes clients with a token of a scope, for the service or another URL. `notes` gets what they say of retries."""
    clients: list[Client] = []

    def make(
        url: str | None = None,
        scope: Scope | None = Scope.ADMIN,
        *,
        notes: list[str] | None = None,
        retries: RetryPolicy = PATIENT,
        **options: Any,
    ) -> Client:
        token = None if scope is None else service.tokens[scope]
        notify = (notes if notes is not None else []).append
        client = Client(url or service.url, token, ConnectionOptions(retries=retries, notify=notify, **options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
