"""Extend the lease of a running host, by SSH."""

from harness.host import ssh
from harness.host.playbooks import Target
from harness.model import Machine
from harness.model.lease import extension_script
from harness.system import proc

_DEADLINE_S = 60.0


def extend(machine: Machine, left_s: int) -> None:
    """Make a host power itself off so many seconds from now, whenever it was to do so before.

    Raises CommandError when the host cannot be told.
    """
    with ssh.shared_connection() as control:
        known_hosts = ssh.write_known_hosts(machine, control.parent)
        target = Target(machine=machine, known_hosts=known_hosts, control=control)
        proc.run(target.as_root("sh", "-c", extension_script(left_s)), timeout_s=_DEADLINE_S)
