"""Machines for tests: namespaces of their own, in which programs start, and whose end leaves nothing.

They need root. A machine has its own processes, mounts and network, its own /run, /var/lib and /var/log, and a cgroup;
all other files are those of this machine. It ends with the process that made it, also when that is killed, since
tests/programs/hold_machine.py holds it.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_WITHIN_S = 60.0
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Machine:
    """A machine that runs. `pid`: its process 1, as this machine numbers it; `folder`: what is its own on the disk."""

    pid: int
    folder: Path
    holder: "subprocess.Popen[str]"
    logs: Path
    programs: "dict[str, Program]" = field(default_factory=dict)

    @property
    def cgroup(self) -> str:
        """The cgroup of the machine's containers, in every hierarchy."""
        return f"/{self.folder.name}"

    @property
    def network(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def enter(self) -> list[str]:
        """The beginning of a command in the machine."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--"]

    @property
    def enter_network(self) -> list[str]:
        """The beginning of a command in the machine's network, with the files and processes of this machine."""
        return ["nsenter", f"--net={self.network}", "--"]

    def run(self, *words: str, text: str | None = None, timeout_s: float = 120.0) -> str:
        """Run a program that has to succeed; return what it prints."""
        argv, environ = [*self.enter, *words], os.environ | {"PATH": PATH}
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=timeout_s, env=environ, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def configure_network(self, *lines: str) -> None:
        """Carry out commands of `ip`. A process is named by the number that this machine gives it."""
        argv, environ = [*self.enter_network, "ip", "-batch", "-"], os.environ | {"PATH": PATH}
        done = subprocess.run(
            argv, input="\n".join(lines), capture_output=True, text=True, timeout=60, env=environ, check=False
        )
        assert done.returncode == 0, f"{lines}: {done.stderr}"

    def add(self, name: str, argv: Sequence[str], environ: Mapping[str, str] | None = None) -> "Program":
        """Add a program, which is not started yet."""
        self.programs[name] = Program(self, name, argv, environ or {})
        return self.programs[name]

    def listen(self, address: str, port: int = 0) -> socket.socket:
        """Make a listening socket in the machine's network, for a server of this process."""
        with _entered(self.network):
            return socket.create_server((address, port))

    def connect(self, address: str, port: int) -> socket.socket:
        """Connect this process to a server in the machine's network."""
        with _entered(self.network):
            return socket.create_connection((address, port), timeout=10)

    def stop(self) -> None:
        """End every process of the machine, and wait until all that was its own is removed."""
        assert self.holder.stdin is not None
        self.holder.stdin.close()
        status = self.holder.wait(_WITHIN_S)
        for program in self.programs.values():
            if program.process is not None:
                program.process.wait(_WITHIN_S)
        assert status == 0, (self.logs / "machine.log").read_text()


@dataclass
class Program:
    """A program of a machine, which can be stopped, killed, paused and started again; `log` keeps what it prints."""

    machine: Machine
    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        return self.machine.logs / f"{self.name}.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Its process, as this machine numbers it: the child of nsenter."""
        assert self.process is not None
        give_up_at = time.monotonic() + _WITHIN_S
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not (children := path.read_text().split()):
            assert self.running, self.log.read_text()
            assert time.monotonic() < give_up_at, f"{self.name} does not start"
            time.sleep(0.01)
        return int(children[0])

    def start(self) -> None:
        environ = {"PATH": PATH, "HOME": "/var/lib", **self.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.machine.enter, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal that ends the program, and wait for its end."""
        if self.process is not None and self.running:
            self.signal(how)
            self.process.wait(_WITHIN_S)
        self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal: SIGSTOP keeps connections open that nobody answers, until SIGCONT."""
        os.kill(self.pid, signum)

    def must_run(self) -> bool:
        """Whether the program runs; fails with the end of its log where it has ended."""
        assert self.running, f"{self.name} has ended:\n{self.tail()}"
        return True

    def tail(self, characters: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


@contextmanager
def machine(logs: Path) -> Iterator[Machine]:
    """Yield a machine whose network has nothing but loopback. `logs`: the folder of what its programs print."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "machine.log").open("ab") as log:
        holder = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.hold_machine"],
            cwd=ROOT,
            env=os.environ | {"PATH": PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert holder.stdout is not None
    answer = holder.stdout.readline().split()
    holder.stdout.close()
    assert len(answer) == 2, (logs / "machine.log").read_text()
    made = Machine(int(answer[0]), Path(answer[1]), holder, logs)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def _entered(network: Path) -> Iterator[None]:
    """Have this thread in another network namespace: sockets that it makes there stay there."""
    own, other = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in ("/proc/thread-self/ns/net", network))
    try:
        _set_network(other)
        try:
            yield
        finally:
            _set_network(own)
    finally:
        for descriptor in (own, other):
            with suppress(OSError):
                os.close(descriptor)


def _set_network(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):  # Python has os.setns from 3.12 on
        raise OSError(ctypes.get_errno(), "setns")
