"""A service in a thread of the tests, on a ledger of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.service import RunningService, running_service


@pytest.fixture
def service(ledger_url: str, tmp_path: Path) -> Iterator[RunningService]:
    """A service on SQLite, and one on PostgreSQL."""
    with running_service(ledger_url, tmp_path / "state") as running:
        yield running


@pytest.fixture
def file_service(tmp_path: Path) -> Iterator[RunningService]:
    """A service on SQLite, for what does not depend on the kind of the ledger."""
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running
