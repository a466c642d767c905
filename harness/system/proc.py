"""Start other programs, with deadlines, process groups, and identities that a recycled pid cannot fake."""

import logging
import os
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import CommandError, FloodError, SetupError
from harness.system import capped_output, proc_files
from harness.system.capped_output import EndReason, LineCutter, ProgramPipes
from harness.untrusted.plain_text import clip

_TICK_S = 0.05
_KILLED_S = 5.0
_DRAIN_S = 2.0
_LINES_AHEAD = 1000
_MOST_ERROR_BYTES = 1 << 16
_LOGGED_CHARACTERS = 300
_SHOWN_WITHIN_S = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that has ended: `status` is its exit status, negative for a signal."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float
    stdout_bytes: bytes = b""  # undecoded, for callers that count bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """The identity of a process: its number and its start time (clock ticks since boot), since numbers are reused."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        """Whether this process still runs; a zombie does not."""
        return proc_files.read_start_ticks(self.pid) == self.start_ticks

    def may_live(self) -> bool:
        """Whether this process still runs, or one of its number that we may not look at."""
        return self.alive() or proc_files.is_hidden(self.pid)


def identify(pid: int) -> ProcessId | None:
    """Find the identity of a running process; None when no process has that number."""
    ticks = proc_files.read_start_ticks(pid)
    return None if ticks is None else ProcessId(pid=pid, start_ticks=ticks)


def own_process() -> ProcessId:
    """Find the identity of this process. Raises SetupError on a machine without /proc."""
    process = identify(os.getpid())
    if process is None:
        raise SetupError("/proc does not show this process", next_step="mount /proc")
    return process


def compute_start_s(process: ProcessId) -> float:
    """Compute when a process started, in seconds since the epoch, from its start ticks and the time of boot."""
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + process.start_ticks / os.sysconf("SC_CLK_TCK")


def find_by_environment(name: str, value: str) -> list[ProcessId]:
    """List the running processes that were started with this environment variable, by /proc/PID/environ."""
    variable = f"{name}={value}".encode()
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    named = (pid for pid in pids if variable in proc_files.read_environment(pid))
    return [process for pid in named if (process := identify(pid)) is not None]


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    umask: int = -1,
    most_out: int = capped_output.MOST_OUT,
    most_err: int = capped_output.MOST_ERR,
) -> Completed:
    """Run a program to its end, with both outputs captured.

    `env` is added to our own environment, and `umask` replaces ours. Past `timeout_s`, or when the program prints more
    bytes than its caps, its whole process group is killed. Raises SetupError when the program cannot be started,
    FloodError past a cap, CommandError past the deadline and, with `check`, on a status other than 0.
    """
    begun = time.monotonic()
    child = _start(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        umask=umask,
    )
    try:
        input_bytes = (stdin or "").encode(errors="replace")
        outputs = capped_output.exchange(
            ProgramPipes(stdin=child.stdin, out=_require_pipe(child.stdout), err=_require_pipe(child.stderr)),
            input_bytes,
            deadline=begun + timeout_s,
            is_running=lambda: child.poll() is None,
            most_out=most_out,
            most_err=most_err,
        )
        ended = outputs.ended
        if ended is EndReason.CLOSED and not _wait(child, begun + timeout_s - time.monotonic()):
            ended = EndReason.LATE
    finally:
        if child.returncode is None:
            _kill_group(child.pid)
            _wait(child, _KILLED_S)
        _close(child)
    seconds, stdout, stderr = time.monotonic() - begun, _decode(outputs.out), _decode(outputs.err)
    _log_end(argv, child.returncode, seconds)
    if ended is EndReason.TOO_MUCH:
        cap = f"printed more than {most_out} bytes, or {most_err} of errors, and was ended"
        raise FloodError(argv, cap, stdout=stdout, stderr=stderr, after_s=seconds)
    if ended is EndReason.LATE:
        raise CommandError(argv, None, stdout, stderr, after_s=timeout_s)
    if check and child.returncode != 0:
        raise CommandError(argv, child.returncode, stdout, stderr, after_s=seconds)
    return Completed(
        argv=tuple(argv),
        status=child.returncode,
        stdout=stdout,
        stderr=stderr,
        seconds=seconds,
        stdout_bytes=outputs.out,
    )


def run_with_progress(
    argv: Sequence[str],
    *,
    stdin: str,
    timeout_s: float,
    grace_s: float,
    on_line: Callable[[str], None],
    cancelled: Callable[[], bool] = lambda: False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Completed:
    """Run a program that reports progress line by line, in a new session; no process of that session outlives the call.

    The program's standard input stays open until it ends, so that it can notice the end of our process. Past
    `timeout_s`, or once `cancelled()` is true, its group is interrupted (SIGINT), after `grace_s` once more, and after
    that its session is killed. `on_line` takes lines without newlines; of a long line only the beginning, of the errors
    only the end is kept. Raises CommandError past the deadline; a cancelled program returns with its status.
    """
    begun = time.monotonic()
    child = _start(argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    program_input, program_output, program_errors = (
        _require_pipe(end) for end in (child.stdin, child.stdout, child.stderr)
    )
    lines: queue.Queue[str] = queue.Queue(_LINES_AHEAD)
    errors = bytearray()
    readers = [
        threading.Thread(target=_drain, args=(program_output, LineCutter(lines.put)), daemon=True),
        threading.Thread(target=_keep_end, args=(program_errors, errors), daemon=True),
    ]
    for reader in readers:
        reader.start()
    timed_out, steps, next_step_s = False, 0, begun + timeout_s
    try:
        with suppress(BrokenPipeError):
            program_input.write(stdin.encode(errors="replace"))
            program_input.flush()
        while child.poll() is None:
            with suppress(queue.Empty):
                on_line(lines.get(timeout=_TICK_S))
            now = time.monotonic()
            if steps == 0 and cancelled():
                next_step_s = now
            if now >= next_step_s:
                timed_out = timed_out or now >= begun + timeout_s
                _interrupt_or_kill(child.pid, steps)
                steps, next_step_s = steps + 1, now + grace_s
    finally:
        end_session(child.pid)
        child.wait(timeout=10)
        give_up_at = time.monotonic() + _DRAIN_S
        while time.monotonic() < give_up_at and (any(reader.is_alive() for reader in readers) or not lines.empty()):
            with suppress(queue.Empty):
                on_line(lines.get(timeout=_TICK_S))
        _close(child)
    seconds, error_text = time.monotonic() - begun, _decode(bytes(errors))
    _log_end(argv, child.returncode, seconds)
    if timed_out:
        raise CommandError(argv, None, "", error_text, after_s=seconds)
    return Completed(argv=tuple(argv), status=child.returncode, stdout="", stderr=error_text, seconds=seconds)


def end_session(leader: int) -> None:
    """Kill all processes of a session, in whatever process group, except our own process."""
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if pid != os.getpid() and proc_files.read_session(pid) == leader:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def run_interactive(argv: Sequence[str]) -> int:
    """Run a program on our own terminal (an SSH session) and return its status. Raises SetupError if missing."""
    try:
        return subprocess.call(list(argv))
    except FileNotFoundError as error:
        raise SetupError(f"{argv[0]} is not installed", next_step="`ptp-harness doctor` says how to get it") from error


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> ProcessId:
    """Start a program that outlives our process, in a new session, with its output appended to `log`.

    Others can read the program's environment when the function returns. `stdin`: a file that it reads, by number.
    """
    with log.open("ab") as out:
        child = _start(argv, env=env, cwd=cwd, stdin=stdin, stdout=out, stderr=out)
    identity = identify(child.pid)
    if identity is None:
        raise CommandError(argv, child.poll(), "", log.read_text(errors="replace"), after_s=0)
    _wait_until_shown(identity, env)
    return identity


def _wait_until_shown(process: ProcessId, env: Mapping[str, str] | None) -> None:
    """Wait until the kernel shows the environment of a new program: it is empty for a moment after exec."""
    give_up_at = time.monotonic() + _SHOWN_WITHIN_S
    while env != {} and process.alive() and time.monotonic() < give_up_at:
        if any(proc_files.read_environment(process.pid)):
            return
        time.sleep(0.001)


def raise_priority(process: ProcessId, *, niceness: int) -> None:
    """Set the niceness of a process that was just spawned, and of its future threads, if that is permitted.

    Many kernels divide processors among sessions first, and only within a session by niceness (sched(7), autogroups). A
    spawned process leads a session, whose niceness is set too.
    """
    with suppress(PermissionError, ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    with suppress(OSError):  # a kernel without autogroups
        Path(f"/proc/{process.pid}/autogroup").write_text(str(niceness))


def end(process: ProcessId, *, grace_s: float = 5.0) -> bool:
    """End a process of ours with the group it leads: SIGTERM, SIGKILL after `grace_s`. True when it has ended."""
    for signal_number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if not process.alive():
            break
        with suppress(ProcessLookupError):
            leads_group = os.getpgid(process.pid) == process.pid
            (os.killpg if leads_group else os.kill)(process.pid, signal_number)
        give_up_at = time.monotonic() + wait_s
        while process.alive() and time.monotonic() < give_up_at:
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
    umask: int = -1,
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            list(argv),
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            umask=umask,
        )
    except FileNotFoundError as error:
        raise SetupError(f"{argv[0]} is not installed", next_step="`ptp-harness doctor` says how to get it") from error
    except PermissionError as error:
        raise SetupError(f"{argv[0]} may not be run: {error.strerror}") from error


def _log_end(argv: Sequence[str], status: int | None, seconds: float) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s ended with %s after %.2f s", clip(shlex.join(argv), _LOGGED_CHARACTERS), status, seconds)


def _drain(stream: IO[bytes], lines: LineCutter) -> None:
    with suppress(ValueError, OSError):  # the stream is closed once the program has ended
        while chunk := os.read(stream.fileno(), _MOST_ERROR_BYTES):
            lines.feed(chunk)
        lines.end()


def _keep_end(stream: IO[bytes], buffer: bytearray) -> None:
    with suppress(ValueError, OSError):
        while chunk := os.read(stream.fileno(), _MOST_ERROR_BYTES):
            buffer += chunk
            del buffer[:-_MOST_ERROR_BYTES]


def _wait(child: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
    """Wait for a process. Return whether it ended within that time."""
    try:
        child.wait(max(timeout_s, 0.0))
    except subprocess.TimeoutExpired:
        return False
    return True


def _close(child: "subprocess.Popen[bytes]") -> None:
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _require_pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the program was started without a pipe")
    return stream


def _decode(output: bytes) -> str:
    """Decode output to text, with newlines as line ends."""
    return output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _interrupt_or_kill(pid: int, step: int) -> None:
    """Interrupt the group of a process at steps 0 and 1; kill its session at later steps."""
    if step < 2:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGINT)
    else:
        end_session(pid)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def has_ended(process: ProcessId) -> bool:
    """Whether a program of `spawn` has ended; the kernel then forgets it."""
    _reap(process.pid)
    return not process.alive()


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def find_session(process: ProcessId) -> int | None:
    """Find the session of a process, which is the pid of its leader; None when the process has ended."""
    return proc_files.read_session(process.pid) if process.alive() else None
