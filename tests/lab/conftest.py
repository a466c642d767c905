"""Lab hosts for tests: made by the real bench, released whatever happens."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import wiring
from harness.benches.lab.bench import LabBench
from harness.host import ssh
from harness.model import Machine, Token
from harness.system import proc, settings


@dataclass(frozen=True, kw_only=True)
class Host:
    """A lab host and the way to run commands on it."""

    machine: Machine
    known_hosts: Path

    def run(self, *words: str) -> str:
        """What a command prints; fails the test unless it ends with status 0."""
        return proc.run(ssh.build_command(self.machine, self.known_hosts, *words), timeout_s=120).stdout.strip()

    def answers(self) -> bool:
        return self.boot() is not None

    def boot(self) -> str | None:
        """The id of the host's boot, or None while it does not answer."""
        words = ssh.build_command(self.machine, self.known_hosts, "cat /proc/sys/kernel/random/boot_id")
        done = proc.run(words, timeout_s=60, check=False)
        return done.stdout.strip() if done.status == 0 else None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LabBench]:
    """The lab with records of its own; whatever is left in them after a test is removed."""
    lab = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}))
    with ExitStack() as cleanup:
        cleanup.callback(lambda: [lab.release(Token.parse(left.token)) for left in lab.resources()])
        yield lab


@pytest.fixture
def provision(bench: LabBench, tmp_path: Path) -> Callable[[str, str], Host]:
    """Makes a host of a name and type."""

    def make(name: str, instance_type: str) -> Host:
        bench.prepare([instance_type], print)
        machine = bench.provision(Token(run="test", host=name), instance_type, print)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Host(machine=machine, known_hosts=ssh.write_known_hosts(machine, folder))

    return make
