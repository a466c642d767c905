"""Start a host from a snapshot's disk: plug in its cards, boot it, then give it its identity."""

import time
from collections.abc import Mapping
from dataclasses import replace

from harness.benches.lab.guests import loopback_address
from harness.benches.lab.guests.guest import GuestStart
from harness.benches.lab.io import guest_agent
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts import command_line, golden
from harness.errors import CommandError
from harness.system.proc import ProcessId

_SETTLED_DEADLINE_S = 300.0
_SSH_DEADLINE_S = 70.0
_POLL_S = 0.5


class ColdStart(GuestStart):
    """A host that boots from the disk of its context's golden guest instead of restoring memory.

    The identity of another host on the disk is replaced, and sshd, which started with the old identity, is restarted.
    """

    def start_guest(self) -> ProcessId:
        self.progress(f"starting a guest from the snapshot's disk ({self.hardware.accelerator})")
        return self.start_qemu([*command_line.boot_arguments(self.hardware), "-S"])

    def bring_up(self, monitor: Qmp, cards: Mapping[str, ProcessId]) -> None:
        address, port = loopback_address.listen_for_ssh(monitor, str(self.record.folder))
        self.note(replace(self.record, intent="plug its cards in and boot it", address=address, port=port))
        self.add_devices(monitor, cards)
        self.progress("booting it, half a minute to a minute")
        monitor.do("cont")
        with guest_agent.connect(self.hardware.agent) as guest:
            guest.ask("hello", deadline_s=golden.BOOT_DEADLINE_S)
        self.give_identity()  # before the boot's end: sshd waits for a host key, and the boot for sshd
        if self.truth.ssh:
            with guest_agent.connect(self.hardware.agent) as guest:
                _wait_until_booted(guest)
                _run_checked(guest, "systemctl restart ssh")

    def has_clock(self, port: GuestAgent) -> bool:
        return port.exists("/sys/class/ptp/ptp*", deadline_s=_SSH_DEADLINE_S)


def _wait_until_booted(guest: GuestAgent) -> None:
    """Wait until the boot is complete: the host's own units may switch its clock on. Raises CommandError."""
    give_up_s = time.monotonic() + _SETTLED_DEADLINE_S
    while (state := _read_output(guest, "systemctl is-system-running || true")) in ("initializing", "starting"):
        if time.monotonic() > give_up_s:
            raise CommandError(["boot"], None, state, "", after_s=_SETTLED_DEADLINE_S)
        time.sleep(_POLL_S)


def _read_output(guest: GuestAgent, script: str) -> str:
    return guest.shell(script, deadline_s=_SSH_DEADLINE_S).out.strip()


def _run_checked(guest: GuestAgent, script: str) -> None:
    result = guest.shell(script, deadline_s=_SSH_DEADLINE_S)
    if result.status != 0:
        raise CommandError(["lab-agent", script], result.status, "", result.out, after_s=0)
