"""No submitted campaign has the service look into its own network: neither by its URL nor by what a name leads to."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import wiring
from harness.model.tasks import TaskState
from harness.runs import task_run
from harness.runs.context import RunControls
from harness.store.task_lines import QueueLimits, TaskLine
from harness.store.task_queue import TaskQueue
from tests.servers.service import RunningService, running_service

pytestmark = pytest.mark.programs

RESOLVER = """
import pathlib, socket
looked_up = pathlib.Path({file!r})
usual = socket.getaddrinfo

def resolve(host, port, *more, **named):
    if not str(host).endswith(".example.org"):
        return usual(host, port, *more, **named)
    number = len(looked_up.read_text()) if looked_up.exists() else 0
    looked_up.write_text("x" * (number + 1))
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ({addresses!r}[min(number, 1)], port))]

socket.getaddrinfo = resolve
"""


class Listener:
    """A server of this machine that counts who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.connections = self._socket.getsockname()[1], 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            client.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def near() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running


def let_names_lead_to(first: str, later: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are started from now on resolve names of example.org like this."""
    folder = tmp_path / "resolver"
    folder.mkdir()
    text = RESOLVER.format(file=str(folder / "looked-up"), addresses=(first, later))
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)


def carry_out(service: RunningService, url: str, hosts: tuple[str, ...] = ()) -> TaskLine:
    """Submit a campaign with this archive, and carry it out as a process of the service does."""
    campaign = f"instance_types: [lab.phc]\ndriver: {{archive: '{url}', sha256: {'a' * 64}}}\n"
    answer = service.post("/v1/tasks", json={"campaign": campaign})
    assert answer.status_code == 201, answer.text
    queue, configuration = TaskQueue(service.ledger), replace(service.context.settings, archive_hosts=hosts)
    line = queue.claim(QueueLimits(per_bench={}))
    assert line is not None
    controls = RunControls(listener=lambda _event: None)
    assert task_run.carry_out(line, service.ledger, configuration, wiring.benches(configuration), controls) is (
        TaskState.FAILED
    )
    return queue.find(line.task)


@pytest.mark.parametrize("named", [False, True])
def test_a_name_that_leads_to_this_machine_is_not_connected_to(
    service: RunningService, near: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """What the name leads to when the campaign is submitted is not asked, and would count for nothing."""
    let_names_lead_to("127.0.0.1", "93.184.215.14", tmp_path, monkeypatch)
    hosts = ("files.example.org",) if named else ()
    task = carry_out(service, f"https://files.example.org:{near.port}/ena.tar.gz", hosts)
    assert task.problem is not None
    assert "its address 127.0.0.1 is not a public one" in task.problem
    assert near.connections == 0
    assert (tmp_path / "resolver/looked-up").read_text() == "x", "the address that was checked is the one that counts"


def test_a_service_with_named_hosts_takes_archives_of_no_other(tmp_path: Path, near: Listener) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with running_service(url, tmp_path / "state", hosts_allowed=("files.corp",)) as service:
        campaign = f"instance_types: [lab.phc]\ndriver: {{archive: 'https://github.com/a', sha256: {'a' * 64}}}\n"
        answer = service.post("/v1/tasks", json={"campaign": campaign})
        assert answer.status_code == 422
        assert answer.json()["mistakes"][0] == {
            "key": "driver.archive",
            "message": "is of github.com; this service takes archives of files.corp",
            "line": 2,
        }
    assert near.connections == 0
