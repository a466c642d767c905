"""Reboot a host and wait for its return, which a new boot id proves."""

import time
from collections.abc import Callable

from harness.errors import HarnessError
from harness.host import ssh
from harness.host.playbooks import Target
from harness.model import Reach
from harness.system import proc

BOOT_ID = "/proc/sys/kernel/random/boot_id"
SETTLE_S = 60
_POLL_S = 2.0


def reboot(target: Target, *, progress: Callable[[str], None], pause: Callable[[float], None]) -> Reach:
    """Reboot the host and wait until its next boot answers with the pinned key. `pause` may raise.

    Raises HarnessError when the reboot cannot be started. For a host that does not come back, the Reach says why.
    """
    before = proc.run(target.command("cat", BOOT_ID), timeout_s=30).stdout.strip()
    progress("rebooting")
    completed = proc.run(target.as_root("systemctl", "reboot"), timeout_s=30, check=False)
    if completed.status not in (0, ssh.FAILED):  # ssh ends with FAILED when the host went down before its answer
        raise HarnessError(f"the host cannot be rebooted: {completed.stderr.strip() or completed.stdout.strip()}")
    ssh.close_connection(target.control)
    deadline_s = target.machine.reboots_within_s
    begun, tries, message = time.monotonic(), 0, ""
    while time.monotonic() - begun < deadline_s:
        pause(_POLL_S)
        tries += 1
        boot_id, message = _boot_id(target)
        if boot_id is not None and boot_id != before:
            detail = f"back from a reboot after {time.monotonic() - begun:.0f} s"
            return Reach(reached=True, tries=tries, detail=detail)
        if "verification failed" in message:
            return Reach(reached=False, tries=tries, detail="after a reboot it answers with another host key")
    return Reach(
        reached=False, tries=tries, detail=f"it did not come back from a reboot in {deadline_s:g} s: {message}"
    )


def wait_until_settled(target: Target) -> None:
    """Wait at most SETTLE_S until chronyd follows the clock again. Success is not checked: the samples show it."""
    try:
        argv = target.command("chronyc", "-n", "waitsync", str(SETTLE_S), "0.0001", "100", "1")
        proc.run(argv, timeout_s=SETTLE_S + 30, check=False)
    except HarnessError:
        return


def _boot_id(target: Target) -> tuple[str | None, str]:
    """Read the id of the current boot; None and the cause when the host does not answer."""
    try:
        completed = proc.run(target.command("cat", BOOT_ID), timeout_s=ssh.CONNECT_TIMEOUT_S + 20, check=False)
    except HarnessError as error:
        return None, str(error)
    return (completed.stdout.strip(), "") if completed.status == 0 else (None, completed.stderr.strip())
