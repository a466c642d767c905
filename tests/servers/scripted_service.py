"""Start the command `serve` for tests, with scripted hosts: it and its processes can be killed and started again."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sql

from harness.store.ledger import Ledger
from harness.store.tables import OWNERS, TASKS
from harness.system.proc import ProcessId, find_by_environment
from tests.programs.scripted_command import FOLDER, STAGE_S

ROOT = Path(__file__).parents[2]
_STARTS_WITHIN_S = 60.0


@dataclass
class ScriptedService:
    """A service over the ledger at `url`. `folder` holds its state, its scripted hosts and its log.

    `stage_s`: how long each of the three stages on a host takes. `flags`: of `serve`, besides its address.
    """

    url: str
    folder: Path
    stage_s: float = 0.05
    flags: Sequence[str] = ("--open", "--parallel=2", "--per-bench=lab=2")
    process: "subprocess.Popen[bytes] | None" = field(default=None)
    address: str = ""

    def __post_init__(self) -> None:
        for name in ("bench", "killed"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    # -- the process of the service

    def start(self) -> None:
        """Start the service, and wait until it listens."""
        begun = self.log_size()
        self.process = self.launch("--listen=127.0.0.1:0")
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while not (found := re.search(r"serving on http://(\S+);", self.read_log(begun))):
            assert self.process.poll() is None, self.read_log(begun)
            assert time.monotonic() < give_up_at, self.read_log(begun)
            time.sleep(0.02)
        self.address = found[1]

    def launch(self, *more: str) -> "subprocess.Popen[bytes]":
        """Start the command `serve` with more flags, without waiting for anything."""
        return self.launch_command("serve", *self.flags, *more)

    def launch_command(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start another command with the ledger, the hosts and the log of this service."""
        argv = [sys.executable, "-m", "tests.programs.scripted_command", *words]
        environ = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}",
            FOLDER: str(self.folder),
            STAGE_S: str(self.stage_s),
            "PTP_HARNESS_STATE_DIR": str(self.folder / "state"),
            "PTP_HARNESS_LEDGER_URL": self.url,
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(argv, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)

    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> int:
        """Ask the service to end; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        """Kill all that is left of the service."""
        for process in [*self.list_processes(), *self.list_processes()]:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(60)

    def log_size(self) -> int:
        log = self.folder / "log"
        return log.stat().st_size if log.exists() else 0

    def read_log(self, begin: int = 0) -> str:
        return (self.folder / "log").read_bytes()[begin:].decode(errors="replace")

    # -- its processes

    def list_processes(self) -> list[ProcessId]:
        """List the processes of the service, its own included."""
        return find_by_environment(FOLDER, str(self.folder))

    def list_waiting(self, ledger: Ledger) -> list[ProcessId]:
        """List the processes that have no task."""
        own = self.process.pid if self.process is not None else None
        tasks = find_processes_of_tasks(ledger).values()
        return [each for each in self.list_processes() if each.pid != own and each not in tasks]

    # -- requests

    def ask(
        self, method: str, path: str, document: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request; return the status and the document of the answer. Raises OSError and HTTPException."""
        host = urlsplit(f"//{self.address}")
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def submit(self, campaign: str, key: str) -> str:
        """Submit a campaign; return its task. Raises OSError and HTTPException."""
        status, document = self.ask("POST", "/v1/tasks", {"campaign": campaign}, {"Idempotency-Key": key})
        assert status in (200, 201), document
        task: str = document["task"]
        return task


def find_processes_of_tasks(ledger: Ledger) -> dict[str, ProcessId]:
    """Find the process of each task that runs, living or dead."""
    query = sql.select(TASKS.c.task, OWNERS.c.pid, OWNERS.c.pid_start_ticks).join(
        OWNERS, OWNERS.c.owner == TASKS.c.owner
    )
    running = query.where(TASKS.c.state == "running")
    rows = ledger.database.read(lambda db: db.execute(running).all())
    return {row.task: ProcessId(pid=row.pid, start_ticks=row.pid_start_ticks) for row in rows}
