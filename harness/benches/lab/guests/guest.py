"""Bring a host from its first record to running: restore it from a golden guest, or by other first steps.

`GuestStart.run` lists the steps in order. Before each effect the intent is written to the host's record.
"""

import datetime
import hashlib
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.benches.bench import BenchError, Progress
from harness.benches.lab.guests import card_connection, guest_slots, loopback_address, side_processes
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.benches.lab.guests.side_processes import EnaCard
from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts import golden, qemu_process
from harness.benches.lab.parts.command_line import ENA_SLOT, OTHER_SLOT, Hardware, restore_arguments
from harness.benches.lab.parts.golden import GoldenGuest
from harness.benches.lab.parts.qemu import Qemu
from harness.benches.lab.processes import process_tags, runtime_dir
from harness.benches.lab.truths.truth_model import Truth
from harness.host import keys
from harness.model import Token
from harness.system import proc
from harness.system.proc import ProcessId

_RESTORE_DEADLINE_S = 60.0
_IDENTITY_DEADLINE_S = 60.0
DRIVER_DEADLINE_S = 60.0
_LOGIN_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestContext:
    """The parts that all restorations of a bench share, and the limit of running guests."""

    qemu: Qemu
    golden: GoldenGuest
    assets: Path
    records: GuestRecords
    most_guests: int


def new_record(token: Token, truth: Truth, folder: Path) -> GuestRecord:
    """Make the first record of a host, before any effect."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()
    return GuestRecord(
        token=token,
        instance_type=truth.name,
        folder=folder,
        sockets=runtime_dir.path_for(folder),
        intent="begin",
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(),
        mac="06:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2)),
        processes={},
    )


class GuestStart(ABC):
    """The steps that bring one host from its first record to running.

    A subclass says by `start_guest` and `bring_up` how the guest comes to run with its identity and its cards.
    """

    driver_within_s = DRIVER_DEADLINE_S
    """Deadline for the ENA driver to set up all cards, after `bring_up`."""

    def __init__(self, record: GuestRecord, truth: Truth, context: GuestContext, progress: Progress) -> None:
        self.record, self.truth, self.context, self.progress = record, truth, context, progress
        self.hardware: Hardware = context.golden.hardware(
            disk=record.overlay, serial_log=record.serial_log, sockets=record.sockets
        )

    def run(self) -> GuestRecord:
        """Bring the host up. Raises BenchError, SetupError or CommandError; the record lists what was made."""
        self._make_disk()
        with guest_slots.guest_slot(
            most=self.context.most_guests, memory_mib=self.truth.memory_mib, progress=self.progress
        ):
            guest = self.start_process("guest", self.start_guest)
        ntp = self.start_process("ntp", lambda: self._start_ntp(guest))
        cards = {
            name: self.start_process(name, partial(self._start_device, card, guest)) for name, card in self._cards()
        }
        self._make_keys()  # while these processes start
        with qmp.session(self.hardware.qmp) as monitor:
            self.bring_up(monitor, cards)
        opinion = side_processes.second_opinion(ntp, self.hardware.ntp, side_processes.ntp_log(self.record))
        self.finish(opinion)
        if self.truth.faults:
            self.start_process("faults", lambda: side_processes.start_faults(self.record))
        self.note(replace(self.record, intent="running", second_opinion=opinion, ready=True))
        return self.record

    # -- the steps that subclasses define

    @abstractmethod
    def start_guest(self) -> ProcessId:
        """Start the guest's QEMU, by `start_qemu`; the guest does not run yet."""

    @abstractmethod
    def bring_up(self, monitor: Qmp, cards: Mapping[str, ProcessId]) -> None:
        """Let the guest run with its identity, address and cards; `cards` holds the processes of the ENA cards."""

    def has_clock(self, port: GuestAgent) -> bool:
        """Tell whether the guest has switched its clock on itself. A second switch would make another device."""
        return False

    # -- steps

    def _make_disk(self) -> None:
        self.progress("making its disk")
        self.note_step("make disk and sockets")
        saved = self.context.golden
        golden.overlay(self.context.qemu, saved.disk, saved.disk_format, self.record.overlay)
        runtime_dir.make_empty(self.record.sockets)

    def _make_keys(self) -> None:
        self.progress("making its keys")
        self.note_step("make keys")
        for path in (self.record.private_key, self.record.host_key):
            keys.generate(path, self.record.token.slug)

    def start_qemu(self, arguments: list[str]) -> ProcessId:
        """Start QEMU with this host's hardware and further arguments."""
        record = self.record
        guest = qemu_process.start(
            self.context.qemu,
            self.hardware,
            arguments,
            folder=record.folder,
            role=process_tags.GUEST,
            token=str(record.token),
            read=self.context.golden.made_of,
        )
        proc.raise_priority(guest, niceness=side_processes.NICENESS)
        return guest

    def _start_ntp(self, guest: ProcessId) -> ProcessId:
        return side_processes.start_ntp_server(self.record, self.hardware, guest=guest.pid, assets=self.context.assets)

    def _cards(self) -> list[tuple[str, EnaCard]]:
        """List the ENA cards in the order of plugging."""
        hardware, record, truth = self.hardware, self.record, self.truth
        cards = []
        if truth.other_card is not None:
            other_card = EnaCard(
                socket=hardware.other_device,
                control=hardware.other_control,
                mac=record.mac.replace("06:", "0a:", 1),
                bends=truth.other_card,
                log=record.other_device_log,
            )
            cards.append(("other device", other_card))
        main_card = EnaCard(
            socket=hardware.device,
            control=hardware.control,
            mac=record.mac,
            bends=truth.bends,
            log=record.device_log,
            network=(hardware.card, hardware.card_network) if truth.connection_on_card else None,
        )
        return [*cards, ("device", main_card)]

    def _start_device(self, card: EnaCard, guest: ProcessId) -> ProcessId:
        return side_processes.start_device(self.record, card, guest=guest.pid, assets=self.context.assets)

    def give_identity(self) -> None:
        """Give the guest its identity. sshd starts only afterwards, so the golden guest's identity is never visible.

        `wait_for_login` waits for sshd.
        """
        self.progress("giving it its identity")
        public = self.record.host_key.with_suffix(".pub").read_text().strip()
        with guest_agent.connect(self.hardware.agent) as port:
            port.ask(
                "identity",
                deadline_s=_IDENTITY_DEADLINE_S,
                utc_ns=time.time_ns(),
                entropy=secrets.token_hex(64),
                hostname=hostname(self.record.token),
                machine_id=secrets.token_hex(16),
                authorized_key=self.record.private_key.with_suffix(".pub").read_text().strip(),
                host_key=self.record.host_key.read_text(),
                host_key_public=public,
                ssh=self.truth.ssh,
            )

    def wait_for_login(self) -> None:
        """Wait until the guest's sshd listens with its new host key."""
        if self.truth.ssh:
            with guest_agent.connect(self.hardware.agent) as port:
                port.ask("login", deadline_s=_LOGIN_DEADLINE_S + 5, timeout_s=_LOGIN_DEADLINE_S)

    def add_devices(self, monitor: Qmp, running: Mapping[str, ProcessId]) -> None:
        """Plug in all cards."""
        if self.truth.connection_on_card:
            self.note_step("let the ENA card carry the connection")
            card_connection.join(monitor, self.hardware)
        self.add_other_makers_card(monitor)
        self.add_ena_cards(monitor, running)

    def add_other_makers_card(self, monitor: Qmp) -> None:
        """Plug in the Intel card, if the type has one."""
        if self.truth.igb:
            self.progress("plugging an Intel card in")
            self.note_step("plug the Intel card in")
            mac = self.record.mac.replace("06:", "0e:", 1)
            monitor.do("device_add", driver="igb", id="igb", bus=OTHER_SLOT, mac=mac)

    def add_ena_cards(self, monitor: Qmp, running: Mapping[str, ProcessId]) -> None:
        """Plug in the ENA cards. They are never unplugged: QEMU 11.1.3 aborts on device_del of a vfio-user device."""
        for name, card in self._cards():
            self.progress("plugging its ENA card in" if name == "device" else "plugging another ENA card in")
            self.note_step(f"plug the {name} in")
            side_processes.wait_for_socket(card.socket, running[name], card.log, "ena_device")
            slot = ENA_SLOT if name == "device" else OTHER_SLOT
            socket = {"path": str(card.socket), "type": "unix"}
            monitor.do("device_add", driver="vfio-user-pci", id=slot.removesuffix("-slot"), bus=slot, socket=socket)

    def finish(self, opinion: str) -> None:
        """Wait for the cards, switch the clock on, and apply the type's properties."""
        self.note_step("wait for the driver, switch the clock on")
        with guest_agent.connect(self.hardware.agent) as port:
            cards = len(self._cards())
            port.ask("driver", deadline_s=self.driver_within_s + 5, timeout_s=self.driver_within_s, cards=cards)
            if self.truth.clock_on and not self.has_clock(port):
                self._switch_clock_on(port)
            if self.truth.connection_on_card:
                self.progress("waiting for its address")
                card_connection.wait_for_address(port)
            if self.truth.before:
                self.progress("applying the type's properties")
                host, number = opinion.split()
                script = f"set -e\nNTP_HOST={host} NTP_PORT={number}\n{self.truth.before}"
                result = port.shell(script, deadline_s=DRIVER_DEADLINE_S + 5)
                if result.status != 0:
                    raise BenchError(f"the type's properties cannot be applied: {result.out}")

    def _switch_clock_on(self, port: GuestAgent) -> None:
        self.progress("switching its clock on")
        mac = self.record.mac
        port.ask("enable_phc", deadline_s=DRIVER_DEADLINE_S + 5, timeout_s=DRIVER_DEADLINE_S, mac=mac)

    # -- the record

    def start_process(self, name: str, start: Callable[[], ProcessId]) -> ProcessId:
        """Start a process of the host, with the intent and the process in the host's record."""
        self.note_step(f"start {name}")
        process = start()
        processes = {**self.record.processes, name: process}
        self.note(replace(self.record, intent=f"{name} runs", processes=processes))
        return process

    def note_step(self, intent: str) -> None:
        """Write the next step to the host's record."""
        self.note(replace(self.record, intent=intent))

    def note(self, record: GuestRecord) -> None:
        """Replace the host's record, in memory and on disk."""
        self.record = self.context.records.write(record)


class Restoration(GuestStart):
    """A host that is restored from the memory of a golden guest."""

    source = "the golden one"

    def start_guest(self) -> ProcessId:
        self.progress(f"restoring a guest from {self.source} ({self.hardware.accelerator})")
        return self.start_qemu(restore_arguments(self.hardware))

    def bring_up(self, monitor: Qmp, cards: Mapping[str, ProcessId]) -> None:
        address, port = loopback_address.listen_for_ssh(monitor, str(self.record.folder))
        self.load_memory(monitor)
        only_card = len(cards) == 1 and not self.truth.igb and not self.truth.connection_on_card
        if only_card:  # the guest finds it as soon as it runs; it would find the second of two cards first
            self.add_devices(monitor, cards)
        monitor.do("cont")
        self.note(replace(self.record, intent="give it its identity", address=address, port=port))
        self.give_identity()
        if self.truth.connection_on_card:
            with guest_agent.connect(self.hardware.agent) as agent:
                card_connection.configure(agent)
        if not only_card:
            self.add_devices(monitor, cards)

    def finish(self, opinion: str) -> None:
        super().finish(opinion)
        self.wait_for_login()

    def load_memory(self, monitor: Qmp) -> None:
        """Load the memory of the context's golden guest. The guest then stands still."""
        self.note_step("restore memory")
        monitor.begin_load(self.context.golden.memory)
        monitor.wait_for_migration(deadline_s=_RESTORE_DEADLINE_S)


def hostname(token: Token) -> str:
    """Make a host name of letters, digits and hyphens (RFC 1123) from the token."""
    return "".join(letter if letter.isalnum() else "-" for letter in token.slug.lower())[:63].strip("-")
