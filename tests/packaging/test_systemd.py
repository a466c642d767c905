"""The units under a real systemd: all start with all their hardening, and campaigns outlive restarts and kills."""

import json
import os
import platform
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.servers.systemd import Machine, booted, find_root

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
SERVE, WORK = "ptp-harness-serve.service", "ptp-harness-work.service"
WORKERS, WORKER = "ptp-harness-watch-worker@.service", "ptp-harness-watch-worker@7.service"
STATE = "/var/lib/ptp-harness"
STAGE_S = 8
_WITHIN_S = 120.0

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

COMMAND = f"""#!/bin/sh
# The command, with scripted hosts.
export PYTHONPATH=/opt/checkout:/opt/checkout/lab:/opt/site-packages PYTHONDONTWRITEBYTECODE=1
export PTP_TEST_FOLDER={STATE}/scripted PTP_TEST_STAGE_S={STAGE_S}
exec /usr/bin/python3 -m tests.programs.scripted_command "$@"
"""


@dataclass(frozen=True)
class Installed:
    """A machine on which the units are installed as docs/service-install.md says, and run."""

    machine: Machine
    port: int
    token: str

    def ask(self, path: str, document: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def submit(self) -> str:
        task: str = self.ask("/v1/tasks", {"campaign": "instance_types: [good, late]\nparallel: 2\n"})["task"]
        return task

    def find_process(self, task: str) -> str | None:
        """Find the process of a task that runs, in the machine's own numbers."""
        return self.select(f"pid FROM tasks JOIN owners USING (owner) WHERE task = '{task}' AND state = 'running'")

    def count_attempts(self, task: str) -> int:
        """Count the processes that have carried out a task so far."""
        return int(self.select(f"attempt FROM tasks WHERE task = '{task}'") or 0)

    def select(self, query: str) -> str | None:
        """Read one value of the ledger."""
        program = f"import sqlite3; db = sqlite3.connect('{STATE}/ledger.sqlite'); "
        program += f'print(*db.execute("SELECT {query}").fetchone() or [""])'
        return self.machine.must("/usr/bin/python3", "-c", program).strip() or None

    def is_up(self) -> bool:
        try:
            return bool(self.ask("/healthz")["status"] == "ok")
        except (OSError, urllib.error.URLError):
            return False


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    give_up_at = time.monotonic() + _WITHIN_S
    while not (value := condition()):
        assert time.monotonic() < give_up_at, f"not within {_WITHIN_S} s: {what}"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    root = find_root()
    if not (root / "usr/bin" / f"python{'.'.join(platform.python_version_tuple()[:2])}").exists():
        pytest.skip(f"{root} has another Python than these tests")
    packages = Path(sqlalchemy.__file__).parents[1]
    log = tmp_path_factory.mktemp("systemd") / "console"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with booted(root, {ROOT: "/opt/checkout", packages: "/opt/site-packages"}, log) as machine:
        machine.write("/usr/local/bin/ptp-harness", COMMAND, "755")
        machine.write("/etc/sysusers.d/ptp-harness.conf", (UNITS / "ptp-harness.sysusers").read_text())
        machine.must("systemd-sysusers")
        machine.write("/etc/ptp-harness/environment", f"LISTEN=127.0.0.1:{port}\nWORK_FLAGS=--per-bench lab=2\n")
        machine.write("/etc/ptp-harness/ledger-url", f"sqlite:///{STATE}/ledger.sqlite\n", "600")
        for unit in (SERVE, WORK, WORKERS):
            machine.write(f"/etc/systemd/system/{unit}", (UNITS / unit).read_text())
            dropin = (UNITS / "postgresql.conf").read_text()  # its secret names a ledger in SQLite here
            machine.write(f"/etc/systemd/system/{unit}.d/ledger.conf", dropin)
        machine.must("systemctl", "daemon-reload")
        started = machine.run("systemctl", "start", SERVE, WORK)
        assert started.returncode == 0, started.stderr + machine.journal(SERVE) + machine.journal(WORK)
        as_user = ["setpriv", "--reuid=ptp-harness", "--regid=ptp-harness", "--init-groups", "--reset-env"]
        command = [*as_user, "env", f"PTP_HARNESS_STATE_DIR={STATE}", "ptp-harness", "token", "create", "ada"]
        service = Installed(machine, port, machine.must(*command).strip())
        try:
            wait_for(service.is_up, "the service answers")
        except AssertionError as error:
            raise AssertionError(machine.journal(SERVE) + machine.must("systemctl", "status", SERVE)) from error
        yield service


def properties(machine: Machine, unit: str, *names: str) -> dict[str, str]:
    shown = machine.must("systemctl", "show", unit, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in shown.splitlines())


def assert_confined(machine: Machine, unit: str) -> None:
    """Assert that a unit runs as its own user, without rights, and can write to no folder of the system."""
    state = properties(machine, unit, "ActiveState", "NRestarts", "MainPID", "User")
    assert (state["ActiveState"], state["NRestarts"], state["User"]) == ("active", "0", "ptp-harness"), unit
    status = machine.must("cat", f"/proc/{state['MainPID']}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (fields["NoNewPrivs"], fields["Seccomp"], fields["CapBnd"]) == ("1", "2", "0" * 16), unit
    inside = f"nsenter --target={state['MainPID']} --mount"
    for folder in ("/usr", "/etc", "/opt", "/home", "/var/log"):
        touch = machine.run("sh", "-c", f"{inside} touch {folder}/x")
        assert "Read-only file system" in touch.stderr, (unit, folder, touch)


def test_both_units_run_as_their_own_user_and_write_nowhere_else(installed: Installed) -> None:
    for unit in (SERVE, WORK):
        assert_confined(installed.machine, unit)
    assert installed.machine.must("stat", "--format=%U %a", STATE) == "ptp-harness 700\n"


def test_a_campaign_outlives_restarts_of_both_units_and_ends_with_its_first_process(installed: Installed) -> None:
    task = installed.submit()
    process = wait_for(lambda: installed.find_process(task), "the campaign begins")
    installed.machine.must("systemctl", "restart", SERVE, WORK)
    wait_for(installed.is_up, "the service is back")
    assert installed.find_process(task) in (process, None)
    installed.machine.must("systemctl", "kill", "--signal=KILL", "--kill-who=main", SERVE, WORK)
    wait_for(lambda: properties(installed.machine, WORK, "NRestarts")["NRestarts"] != "0", "systemd starts it again")
    wait_for(installed.is_up, "the service is back")
    assert installed.find_process(task) in (process, None)
    installed.machine.must("systemctl", "stop", WORK)
    document = wait_for(lambda: ended(installed, task), "the campaign ends")
    installed.machine.must("systemctl", "start", WORK)
    assert (document["state"], document["problem"], document["outcome"]) == ("ended", None, "PASS"), document
    assert installed.count_attempts(task) == 1


def test_what_died_with_its_unit_is_taken_up_within_ten_seconds(installed: Installed) -> None:
    task = installed.submit()
    process = wait_for(lambda: installed.find_process(task), "the campaign begins")
    installed.machine.must("systemctl", "kill", "--signal=KILL", "--kill-who=all", WORK)
    begun = time.monotonic()
    wait_for(lambda: installed.find_process(task) not in (process, None), "another process goes on")
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    assert time.monotonic() - begun < 10.0 * busy
    document = wait_for(lambda: ended(installed, task), "the campaign ends")
    assert (document["state"], document["problem"], document["outcome"]) == ("ended", None, "PASS"), document
    assert installed.count_attempts(task) == 2


def test_a_worker_of_the_watch_runs_as_its_unit_says_and_leaves_the_ledger_when_it_is_stopped(
    installed: Installed,
) -> None:
    started = installed.machine.run("systemctl", "start", WORKER)
    assert started.returncode == 0, started.stderr + installed.machine.journal(WORKER)
    name = wait_for(lambda: installed.select("worker FROM watch_workers"), "the worker registers")
    assert name.endswith("-7")
    assert_confined(installed.machine, WORKER)
    assert installed.machine.run("test", "-f", f"{STATE}/watch/{name}.spool").returncode == 0
    installed.machine.must("systemctl", "stop", WORKER)
    state = properties(installed.machine, WORKER, "ActiveState", "Result")
    assert (state["ActiveState"], state["Result"]) == ("inactive", "success")
    assert installed.select("COUNT(*) FROM watch_workers") == "0"


def ended(installed: Installed, task: str) -> Any:
    document = installed.ask(f"/v1/tasks/{task}")
    return document if document["state"] not in ("queued", "running") else None
