"""How is a guest's QEMU started, and where does its console go?

What a guest writes to its serial console is kept up to a size, by a process of its own: QEMU's log files have no bound,
and root in a guest would fill this machine's disk.
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
"""A boot takes some 40 KiB. What comes after these is lost; the guest does not notice."""


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
    """Start QEMU in the background for whoever owns `folder`. Its own words go to qemu.log there.

    It must be able to read its kernel and the folders in `read`. It keeps the right to listen on port 22.
    """
    _keep_console(hardware, folder, token)
    with hardware.truth_page.open("wb") as page:
        page.truncate(TRUTH_PAGE_BYTES)
    confinement.let_guest_in(folder, sockets=hardware.sockets)
    confinement.give_to_guest(folder, hardware.disk, hardware.console, hardware.truth_page)
    made_of = (hardware.kernel.parent, *read)
    confinement.share_read_only(*made_of, *qemu.folders)
    view = FileView(
        read=(*made_of, *qemu.folders[:1]),
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
    """Start what copies the console to its log, as it comes. It ends with QEMU: then nobody writes to the pipe."""
    os.mkfifo(hardware.console, 0o600)
    proc.spawn(
        ["stdbuf", "-o0", "head", "-c", str(MOST_CONSOLE_BYTES), str(hardware.console)],
        log=hardware.serial_log,
        env=process_tags.environment(folder, "console", token),
    )
