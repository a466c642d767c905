"""A service in a thread of the tests, on a ledger of each kind."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
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


EARLIER = Path(__file__).parents[2] / "data" / "earlier-run"


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[RunningService]:
    """A service whose ledger has the run 3a5r of a released version, with the evidence of two of its hosts here."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        database.executescript((EARLIER / "ledger.sql").read_text())
    shutil.copytree(EARLIER / "runs", tmp_path / "state" / "runs")
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running
