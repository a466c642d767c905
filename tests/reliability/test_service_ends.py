"""How the service begins and ends: it drains in order, and says what keeps it from beginning."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from harness.store.ledger import Ledger
from harness.store.schema import REVISION_TABLE
from harness.store.task_lines import TaskQuery
from harness.store.task_queue import TaskQueue
from tests.servers.scripted_service import ScriptedService, find_processes_of_tasks

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

CAMPAIGN = "instance_types: [good, bad]\nparallel: 2\n"
_WITHIN_S = 120.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ScriptedService]:
    """A service that is not started, on a ledger in SQLite; its stages take a while."""
    service = ScriptedService(f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path / "service", stage_s=1.0)
    yield service
    service.close()


def wait_for(condition: Any, what: str) -> Any:
    """Wait until something holds; return it."""
    give_up_at = time.monotonic() + _WITHIN_S
    while not (value := condition()):
        assert time.monotonic() < give_up_at, f"not within {_WITHIN_S} s: {what}"
        time.sleep(0.05)
    return value


def send_half_a_request(service: ScriptedService) -> socket.socket:
    """Send a request whose body is not whole yet."""
    host, _, port = service.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    body = b'{"campaign": "instance_types: [good]\\n"'
    fields = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": len(body) + 1}
    head = ["POST /v1/tasks HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    return connection


def test_a_service_that_is_asked_to_end_answers_open_requests_and_lets_campaigns_go_on(
    service: ScriptedService,
) -> None:
    service.start()
    ledger = Ledger(service.url)
    queue = TaskQueue(ledger)
    task = service.submit(CAMPAIGN, "a")
    process = wait_for(lambda: find_processes_of_tasks(ledger).get(task), "the task is begun")
    connection = send_half_a_request(service)
    wait_for(lambda: service.ask("GET", "/healthz")[0] == 200, "it answers")
    service.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
    time.sleep(0.3)
    connection.sendall(b"}")
    answer = connection.recv(65536).decode()
    assert answer.startswith(("HTTP/1.1 201", "HTTP/1.1 503")), answer
    assert service.process.wait(60) == 0  # type: ignore[union-attr]
    assert process.alive(), "the process of the campaign was ended, too"
    wait_for(lambda: queue.find(task).state.final, "the campaign ends")
    assert (queue.find(task).state, queue.find(task).problem) == ("ended", None)
    wait_for(lambda: not service.list_processes(), "no process is left")
    ledger.close()


def test_a_campaign_that_was_accepted_at_the_end_waits_for_the_next_service(service: ScriptedService) -> None:
    service.flags = ("--open", "--no-work")
    service.start()
    task = service.submit(CAMPAIGN, "a")
    assert service.stop() == 0
    service.flags = ("--open", "--per-bench=lab=2")
    service.start()
    wait_for(lambda: service.ask("GET", f"/v1/tasks/{task}")[1]["state"] == "ended", "the campaign ends")


def test_a_server_s_ledger_of_an_earlier_version_is_refused_with_the_next_step(
    service: ScriptedService, new_database: str
) -> None:
    service.url = new_database
    ledger = Ledger(new_database)
    older = sql.text(f"UPDATE {REVISION_TABLE} SET version_num = '0004'")
    ledger.database.write(lambda db: db.execute(older))
    ledger.close()
    process = service.launch("--listen=127.0.0.1:0")
    assert process.wait(60) == 2
    assert "is of revision 0004, and this version needs" in service.read_log()
    assert "next: `ptp-harness ledger upgrade` upgrades it" in service.read_log()


def begin_campaign(service: ScriptedService, ledger: Ledger, *flags: str) -> "tuple[subprocess.Popen[bytes], str]":
    """Begin a campaign in a process of `work`; return that, and the task."""
    service.flags = ("--open", "--no-work")
    service.start()
    worker = service.launch_command("work", *flags)
    task = service.submit(CAMPAIGN, "a")
    wait_for(lambda: find_processes_of_tasks(ledger).get(task), "the task is begun")
    return worker, task


def test_a_worker_that_waits_ends_after_its_campaigns(service: ScriptedService) -> None:
    ledger = Ledger(service.url)
    worker, task = begin_campaign(service, ledger, "--wait")
    later = service.submit(CAMPAIGN, "b")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(120) == 0
    queue = TaskQueue(ledger)
    assert (queue.find(task).state, queue.find(later).state) == ("ended", "queued")
    assert "waiting for the campaigns that run (1); a second signal ends this, not those" in service.read_log()
    ledger.close()


def test_a_second_signal_ends_a_worker_that_waits_and_leaves_its_campaigns_alone(service: ScriptedService) -> None:
    ledger = Ledger(service.url)
    worker, task = begin_campaign(service, ledger, "--wait")
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: "waiting for the campaigns that run (1)" in service.read_log(), "it waits")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    wait_for(lambda: TaskQueue(ledger).find(task).state.final, "the campaign ends")
    assert (TaskQueue(ledger).find(task).state, TaskQueue(ledger).find(task).attempt) == ("ended", 1)
    ledger.close()


def test_a_port_that_another_program_has_is_named(service: ScriptedService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = service.launch(f"--listen=127.0.0.1:{port}")
        assert process.wait(60) == 2
    said = service.read_log()
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert "next: another program may have the port" in said
    assert service.list_processes() == [], "nothing was begun"


def test_two_services_on_one_ledger_carry_out_each_campaign_once(service: ScriptedService, tmp_path: Path) -> None:
    service.stage_s = 0.1
    other = ScriptedService(service.url, tmp_path / "service", stage_s=0.1)
    ledger = Ledger(service.url)
    try:
        threads = [threading.Thread(target=each.start) for each in (service, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tasks = [(service, other)[number % 2].submit(CAMPAIGN, f"key-{number}") for number in range(4)]
        assert service.submit(CAMPAIGN, "key-1") == tasks[1], "the same key at the other service"
        queue = TaskQueue(ledger)
        most = 0

        def all_ended() -> bool:
            nonlocal most
            states = [line.state for line in queue.list_lines(TaskQuery())]
            most = max(most, states.count("running"))  # type: ignore[arg-type]
            return all(state.final for state in states)

        wait_for(all_ended, "all campaigns end")
        assert most <= 2, "both together begin no more than one of them may"
        assert [line.state for line in queue.list_lines(TaskQuery())] == ["ended"] * 4
        assert len(ledger.runs()) == 4
    finally:
        ledger.close()
        for process in (service.process, other.process):
            if process is not None:
                process.kill()
                process.wait(60)


def test_a_service_that_cannot_write_its_log_says_so(tmp_path: Path) -> None:
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path)}
    (tmp_path / "service").write_text("no folder")
    argv = [sys.executable, "-m", "harness", "serve", "--open", "--listen", "127.0.0.1:0"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert f"cannot write {tmp_path}/service/workers.log" in done.stderr
