"""The one place that starts other programs: deadlines, process groups, identities that a recycled pid cannot fake."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import CommandError, SetupError


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that has ended: `status` is its exit status, negative for a signal."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process told apart from any later one with the same number by its start time (clock ticks since boot)."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return _start_ticks(self.pid) == self.start_ticks


def identify(pid: int) -> ProcessId | None:
    """The identity of a running process, or None when there is none with that number."""
    ticks = _start_ticks(pid)
    return None if ticks is None else ProcessId(pid=pid, start_ticks=ticks)


def with_environment(name: str, value: str) -> list[ProcessId]:
    """The running processes that were started with this variable, as the kernel shows it in /proc/PID/environ."""
    word = f"{name}={value}".encode()
    found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for pid in found if word in _environment(pid) and (process := identify(pid)) is not None]


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end, with both outputs captured.

    `env` is added to our own environment. Past `timeout_s` its whole process group is killed. Raises SetupError when
    the program is not there, CommandError past the deadline and, with `check`, on a status other than 0.
    """
    begun = time.monotonic()
    with _start(argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _kill_group(child.pid)
            out, err = child.communicate()
            raise CommandError(argv, None, out, err, after_s=timeout_s) from None
        except BaseException:
            _kill_group(child.pid)
            raise
    seconds = time.monotonic() - begun
    if check and child.returncode != 0:
        raise CommandError(argv, child.returncode, out, err, after_s=seconds)
    return Completed(argv=tuple(argv), status=child.returncode, stdout=out, stderr=err, seconds=seconds)


def interactive(argv: Sequence[str]) -> int:
    """Run a program on our own terminal (an SSH session) and return its status."""
    try:
        return subprocess.call(list(argv))
    except FileNotFoundError as error:
        raise SetupError(f"{argv[0]} is not installed", next_step="`ptp-harness doctor` says how to get it") from error


def spawn(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> ProcessId:
    """Start a program that outlives us, in a session of its own, its output appended to `log`."""
    with log.open("ab") as out:
        child = _start(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    identity = identify(child.pid)
    if identity is None:
        raise CommandError(argv, child.poll(), "", log.read_text(errors="replace"), after_s=0)
    return identity


def prefer(process: ProcessId, *, niceness: int) -> None:
    """Let a process that was just spawned, and the threads that it will start, go before others; where we may.

    Many kernels share out processors among sessions first, and only within one by niceness (sched(7), autogroups). A
    spawned process leads a session, whose niceness is set too.
    """
    with suppress(PermissionError, ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    with suppress(OSError):  # a kernel without autogroups
        Path(f"/proc/{process.pid}/autogroup").write_text(str(niceness))


def end(process: ProcessId, *, grace_s: float = 5.0) -> bool:
    """End a process of ours with the group it leads: SIGTERM, SIGKILL after `grace_s`. True when it is gone."""
    for signal_number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if not process.alive():
            break
        with suppress(ProcessLookupError):
            leads = os.getpgid(process.pid) == process.pid
            (os.killpg if leads else os.kill)(process.pid, signal_number)
        give_up = time.monotonic() + wait_s
        while process.alive() and time.monotonic() < give_up:
            _reap(process.pid)
            time.sleep(0.02)
    _reap(process.pid)
    return not process.alive()


def _start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            list(argv),
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise SetupError(f"{argv[0]} is not installed", next_step="`ptp-harness doctor` says how to get it") from error
    except PermissionError as error:
        raise SetupError(f"{argv[0]} may not be run: {error.strerror}") from error


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); None for a process that is gone or a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])
