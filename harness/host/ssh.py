"""Connect to a host by SSH with the pinned host key and our own key, without user configuration."""

import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import CommandError, HarnessError, last_line
from harness.model import Machine, Reach
from harness.system import proc
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

CONNECT_TIMEOUT_S = 10
_PROBE_S, _LONGEST_PROBE_S, _PROBE_PART = 0.5, 10.0, 0.1
PROBE_PAUSE_S, _REFUSED_PAUSE_S = 0.1, 5.0
FAILED = 255
"""The exit status of ssh(1) when it could not connect, or lost the connection."""


def build_options(machine: Machine, known_hosts: Path, control: Path | None = None) -> list[str]:
    """Build OpenSSH options that trust the pinned key alone and never prompt (ssh_config(5)).

    With `control`, a socket path, all commands share one connection, which ends when unused for a minute.
    """
    shared = {"ControlMaster": "auto", "ControlPath": str(control), "ControlPersist": "60"} if control else {}
    settings = shared | {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(str(known_hosts)),
        "GlobalKnownHostsFile": "/dev/null",
        "PasswordAuthentication": "no",
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "6",
        "LogLevel": "ERROR",
    }
    if machine.private_key is not None:
        settings |= {"IdentitiesOnly": "yes", "IdentityFile": _quoted(machine.private_key)}
    arguments = (argument for key, value in settings.items() for argument in ("-o", f"{key}={value}"))
    return ["-F", "/dev/null", *arguments, *machine.ssh_options]


def build_command(machine: Machine, known_hosts: Path, *arguments: str, control: Path | None = None) -> list[str]:
    """Build the argv that runs `arguments`, joined by blanks, in a shell on the host; without any, an open shell.

    Raises HarnessError for an invalid user or address, which ssh would take for an option or a URI.
    """
    return [
        "ssh",
        *build_options(machine, known_hosts, control),
        "-p",
        str(machine.port),
        "--",
        format_destination(machine),
        *arguments,
    ]


def format_destination(machine: Machine) -> str:
    """Write USER@ADDRESS. Raises HarnessError for an invalid user or address."""
    for label, pattern, name in (("user", names.LOGIN, machine.user), ("address", names.ADDRESS, machine.address)):
        if not names.fits(pattern, name):
            raise HarnessError(f"the {label} {shorten_value(name)} of {machine.token.host} is not a valid name for ssh")
    return f"{machine.user}@{machine.address}"


def _quoted(path: str) -> str:
    """Quote a path for an option's value, in which blanks separate files and `%` begins a token (ssh_config(5))."""
    return f'"{path.replace("%", "%%")}"' if re.search(r"[\s%]", path) else path


def write_known_hosts(machine: Machine, folder: Path) -> Path:
    """Write the host's pinned key to a new known_hosts file in `folder` and return the path of the file."""
    path = folder / "known_hosts"
    path.write_text(machine.known_host.rstrip("\n") + "\n")
    return path


@contextmanager
def shared_connection() -> Iterator[Path]:
    """Provide a socket path (at most 107 bytes) for the shared connection to one host; close the connection at the end.

    A shared connection outlives its commands for a minute, and must never serve a later host at the same address.
    """
    folder = Path(tempfile.mkdtemp(prefix="ptp-"))
    control = folder / "ssh"
    try:
        yield control
    finally:
        close_connection(control)
        shutil.rmtree(folder, ignore_errors=True)


def close_connection(control: Path) -> None:
    """Close the shared connection, if there is one; the next command opens a new connection."""
    if control.exists():
        argv = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={control}", "-O", "exit", "--", "none"]
        proc.run(argv, timeout_s=10, check=False)
        control.unlink(missing_ok=True)


def wait_for_login(
    machine: Machine,
    known_hosts: Path,
    *,
    tries: int,
    first_backoff_s: float,
    progress: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    control: Path | None = None,
) -> Reach:
    """Log in and run `true`, up to `tries` times with doubling pauses. A wrong host key is not retried.

    A host that may still boot first gets `machine.boots_within_s`; within that time a connection that its server ends
    before a login is no try. With `control`, later commands reuse the connection.
    """
    boots_until = time.monotonic() + machine.boots_within_s
    if machine.boots_within_s:
        _wait_for_boot(machine, known_hosts, progress, sleep)
    pause_s, message, number = first_backoff_s, "", 1
    while True:
        try:
            argv = build_command(machine, known_hosts, "true", control=control)
            completed = proc.run(argv, timeout_s=CONNECT_TIMEOUT_S + 20, check=False)
            if completed.status == 0:
                return Reach(reached=True, tries=number, detail=f"SSH answered with the pinned key at try {number}")
            message = find_cause(completed.stderr) or f"ssh ended with status {completed.status}"
            if "Host key verification failed" in completed.stderr:
                return Reach(
                    reached=False, tries=number, detail="the host answered with a key that is not the pinned one"
                )
            if _is_ended_by_server(completed.stderr) and time.monotonic() < boots_until:
                progress(f"its SSH server takes no connection yet: {message}")
                sleep(_REFUSED_PAUSE_S)
                continue
        except CommandError as error:
            message = error.message
        if number >= tries:
            return Reach(reached=False, tries=tries, detail=message)
        progress(f"SSH try {number} of {tries}: {message}; next in {pause_s:g} s")
        sleep(pause_s)
        pause_s *= 2
        number += 1


def find_cause(stderr: str) -> str:
    """Find why a login failed: an error of the `aws` command, which is the proxy command, or else the last line."""
    aws_error = re.search(r"An error occurred \([^\n]*", stderr)
    return last_line(aws_error[0] if aws_error else stderr)


def _wait_for_boot(
    machine: Machine, known_hosts: Path, progress: Callable[[str], None], sleep: Callable[[float], None]
) -> None:
    """Wait until the host's SSH server answers, or until its time to boot has passed."""
    begun = time.monotonic()
    while time.monotonic() - begun < machine.boots_within_s:
        if machine.ssh_options:
            answers = _reachable_by_ssh(machine, known_hosts)
        else:
            answers = greets_as_ssh(machine, within_s=choose_patience_s(time.monotonic() - begun))
        if answers:
            return
        progress("waiting for its SSH server")
        sleep(PROBE_PAUSE_S)


def choose_patience_s(waited_s: float) -> float:
    """Choose how long a server may take to greet after so long: a part of that, from half a second to ten.

    OpenSSH from 9.8 on counts each connection that ends without a login as a second of penalty, and refuses a client
    that has 15 of them (PerSourcePenalties in sshd_config(5)): asked each half second, a slow host would lock us out.
    """
    return min(max(_PROBE_S, waited_s * _PROBE_PART), _LONGEST_PROBE_S)


def greets_as_ssh(machine: Machine, *, within_s: float = _PROBE_S) -> bool:
    """Whether the server sends the greeting of RFC 4253, section 4.2 within a time, s.

    Each probe is a new connection: TCP repeats a packet that a host without network dropped only after 1, 3 and 7 s.
    """
    try:
        with socket.create_connection((machine.address, machine.port), timeout=_PROBE_S) as connection:
            connection.settimeout(within_s)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _reachable_by_ssh(machine: Machine, known_hosts: Path) -> bool:
    """Whether ssh reaches the server. For a host behind a proxy command only ssh itself can find that out."""
    try:
        completed = proc.run(build_command(machine, known_hosts, "true"), timeout_s=CONNECT_TIMEOUT_S + 20, check=False)
    except CommandError:
        return False
    return completed.status != FAILED or any(words in completed.stderr for words in _REFUSALS_OF_SERVER)


_REFUSALS_OF_SERVER = ("Host key verification failed", "Permission denied (")
"""What ssh says where a server answered, and no login followed."""


def _is_ended_by_server(stderr: str) -> bool:
    """Whether the server ended the connection instead of a greeting, as by a penalty, or as long as a guest boots."""
    return "kex_exchange_identification" in stderr and not any(words in stderr for words in _REFUSALS_OF_SERVER)
