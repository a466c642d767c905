"""Signals, property tests, and how the tests are shared among worker processes.

What asks to stop is heard also where the tests run in the background, or under nohup. An example of a property test may
take long where the machine is busy: tests that bound its time measure computing time.
"""

import functools
import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadGroupScheduling

from tests.servers import postgresql, s3

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("usual", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")  # the option --hypothesis-profile comes later, and wins

PROGRAMS = {"moto", "start", "call_process", "postgresql_server", "own_server", "s3_server", "evidence_url"}
"""Fixtures that start real programs: moto's servers, the emulated device, the command in a process of its own."""

WORKERS_BESIDE_GUESTS = 2
"""Most tests wait more than they compute, so that four workers are a third faster than two on two cores; a guest needs
a core of its own."""


class GuestsFirst(LoadGroupScheduling):
    """Let only the first two workers have tests until every test of a named group, such as "guests", has ended."""

    @functools.cached_property
    def _grouped(self) -> set[str]:
        """The tests of named groups that have not ended."""
        return {test for test in self.collection or () if "::" not in self._split_scope(test)}

    def mark_test_complete(self, node: "WorkerController", item_index: int, duration: float = 0) -> None:
        waited = bool(self._grouped)
        self._grouped.discard(self.registered_collections[node][item_index])
        super().mark_test_complete(node, item_index, duration)
        if waited and not self._grouped:
            for late in self.nodes[WORKERS_BESIDE_GUESTS:] * 2:  # a worker begins a test when it knows the next one
                self._reschedule(late)

    def _assign_work_unit(self, node: "WorkerController") -> None:
        if not self._waits(node):
            super()._assign_work_unit(node)

    def _reschedule(self, node: "WorkerController") -> None:
        if not self._waits(node):
            super()._reschedule(node)

    def _waits(self, node: "WorkerController") -> bool:
        return bool(self._grouped) and node in self.nodes[WORKERS_BESIDE_GUESTS:]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> LoadGroupScheduling | None:
    """Replace the scheduler of `--dist loadgroup`."""
    return GuestsFirst(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark the tests that use such a fixture, so that `make unit` leaves them to `make test`."""
    for item in items:
        if PROGRAMS & set(getattr(item, "fixturenames", ())):
            item.add_marker("programs")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted (`record_property("counted", ...)`)."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(f"COUNTED {value}")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """A PostgreSQL server for this process of tests."""
    yield from _serve_postgresql()


@pytest.fixture
def new_database(postgresql_server: postgresql.Server) -> str:
    """The URL of an empty database of that server."""
    return postgresql_server.make_database(f"ledger_{secrets.token_hex(4)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger that is not made yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'ledger.sqlite'}"
    url: str = request.getfixturevalue("new_database")
    return url


@pytest.fixture
def own_server() -> Iterator[postgresql.Server]:
    """A PostgreSQL server for one test, which may stop it."""
    yield from _serve_postgresql()


@pytest.fixture(scope="session")
def shared_s3() -> Iterator[s3.Server]:
    """A server of S3 for this process of tests."""
    server = s3.Server()
    yield server
    server.stop()


@pytest.fixture
def s3_server(shared_s3: s3.Server, monkeypatch: pytest.MonkeyPatch) -> s3.Server:
    """That server, reached by the variables of this test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in shared_s3.environ.items():
        monkeypatch.setenv(name, value)
    return shared_s3


@pytest.fixture
def bucket(s3_server: s3.Server) -> str:
    """A new bucket of that server."""
    name = f"evidence-{secrets.token_hex(4)}"
    s3_server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["file", "s3"])
def evidence_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty evidence store, of each kind."""
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}/team"
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"


def _serve_postgresql() -> Iterator[postgresql.Server]:
    programs = postgresql.find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed on this machine")
    with postgresql.serve(programs) as server:
        yield server
