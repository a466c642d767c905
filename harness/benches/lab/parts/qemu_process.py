"""Start a guest's QEMU, and keep the output of its serial console up to a size.

A separate process copies the console's output: QEMU's own log files have no size limit, so root in a guest could fill
this machine's disk.
"""

import os
from pathlib import Path

from harness.benches.lab.parts.command_line import TRUTH_PAGE_BYTES, Hardware
from harness.benches.lab.parts.qemu import Qemu
from harness.benches.lab.processes import confinement, process_tags
from harness.benches.lab.processes.confinement import FileView
from harness.system import proc
from harness.system.proc import ProcessId

MOST_CONSOLE_BYTES = 4 * 2**20
"""A boot writes some 40 KiB. Output beyond this limit is lost, unnoticed by the guest."""


def start(
    qemu: Qemu,
    hardware: Hardware,
    arguments: list[str],
    *,
    folder: Path,
    role: str,
    token: str,
    read: tuple[Path, ...],
) -> ProcessId:
    """Start QEMU in the background for the guest of `folder`. QEMU's own messages go to qemu.log there.

    QEMU can read its kernel and the folders in `read`, and keeps the right to listen on port 22.
    """
    _keep_console(hardware, folder, token)
    with hardware.truth_page.open("wb") as page:
        page.truncate(TRUTH_PAGE_BYTES)
    confinement.let_guest_in(folder, sockets=hardware.sockets)
    confinement.give_to_guest(folder, hardware.disk, hardware.console, hardware.truth_page)
    source_folders = (hardware.kernel.parent, *read)
    confinement.share_read_only(*source_folders, *qemu.folders)
    view = FileView(
        read=(*source_folders, *qemu.folders[:1]),
        write=(folder, hardware.sockets),
        devices=("/dev/kvm",),
        network=True,
        capabilities=("net_bind_service",),
    )
    return proc.spawn(
        confinement.command([*qemu.system, *qemu.sandbox, *arguments], folder, view),
        log=folder / "qemu.log",
        env={**qemu.environment, **process_tags.environment(folder, role, token)},
    )


def _keep_console(hardware: Hardware, folder: Path, token: str) -> None:
    """Start the process that copies the console to its log, unbuffered, and ends with QEMU, the pipe's only writer."""
    os.mkfifo(hardware.console, 0o600)
    proc.spawn(
        ["stdbuf", "-o0", "head", "-c", str(MOST_CONSOLE_BYTES), str(hardware.console)],
        log=hardware.serial_log,
        env=process_tags.environment(folder, "console", token),
    )
