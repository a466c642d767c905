"""Start a host from a cloud's image: cloud-init gives it its identity, its login user and its host key."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.guests import cloud_seed, loopback_address, side_processes
from harness.benches.lab.guests.cloud_seed import CloudSeed
from harness.benches.lab.guests.guest import GuestContext, GuestStart, hostname
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.io import guest_agent
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts import command_line
from harness.benches.lab.processes import confinement
from harness.benches.lab.truths.truth_model import Truth
from harness.system.proc import ProcessId

BOOTS_WITHIN_S = 900.0
"""Deadline for a boot, and then for the first SSH login. An emulated guest's cloud-init needs one to three minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudContext(GuestContext):
    """The parts of a cloud guest: also its package mirror, and its seed unless it gets one of the lab's."""

    mirror: Path
    seed: CloudSeed | None = None


class CloudStart(GuestStart):
    """A host that boots from a cloud's image, or from a snapshot of a host that did.

    The host is handed out while it boots, as an instance of a cloud is.
    """

    driver_within_s = BOOTS_WITHIN_S

    def __init__(self, record: GuestRecord, truth: Truth, context: CloudContext, progress: Progress) -> None:
        super().__init__(record, truth, context, progress)
        self._cloud = context
        self.hardware = replace(self.hardware, serial_number=cloud_seed.serial_number(truth.image))

    def start_guest(self) -> ProcessId:
        self.progress(f"booting a guest from a cloud's image ({self.hardware.accelerator})")
        return self.start_qemu([*command_line.boot_arguments(self.hardware), "-S"])

    def _write_seed(self) -> None:
        seed = self._cloud.seed or CloudSeed(
            user_data=cloud_seed.make_ec2_user_data(self.context.assets, self.record.host_key.read_text()),
            public_key=self.record.private_key.with_suffix(".pub").read_text(),
        )
        files = seed.write(self.record.seed, instance_id=self.record.folder.name, hostname=hostname(self.record.token))
        confinement.give_to_guest(self.record.folder, *files)

    def bring_up(self, monitor: Qmp, cards: Mapping[str, ProcessId]) -> None:
        self._write_seed()
        guest = self.record.processes["guest"]
        server = self.start_process(
            "cloud",
            lambda: side_processes.start_cloud_server(
                self.record,
                self.hardware,
                mirror=self._cloud.mirror,
                mirror_answers=self.truth.mirror,
                guest=guest.pid,
                assets=self.context.assets,
            ),
        )
        address, port = loopback_address.listen_for_ssh(monitor, str(self.record.folder))
        self.note(replace(self.record, intent="plug its cards in and boot it", address=address, port=port))
        self.add_devices(monitor, cards)
        side_processes.wait_for_socket(self.hardware.cloud, server, self.record.cloud_log, "cloud_server")
        monitor.do("cont")
        with guest_agent.connect(self.hardware.agent) as port_of_agent:
            port_of_agent.ask("hello", deadline_s=BOOTS_WITHIN_S)
