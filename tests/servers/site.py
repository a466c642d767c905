"""Start services as processes of their own, with hosts that are files: a site, or a hub, that a test may kill."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.model.tasks import Scope
from harness.store.access_tokens import AccessTokens
from harness.store.ledger import Ledger
from tests.programs.scripted_harness import ARGV, ROOT, command_environ

_STARTS_WITHIN_S = 60.0
_ADDRESS = re.compile(r"serving on (https?://\S+);")


@dataclass
class ServiceProcess:
    """A service with its own ledger in `folder`. `environ`: its environment; `flags`: those of `serve`."""

    folder: Path
    flags: Sequence[str] = ()
    stage_s: float = 0.0
    environ: dict[str, str] = field(default_factory=dict)
    port: int = 0
    url: str = ""
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environ = command_environ(self.folder, stage_s=self.stage_s, **self.environ)

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.folder / 'state' / 'ledger.sqlite'}"

    def make_token(self, name: str, scope: Scope) -> Path:
        """Make a token; return the file that holds it."""
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        ledger = Ledger(self.ledger_url)
        _line, secret = AccessTokens(ledger.database).create(name, scope)
        ledger.close()
        file = self.folder / f"{name}.token"
        file.write_text(secret + "\n")
        return file

    def start(self) -> str:
        """Start the service, on the port that it had before; return its URL once it answers."""
        before = self.log.stat().st_size if self.log.exists() else 0
        argv = [*ARGV, "serve", "--listen", f"127.0.0.1:{self.port}", *self.flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while (address := _ADDRESS.search(self.log.read_text()[before:])) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, self.log.read_text()
            time.sleep(0.05)
        self.url = address[1]
        self.port = int(self.url.rpartition(":")[2])
        return self.url

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the service: SIGTERM in order, SIGKILL as a crash. The processes of its tasks go on."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


@contextmanager
def service_process(
    folder: Path, *flags: str, stage_s: float = 0.0, environ: dict[str, str] | None = None
) -> Iterator[ServiceProcess]:
    """Yield a service that runs as a process; at the end it is stopped."""
    service = ServiceProcess(folder, flags, stage_s, dict(environ or {}))
    try:
        service.start()
        yield service
    finally:
        service.stop()
