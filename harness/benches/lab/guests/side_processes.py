"""Start the processes beside a guest: its emulated ENA device, its NTP server (the second opinion), its faults."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.parts.command_line import CLOUD_SERVER, NTP_PORT, NTP_SERVER, Hardware
from harness.benches.lab.processes import confinement, process_tags
from harness.benches.lab.processes.confinement import FileView
from harness.benches.lab.truths.truth_model import Bends, Mirror
from harness.errors import CommandError, last_line
from harness.system import proc
from harness.system.proc import ProcessId

NICENESS = -10
"""Guests and their cards run before Ansible and others: chrony drops a clock whose readings suddenly slow down."""

_DEADLINE_S = 20.0
_POLL_S = 0.01

_SPREAD = ("--spread-us", "200")
"""chronyd accepts only readings as fast as its second fastest tenth of the past, and adapts in minutes. Readings of an
emulated card slow down by tens of microseconds on a busier machine, so their durations are spread by more than that."""

_PATIENCE = ("--expire-us", "200000", "--block-us", "250000")
"""Timeouts that the device announces to the driver, long enough that a guest without processor time sees no failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnaCard:
    """An ENA device: its sockets, its hardware address, its bends, and its log.

    `network` are the device's and QEMU's ends of the sockets for frames; without them the card sends and receives none.
    """

    socket: Path
    control: Path
    mac: str
    bends: Bends
    log: Path
    network: tuple[Path, Path] | None = None


def start_device(record: GuestRecord, card: EnaCard, *, guest: int, assets: Path) -> ProcessId:
    """Start an ENA device, which ends with the guest. It must listen at its socket before QEMU is told of it."""
    options = [argument for name, value in card.bends.items() for argument in _format_option(name, value)]
    argv = ["ena_device", "--verbose", "--socket", str(card.socket), "--control", str(card.control), "--mac", card.mac]
    argv += ["--network", *map(str, card.network)] if card.network else []
    view = FileView(
        read=(Path("/proc"),), capabilities=("sys_nice",)
    )  # the device binds by /proc/self/fd, and runs at a higher priority than guests
    return _start([*argv, *_SPREAD, *_PATIENCE, *options], record, card.log, guest, assets, view)


def start_ntp_server(record: GuestRecord, hardware: Hardware, *, guest: int, assets: Path) -> ProcessId:
    """Start the NTP server on the guest's network. It ends with the guest."""
    ends = ["--socket", str(hardware.ntp), "--peer", str(hardware.network)]
    return _start(["ntp_server", *ends, "--address", NTP_SERVER], record, ntp_log(record), guest, assets, FileView())


def start_cloud_server(
    record: GuestRecord, hardware: Hardware, *, mirror: Path, mirror_answers: Mirror, guest: int, assets: Path
) -> ProcessId:
    """Start the server of a cloud guest's seed and packages, on the guest's network. It ends with the guest."""
    argv = ["cloud_server", "--socket", str(hardware.cloud), "--peer", str(hardware.cloud_network)]
    argv += ["--address", f"{CLOUD_SERVER}/64", "--seed", str(record.seed), "--mirror", str(mirror)]
    confinement.share_read_only(mirror.parent)
    view = FileView(read=(mirror, record.seed), network_admin=True)
    return _start([*argv, "--mirror-answers", mirror_answers], record, record.cloud_log, guest, assets, view)


def start_faults(record: GuestRecord) -> ProcessId:
    """Start the program that applies the faults of the host's truth. It ends with the guest."""
    return proc.spawn(
        [sys.executable, "-m", "harness.benches.lab.guests.faults", str(record.folder)],
        log=record.faults_log,
        env={**process_tags.environment(record.folder, "faults", str(record.token)), "PYTHONUNBUFFERED": "1"},
    )


def ntp_log(record: GuestRecord) -> Path:
    """Return the path of the NTP server's log."""
    return record.folder / "ntp.log"


def second_opinion(process: ProcessId, socket: Path, log: Path) -> str:
    """Wait until the NTP server listens; return its "address port" in the guest's network. Raises CommandError."""
    wait_for_socket(socket, process, log, "ntp_server")
    return f"{NTP_SERVER} {NTP_PORT}"


def _start(arguments: list[str], record: GuestRecord, log: Path, guest: int, assets: Path, view: FileView) -> ProcessId:
    environment = process_tags.environment(record.folder, arguments[0], str(record.token))
    view = replace(
        view,
        read=(*confinement.python_view(), *view.read),
        copy=(confinement.compile_package(assets / "lab" / arguments[0]),),
        write=(record.sockets,),
    )
    program = [str(confinement.INTERPRETER), "-m", *arguments, "--end-with", str(guest)]
    process = proc.spawn(
        confinement.command(program, record.folder, view),
        log=log,
        env={**environment, "PYTHONPATH": str(assets / "lab"), "PYTHONUNBUFFERED": "1"},
    )
    proc.raise_priority(process, niceness=NICENESS)
    return process


def _format_option(name: str, value: int | bool | str) -> list[str]:
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [option] if value else []
    return [option, str(value)]


def wait_for_socket(socket: Path, process: ProcessId, log: Path, name: str) -> None:
    """Wait until the process `name` listens at its socket. Raises CommandError."""
    give_up_s = time.monotonic() + _DEADLINE_S
    while not socket.exists():
        ended = not process.alive()
        if ended or time.monotonic() > give_up_s:
            message = last_line(log.read_text(errors="replace")) if log.exists() else ""
            raise CommandError([name], 1 if ended else None, "", message, after_s=_DEADLINE_S)
        time.sleep(_POLL_S)
