"""Restore a host from a snapshot's disk and memory: load both, plug in its cards, then give it its identity.

The memory has the identity of another host, with sshd running. No connection reaches the guest before sshd has the new
host key. Its programs go on where they were at the moment of the snapshot.
"""

from collections.abc import Mapping
from dataclasses import replace

from harness.benches.lab.guests import loopback_address
from harness.benches.lab.guests.guest import DRIVER_DEADLINE_S, Restoration
from harness.benches.lab.io import guest_agent
from harness.benches.lab.io.qmp import Qmp
from harness.system.proc import ProcessId

_SERVICES_DEADLINE_S = 70.0


class SnapshotRestoration(Restoration):
    """A host that is restored from the memory of a snapshot, which its context's golden guest holds."""

    source = "the snapshot"

    def bring_up(self, monitor: Qmp, cards: Mapping[str, ProcessId]) -> None:
        self.add_other_makers_card(monitor)  # before the load: the stream holds its state
        self.load_memory(monitor)
        self.add_ena_cards(monitor, cards)
        monitor.do("cont")
        self.give_identity()
        self.wait_for_login()
        address, port = loopback_address.listen_for_ssh(monitor, str(self.record.folder))
        self.note(replace(self.record, intent="wait for its cards", address=address, port=port))

    def finish(self, opinion: str) -> None:
        """Let the guest find its cards, and bring back what the snapshot took from it. Its properties are in memory."""
        self.progress("waiting for its clock")
        deadline_s = DRIVER_DEADLINE_S + _SERVICES_DEADLINE_S
        with guest_agent.connect(self.hardware.agent) as port:
            port.ask("replug", deadline_s=deadline_s, timeout_s=DRIVER_DEADLINE_S, utc_ns=None)
