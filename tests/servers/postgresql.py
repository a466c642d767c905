"""Start a PostgreSQL server for tests: Debian's program, a data directory and a socket of its own, no network."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

NOBODY = "nobody"
"""PostgreSQL refuses to run as root: there it runs as this user."""

_STARTS_WITHIN_S = 60.0


def find_programs() -> Path | None:
    """Find the folder of the newest PostgreSQL's programs; None where it is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    folders = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next(
        (folder for folder in folders if all((folder / name).exists() for name in ("initdb", "postgres"))), None
    )


@dataclass
class Server:
    """A server that can be stopped, killed and started again. `folder` holds data and socket, and is its user's."""

    programs: Path
    folder: Path
    durable: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database over the server's unix socket."""
        return f"postgresql://{self.user}@/{database}?host={self.folder}"

    @property
    def user(self) -> str:
        return NOBODY if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    def initialise(self) -> None:
        arguments = ["--username", self.user, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(self._as_user("initdb", "--pgdata", f"{self.folder}/data", *arguments), check=True, stdout=-3)

    def follow(self, primary: "Server") -> None:
        """Copy another server, which runs, and become its standby once this one is started."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        copy = ["--pgdata", f"{self.folder}/data", "--write-recovery-conf", "--wal-method=stream", "--no-sync"]
        from_there = ["--host", str(primary.folder), "--username", self.user, "--checkpoint=fast"]
        subprocess.run(self._as_user("pg_basebackup", *copy, *from_there), check=True, timeout=120)

    def promote(self) -> None:
        """Make a standby the primary, and wait until it is."""
        assert self.execute("SELECT pg_promote(true, 60)").strip() == "t"

    def trust(self, network: str) -> None:
        """Trust whoever connects from a network, replication too."""
        with (self.folder / "data" / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {network} trust\nhost replication all {network} trust\n")

    def listen(self, address: str, *prefix: str) -> None:
        """Start the server with a command before it; it trusts whoever connects to this address from near it."""
        with (self.folder / "data" / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {address}/24 trust\n")
        self.start(*prefix, address=address)

    def start(self, *prefix: str, address: str = "", environ: Mapping[str, str] = MappingProxyType({})) -> None:
        """Start the server, with a command before it and an address to listen on besides its socket.

        `environ`: variables that the server alone has, and no command before it.
        """
        sync = "fsync=on" if self.durable else "fsync=off"
        settings: Sequence[str] = (
            f"listen_addresses={address}",
            f"unix_socket_directories={self.folder}",
            sync,
            "max_connections=200",
        )
        words = [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            variables = ["env", *(f"{name}={value}" for name, value in environ.items())] if environ else []
            *as_user, program = self._as_user("postgres")
            command = [*prefix, *as_user, *variables, program, "-D", f"{self.folder}/data", *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while not self._answers():
            assert time.monotonic() < give_up_at, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends all sessions first; SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def runs(self) -> bool:
        """Whether the server was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop all processes of the server for a while: it takes connections and answers nothing."""
        assert self.process is not None
        pids = [self.process.pid, *_list_children(self.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run a statement with psql and return what it prints, without headings."""
        command = [f"{self.programs}/psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", self.user]
        return subprocess.run(
            [*command, "-d", database, "-c", statement], check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def make_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def _answers(self) -> bool:
        command = [f"{self.programs}/pg_isready", "-q", "-h", str(self.folder)]
        return subprocess.run(command, check=False).returncode == 0

    def _as_user(self, program: str, *arguments: str) -> Sequence[str]:
        account = pwd.getpwnam(self.user)
        other = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        return [*(other if os.geteuid() == 0 else []), str(self.programs / program), *arguments]


def _list_children(pid: int) -> list[int]:
    """The processes that a process started."""
    children = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            if entry.name.isdigit() and (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                children.append(int(entry.name))
    return children


@contextmanager
def serve(programs: Path, *, durable: bool = False) -> Iterator[Server]:
    """Yield a running server with its default database; at the end it is stopped and its folder removed.

    `durable`: each commit is on the disk before it is answered, as on a server that is not one of tests.
    """
    folder = Path(tempfile.mkdtemp(prefix="ptp-pg-"))
    server = Server(programs, folder, durable)
    account = pwd.getpwnam(server.user)
    if os.geteuid() == 0:
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
