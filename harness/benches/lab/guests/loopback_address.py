"""Choose a host's own loopback address and port. Taking an address is the only test whether it is free."""

import hashlib
from collections.abc import Iterator

from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts.command_line import SSH
from harness.errors import SetupError

SSH_PORT = 22
HIGH_PORT = 10022  # if this user may not listen below 1024, or the machine's sshd holds port 22 on all addresses
_TRIES = 64


def candidate_addresses(name: str, tries: int = _TRIES) -> Iterator[str]:
    """Yield addresses 127.0.x.y with x and y from 1 to 254, in an order that depends on the name alone."""
    for number in range(tries):
        first, second = hashlib.sha256(f"{name} {number}".encode()).digest()[:2]
        yield f"127.0.{first % 254 + 1}.{second % 254 + 1}"


def listen_for_ssh(monitor: Qmp, name: str) -> tuple[str, int]:
    """Let QEMU listen for the guest's SSH; return address and port. Raises SetupError when none is free.

    QEMU cannot take an address that another process holds, so neither a lock nor a record is needed.
    """
    message = ""
    for port in (SSH_PORT, HIGH_PORT):
        for address in candidate_addresses(name, 4 if port == SSH_PORT else _TRIES):
            message = monitor.monitor(f"hostfwd_add {SSH} tcp:{address}:{port}-:{SSH_PORT}")
            if not message:
                return address, port
    raise SetupError(
        f"no address 127.0.x.y has port {SSH_PORT} or {HIGH_PORT} free for a guest: {message}",
        next_step="`ss -ltnp` shows the process that listens there; end it",
    )
