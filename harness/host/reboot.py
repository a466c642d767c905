"""How is a host rebooted, and known to be back? By the id of its boot: the one that answers must be another."""

import time
from collections.abc import Callable

from harness.errors import HarnessError
from harness.host import ssh
from harness.host.playbooks import Target
from harness.model import Reach
from harness.system import proc

BOOT_ID = "/proc/sys/kernel/random/boot_id"
DEADLINE_S = 300.0
SETTLE_S = 60
_ASK_EVERY_S = 2.0


def reboot(target: Target, *, progress: Callable[[str], None], pause: Callable[[float], None]) -> Reach:
    """Reboot the host and wait until it answers from its next boot, with the pinned key. `pause` may raise.

    Raises HarnessError when the host cannot be asked to. That it does not come back is in what is returned.
    """
    before = proc.run(target.command("cat", BOOT_ID), timeout_s=30).stdout.strip()
    progress("rebooting")
    asked = proc.run(target.as_root("systemctl", "reboot"), timeout_s=30, check=False)
    if asked.status not in (0, ssh.FAILED):  # which it is when the host went down before it could answer
        raise HarnessError(f"the host cannot be rebooted: {asked.stderr.strip() or asked.stdout.strip()}")
    ssh.close_connection(target.control)
    begun, tries, words = time.monotonic(), 0, ""
    while time.monotonic() - begun < DEADLINE_S:
        pause(_ASK_EVERY_S)
        tries += 1
        now, words = _boot_id(target)
        if now is not None and now != before:
            detail = f"back from a reboot after {time.monotonic() - begun:.0f} s"
            return Reach(reached=True, tries=tries, detail=detail)
        if "verification failed" in words:
            return Reach(reached=False, tries=tries, detail="after a reboot it answers with another host key")
    return Reach(reached=False, tries=tries, detail=f"it did not come back from a reboot in {DEADLINE_S:g} s: {words}")


def wait_until_settled(target: Target) -> None:
    """Give chronyd the time to follow the clock again. Whether it does, the samples tell."""
    try:
        wait = target.command("chronyc", "-n", "waitsync", str(SETTLE_S), "0.0001", "100", "1")
        proc.run(wait, timeout_s=SETTLE_S + 30, check=False)
    except HarnessError:
        return


def _boot_id(target: Target) -> tuple[str | None, str]:
    """The id of the boot that answers, or None and why none does."""
    try:
        done = proc.run(target.command("cat", BOOT_ID), timeout_s=ssh.CONNECT_TIMEOUT_S + 20, check=False)
    except HarnessError as error:
        return None, str(error)
    return (done.stdout.strip(), "") if done.status == 0 else (None, done.stderr.strip())
