"""Boot a guest once and save it with its memory (a golden guest), so that hosts are restored from it in seconds."""

import hashlib
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.parts import cache_build, qemu_process
from harness.benches.lab.parts.command_line import Hardware, boot_arguments
from harness.benches.lab.parts.disk_image import DiskImage
from harness.benches.lab.parts.qemu import Qemu
from harness.benches.lab.processes import confinement, process_tags, runtime_dir
from harness.benches.lab.truths.truth_model import Kernel
from harness.errors import HarnessError, SetupError
from harness.system import proc

BOOT_DEADLINE_S = 300.0
SAVE_DEADLINE_S = 120.0
_NEEDED_MIB = 800
_ROLE = "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenGuest:
    """A saved guest: its disk and memory, and the hardware that a restore needs."""

    folder: Path
    image: DiskImage
    kernel: Kernel
    accelerator: str
    memory_mib: int
    disk_name: str = "disk.qcow2"

    @property
    def disk(self) -> Path:
        return self.folder / self.disk_name

    @property
    def disk_format(self) -> str:
        """The format of the disk, as QEMU names it, from its file's ending."""
        return self.disk.suffix.removeprefix(".")

    @property
    def made_of(self) -> tuple[Path, ...]:
        """The folders of the backing image and of the saved disk and memory."""
        return self.image.folder, self.folder

    @property
    def memory(self) -> Path:
        return self.folder / "memory"

    def hardware(self, *, disk: Path, serial_log: Path, sockets: Path) -> Hardware:
        """Return this golden guest's hardware with another disk, log and sockets."""
        return Hardware(
            accelerator=self.accelerator,
            memory_mib=self.memory_mib,
            disk=disk,
            kernel=self.image.kernel(self.kernel),
            initrd=self.image.initrd(self.kernel),
            serial_log=serial_log,
            sockets=sockets,
        )


def ensure(
    cache: Path, qemu: Qemu, image: DiskImage, kernel: Kernel, *, accelerator: str, memory_mib: int, progress: Progress
) -> GoldenGuest:
    """Return the golden guest for this image, QEMU and machine, built if absent. Raises SetupError and CommandError."""
    key = _key(qemu, image, kernel, accelerator, memory_mib)
    guest = GoldenGuest(
        folder=cache / f"golden-{kernel}-{key}",
        image=image,
        kernel=kernel,
        accelerator=accelerator,
        memory_mib=memory_mib,
    )
    description = f"golden guest {image.releases[kernel]}"
    cache_build.build_once(
        guest.folder, description, lambda half: _build(half, guest, qemu, description, progress), progress
    )
    return guest


def stop_builds() -> None:
    """End the golden guests that this process is booting, so that the threads which build them fail."""
    for tagged in process_tags.running_processes(
        lambda tagged: tagged.role == _ROLE and tagged.token == _build_token()
    ):
        proc.end(tagged.process)


def _build_token() -> str:
    """Name a build by the id of the building process."""
    return f"lab/golden/{os.getpid()}"


def overlay(qemu: Qemu, backing: str | Path, backing_format: str, target: Path) -> None:
    """Create a qcow2 overlay on a backing disk, which must never change afterwards.

    A relative path of the backing disk is relative to the target's folder.
    """
    arguments = ("create", "-q", "-f", "qcow2", "-b", str(backing), "-F", backing_format, str(target))
    proc.run([*qemu.img, *arguments], timeout_s=60, env=qemu.environment)


def _key(qemu: Qemu, image: DiskImage, kernel: Kernel, accelerator: str, memory_mib: int) -> str:
    """Hash all that a saved guest depends on, including the processor, in whose ticks the guest's clock counts."""
    no_path = Path("/nowhere")
    hardware = Hardware(
        accelerator=accelerator,
        memory_mib=memory_mib,
        disk=no_path,
        kernel=image.kernel(kernel),
        initrd=image.initrd(kernel),
        serial_log=no_path,
        sockets=no_path,
    )
    dependencies = [qemu.version, image.folder.name, *boot_arguments(hardware), processor_name()]
    return hashlib.sha256("\n".join(dependencies).encode()).hexdigest()[:12]


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model name of this machine's processor, or its architecture where there is none."""
    match = re.search(r"^model name\s*:\s*(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _build(half: Path, guest: GoldenGuest, qemu: Qemu, label: str, progress: Progress) -> None:
    cache_build.require_disk(half, _NEEDED_MIB, label)
    progress(f"{label}: booting it once, about 60 s")
    disk = half / "disk.qcow2"
    overlay(qemu, os.path.relpath(guest.image.disk, half), "raw", disk)  # the cache may be mounted elsewhere later
    sockets = runtime_dir.make_empty(runtime_dir.path_for(half))
    hardware = guest.hardware(disk=disk, serial_log=half / "serial.log", sockets=sockets)
    process = qemu_process.start(
        qemu, hardware, boot_arguments(hardware), folder=half, role=_ROLE, token=_build_token(), read=()
    )
    try:
        _boot(hardware, half, label)
        progress(f"{label}: saving it with its memory")
        memory = half / "memory"
        memory.touch(mode=0o600)
        confinement.give_to_guest(half, memory)
        _save(hardware, memory)
    finally:
        proc.end(process)
        process_tags.end_all(half)
        shutil.rmtree(sockets, ignore_errors=True)


def _boot(hardware: Hardware, half: Path, label: str) -> None:
    try:
        with guest_agent.connect(hardware.agent) as port:
            port.ask("hello", deadline_s=BOOT_DEADLINE_S)
            port.ask("warm", deadline_s=BOOT_DEADLINE_S + 60, timeout_s=BOOT_DEADLINE_S)
    except HarnessError as error:
        log = half / "serial.log"
        console_end = log.read_text(errors="replace")[-300:] if log.exists() else "(nothing)"
        raise SetupError(f"{label} does not come up: {error.message}; its console ends with {console_end!r}") from error


def _save(hardware: Hardware, memory: Path) -> None:
    with qmp.session(hardware.qmp) as monitor:
        monitor.do("stop")
        monitor.save_memory(memory, deadline_s=SAVE_DEADLINE_S)
        monitor.do("quit")
