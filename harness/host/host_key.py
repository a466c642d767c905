"""How does a host come by a key that nobody else has ever seen? It makes one, and the harness pins that from then on.

The key by which a new EC2 host is first known travels in its user data, which whoever may describe the instance can
read. So at first contact the host makes another key and hands its public part back over the connection that the first
one proves. From the moment that it is served, the first key is worth nothing. No role does this: it is the connection
of all roles that changes here, so that both ends must act in turn.

At any cut, of the connection or of ourselves, one of the pinned keys is the one that is served.
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
    """The same host by its own new key, which is kept in the file that its machine names. `pause` may raise.

    Where that was done before, nothing is; where it was cut off, it is ended. Raises HarnessError when the host cannot
    do it, or answers by no key that it handed over.
    """
    machine = target.machine
    assert machine.rotated_key is not None
    store, lines = Path(machine.rotated_key), machine.known_host.splitlines()
    if store.exists() and len(lines) == 1:
        return target
    progress("changing its host key")
    name, _, first = lines[0].partition(" ")
    own = _made(target, first.split()[1])
    _pin(target, store, f"{lines[0]}\n{name} {own}")
    for number in range(1, _TRIES + 1):
        words = _serve(target)
        ssh.close_connection(target.control)
        new = replace(machine, known_host=f"{name} {own}", boots_within_s=0.0)  # it has booted
        alone = store.with_name(f"{store.name}.new")
        _pin(replace(target, known_hosts=alone), alone, new.known_host)
        reached = ssh.wait_for_login(
            new, alone, tries=3, first_backoff_s=0.2, progress=progress, sleep=pause, control=target.control
        )
        alone.unlink()
        if reached.reached:
            _pin(target, store, new.known_host)
            return replace(target, machine=new)
        progress(f"its new host key is not served yet (try {number}): {words or reached.detail}")
    raise HarnessError(f"the host key cannot be changed: {words or reached.detail}")


def _made(target: Target, served: str) -> str:
    """The public part of the key that takes the place of the served one."""
    try:
        said = _run(target, "make", served).strip()
    except CommandError as error:
        raise HarnessError(f"the host makes no host key of its own: {error.message}") from error
    if not _KEY.fullmatch(said):
        raise HarnessError(f"the host makes no host key of its own: it says {said[:200]!r}")
    return said


def _serve(target: Target) -> str:
    """Why it failed; empty when it did not. A connection that is cut may have been cut after it was done."""
    try:
        _run(target, "serve")
    except CommandError as error:
        return error.message
    return ""


def _run(target: Target, *words: str) -> str:
    return proc.run(target.as_root("sh", "-s", *words), stdin=SCRIPT.read_text(), timeout_s=_DEADLINE_S).stdout


def _pin(target: Target, store: Path, lines: str) -> None:
    """Trust these lines alone from now on, here and wherever the host is asked for later."""
    EvidenceFolder.create(store.parent).write(store.name, lines + "\n")
    if target.known_hosts != store:
        target.known_hosts.write_text(lines + "\n")
