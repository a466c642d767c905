"""Rotate the host key of a new host: the host makes a new key, and the harness pins the new key from then on.

The first key of a new EC2 host travels in its user data, which anybody who may describe the instance can read. So at
first contact the host makes another key and returns the public part over the connection that the first key proves. Once
the host serves the new key, the first key is worthless. No role does this, because the rotation changes the connection
of all roles and both ends must act in turn.

If the connection or the harness is cut off at any point, the served key is one of the pinned keys.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.errors import CommandError, HarnessError
from harness.host import ssh
from harness.host.playbooks import Target
from harness.store.evidence_folder import EvidenceFolder
from harness.system import proc

SCRIPT = Path(__file__).with_name("host_key.sh")
_DEADLINE_S = 60.0
_TRIES = 3
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]+=*")


def rotate_host_key(target: Target, *, progress: Callable[[str], None], pause: Callable[[float], None]) -> Target:
    """Rotate the host key and return the target with the new key, stored in `machine.rotated_key`. `pause` may raise.

    A finished rotation is not repeated, and an interrupted one is completed. Raises HarnessError when the host cannot
    rotate its key, or does not serve the key that it returned.
    """
    machine = target.machine
    if machine.rotated_key is None:
        raise ValueError(f"{machine.token} names no file for a rotated host key")
    store, lines = Path(machine.rotated_key), machine.known_host.splitlines()
    if store.exists() and len(lines) == 1:
        return target
    progress("changing its host key")
    name, _, first_key = lines[0].partition(" ")
    new_key = _make_key(target, first_key.split()[1])
    _pin(target, store, f"{lines[0]}\n{name} {new_key}")
    for number in range(1, _TRIES + 1):
        message = _serve(target)
        ssh.close_connection(target.control)
        rotated = replace(machine, known_host=f"{name} {new_key}", boots_within_s=0.0)  # it has booted
        new_known_hosts = store.with_name(f"{store.name}.new")
        try:
            _pin(replace(target, known_hosts=new_known_hosts), new_known_hosts, rotated.known_host)
            reach = ssh.wait_for_login(
                rotated,
                new_known_hosts,
                tries=3,
                first_backoff_s=0.2,
                progress=progress,
                sleep=pause,
                control=target.control,
            )
        finally:
            new_known_hosts.unlink(missing_ok=True)
        if reach.reached:
            _pin(target, store, rotated.known_host)
            return replace(target, machine=rotated)
        progress(f"its new host key is not served yet (try {number}): {message or reach.detail}")
    raise HarnessError(f"the host key cannot be changed: {message or reach.detail}")


def _make_key(target: Target, served_key: str) -> str:
    """Make the key that replaces the `served` one and return its public part. Raises HarnessError."""
    try:
        key = _run(target, "make", served_key).strip()
    except CommandError as error:
        raise HarnessError(f"the host did not make a new host key: {error.message}") from error
    if not _KEY.fullmatch(key):
        raise HarnessError(f"the host did not make a new host key: it says {key[:200]!r}")
    return key


def _serve(target: Target) -> str:
    """Let the host serve the new key. Return why that failed, else an empty string.

    A cut connection does not tell whether the new key is served already.
    """
    try:
        _run(target, "serve")
    except CommandError as error:
        return error.message
    return ""


def _run(target: Target, *arguments: str) -> str:
    return proc.run(target.as_root("sh", "-s", *arguments), stdin=SCRIPT.read_text(), timeout_s=_DEADLINE_S).stdout


def _pin(target: Target, store: Path, lines: str) -> None:
    """Trust only these lines of known_hosts from now on, in this run and in later commands for the host."""
    EvidenceFolder.create(store.parent).write(store.name, lines + "\n")
    if target.known_hosts != store:
        target.known_hosts.write_text(lines + "\n")
