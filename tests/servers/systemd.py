"""Boot a real systemd for tests, by systemd-nspawn, on a Debian root that stays as it is."""

import os
import pty
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT_VARIABLE = "PTP_HARNESS_TEST_SYSTEMD_ROOT"
"""Names a Debian root: mmdebstrap --include=systemd-sysv,python3,openssh-client bookworm FOLDER"""

_BOOTS_WITHIN_S = 120.0


class Machine:
    """A booted systemd. It shares this machine's network; `leader` is its process 1, as this machine numbers it."""

    def __init__(self, leader: int) -> None:
        self.leader = leader

    def run(self, *words: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a program in the machine, as root."""
        argv = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd", *words]
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=120, check=False)

    def must(self, *words: str, text: str | None = None) -> str:
        """Run a program that has to succeed; return what it prints."""
        done = self.run(*words, text=text)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, content: str, mode: str = "644") -> None:
        """Write a file."""
        self.must("sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path} && chmod {mode} {path}", text=content)

    def journal(self, unit: str) -> str:
        return self.must("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


@contextmanager
def booted(root: Path, bound: Mapping[Path, str], log: Path) -> Iterator[Machine]:
    """Boot a machine on this root. `bound`: folders that it sees, read-only, by where it sees them."""
    binds = [f"--bind-ro={path}:{place}" for path, place in bound.items()]
    options = ["--register=no", "--keep-unit", "--volatile=overlay", "--console=interactive", "--quiet"]
    argv = ["systemd-nspawn", f"--directory={root}", *options, *binds, "/lib/systemd/systemd", "--show-status=no"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    drain = threading.Thread(target=_drain, args=(ours, log), daemon=True)
    drain.start()
    try:
        yield _wait_for_boot(process, log)
    finally:
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):  # halt, at once, and if it does not
            process.send_signal(signum)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
                break
        drain.join(20)
        os.close(ours)


def find_root() -> Path:
    """Find the root of such machines; skips the test where there is none."""
    named = os.environ.get(ROOT_VARIABLE)
    if not named:
        pytest.skip(f"{ROOT_VARIABLE} names no Debian root with systemd and Python")
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        pytest.skip("needs root and systemd-nspawn (package systemd-container)")
    return Path(named)


def _drain(terminal: int, log: Path) -> None:
    with log.open("ab") as file, suppress(OSError):  # the terminal's other end was closed
        while data := os.read(terminal, 65536):
            file.write(data)
            file.flush()


def _wait_for_boot(process: "subprocess.Popen[bytes]", log: Path) -> Machine:
    give_up_at = time.monotonic() + _BOOTS_WITHIN_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None, log.read_text(errors="replace")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() != "systemd":
                    continue
                machine = Machine(int(child))
                state = machine.run("systemctl", "is-system-running").stdout.strip()
                if state in ("running", "degraded"):  # units that a container cannot start may fail
                    return machine
        time.sleep(0.2)
    raise AssertionError(f"systemd did not boot: {log.read_text(errors='replace')}")
