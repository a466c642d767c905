"""Copy files to a host and back, by scp with trust in the pinned host key alone.

Content, mode and times are kept, folders are copied whole, links are followed. As with cp, a copy to an existing folder
goes into that folder. In a path on the host `*`, `?` and `[` are patterns, as they are for scp.
"""

from pathlib import Path

from harness.errors import CommandError, RequestError
from harness.host import ssh
from harness.model import Machine
from harness.system import proc

_DEADLINE_S = 3600.0


def copy_to_host(machine: Machine, known_hosts: Path, local: Path, remote: str) -> None:
    """Copy a file or folder to the host. Raises RequestError for an unusable path, CommandError."""
    if not local.exists():
        raise RequestError(f"there is no {local} here")
    _scp(machine, known_hosts, str(local.absolute()), remote_path(machine, remote))


def copy_from_host(machine: Machine, known_hosts: Path, remote: str, local: Path) -> None:
    """Copy a file or folder from the host. Raises RequestError for an unusable path, CommandError."""
    if not local.absolute().parent.is_dir():
        raise RequestError(f"there is no folder {local.parent} here")
    _scp(machine, known_hosts, remote_path(machine, remote), str(local.absolute()))


def remote_path(machine: Machine, path: str) -> str:
    """Write USER@HOST:PATH, with an IPv6 address in brackets. An empty path means the home folder on the host."""
    user, _, address = ssh.format_destination(machine).rpartition("@")
    return f"{user}@{f'[{address}]' if ':' in address else address}:{path}"


def _scp(machine: Machine, known_hosts: Path, source: str, target: str) -> None:
    argv = ["scp", *ssh.build_options(machine, known_hosts), "-P", str(machine.port), "-p", "-r", "--", source, target]
    completed = proc.run(argv, timeout_s=_DEADLINE_S, check=False)
    if completed.status == 0:
        return
    message = next((line for line in completed.stderr.splitlines() if line.strip()), "").removeprefix("scp: ")
    if completed.status == ssh.FAILED or message.startswith(("Connection", "lost connection")):
        raise CommandError(argv, completed.status, completed.stdout, message, after_s=completed.seconds)
    raise RequestError(f"cannot copy: {message}")
