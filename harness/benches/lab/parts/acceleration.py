"""Find whether this machine can run guests by KVM, by a trial boot: /dev/kvm may open and yet hang every guest."""

import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.io import guest_agent
from harness.benches.lab.parts import cache_build, golden, qemu_process
from harness.benches.lab.parts.command_line import Hardware, boot_arguments
from harness.benches.lab.parts.disk_image import DiskImage
from harness.benches.lab.parts.qemu import Qemu
from harness.benches.lab.processes import runtime_dir
from harness.benches.lab.truths.truth_model import Kernel
from harness.errors import HarnessError
from harness.system import file_locks, proc

KVM, EMULATION = "kvm", "tcg"
_DEADLINE_S = 15.0  # a guest under KVM is up in three to five seconds


def choose_accelerator(cache: Path, qemu: Qemu, image: DiskImage, progress: Progress) -> str:
    """Return `kvm` or `tcg`. The trial runs once per host kernel, processor and QEMU; the cache keeps the result.

    A cache that cannot be written allows no trial: without a result in it, guests are emulated. One trial at a time:
    two would slow each other down, and the slower one would look like a KVM that hangs.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATION
    cache_file = cache / "acceleration.json"
    conditions = {"host_kernel": platform.release(), "processor": golden.processor_name(), "qemu": qemu.version}
    if not os.access(cache, os.W_OK):
        return _read_answer(cache_file, conditions) or EMULATION
    with file_locks.locked(cache / "acceleration.lock", "the trial of KVM", progress):
        if cached := _read_answer(cache_file, conditions):
            return cached
        answer = KVM if _can_boot(cache, qemu, image, progress) else EMULATION
        new_file = cache_file.with_suffix(".new")
        new_file.write_text(json.dumps({"asked": conditions, "answer": answer}))
        new_file.rename(cache_file)
    progress(
        f"guests run by {'KVM' if answer == KVM else 'software emulation: /dev/kvm is there but does not boot one'}"
    )
    return answer


def _read_answer(cache_file: Path, conditions: Mapping[str, str]) -> str | None:
    """Read the result of an earlier trial under the same conditions; None without one."""
    try:
        cached = dict(json.loads(cache_file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    answer = cached.get("answer")
    return str(answer) if cached.get("asked") == conditions and answer in (KVM, EMULATION) else None


def _can_boot(cache: Path, qemu: Qemu, image: DiskImage, progress: Progress) -> bool:
    progress(f"trying whether KVM boots a guest within {_DEADLINE_S:.0f} s")
    folder = cache / f"try-kvm{cache_build.HALF}"
    cache_build.discard(folder)  # left by a process that was killed
    folder.mkdir()
    sockets = runtime_dir.make_empty(runtime_dir.path_for(folder))
    try:
        return _hello(qemu, image, folder, sockets)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        cache_build.discard(folder)


def _hello(qemu: Qemu, image: DiskImage, folder: Path, sockets: Path) -> bool:
    disk = folder / "disk.qcow2"
    golden.overlay(qemu, image.disk, "raw", disk)
    hardware = Hardware(
        accelerator=KVM,
        memory_mib=512,
        disk=disk,
        kernel=image.kernel(Kernel.STABLE),
        initrd=image.initrd(Kernel.STABLE),
        serial_log=folder / "serial.log",
        sockets=sockets,
    )
    token = f"lab/try-kvm/{os.getpid()}"
    process = qemu_process.start(
        qemu, hardware, boot_arguments(hardware), folder=folder, role="try-kvm", token=token, read=()
    )
    try:
        with guest_agent.connect(hardware.agent, deadline_s=5) as port:
            port.ask("hello", deadline_s=_DEADLINE_S)
        return True
    except HarnessError:
        return False
    finally:
        proc.end(process, grace_s=1)
