"""Save the disk of a lab host with the kernel that it booted, and its memory, to start other hosts from.

A host that is restored from memory is running after seconds, with the programs that ran at the moment of the snapshot.
A snapshot of the disk alone is booted: `guest_copy` says where QEMU cannot save memory. A snapshot does not depend on
the host, the image or the golden guest that it comes from: all may be removed before the snapshot is used.
"""

import datetime
import fcntl
import json
import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.guests import guest_copy
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts import cache_build
from harness.benches.lab.parts.command_line import boot_arguments
from harness.benches.lab.parts.disk_image import DiskImage
from harness.benches.lab.parts.golden import GoldenGuest
from harness.benches.lab.parts.saved_machine import machine_hash
from harness.benches.lab.truths.truth_model import Kernel, Truth
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import RequestError
from harness.system.proc import ProcessId

_FILE = "snapshot.json"
_SCHEMA = 2
_DISK_ALONE_SCHEMA = 1  # of earlier versions
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SYNC_DEADLINE_S = 70.0
_LONGEST_NAME = 1023  # of a backing disk, in bytes (docs/interop/qcow2 in QEMU's source)
_NEEDED_MIB = 2500  # enough for a disk of the wide image on which drivers were built
_MEMORY_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy of a host's disk, and of its memory.

    `release` is the kernel that the host ran, as in `uname -r`. `machine` names the virtual machine that can load the
    memory (`saved_machine`); None for a snapshot of the disk alone.
    """

    name: str
    folder: Path
    instance_type: str
    host: str
    created_utc: str
    release: str
    machine: str | None = None

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def bytes(self) -> int:
        """The space that the snapshot takes on this machine's disk, in bytes."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())

    def bootable(self, truth: Truth, accelerator: str) -> GoldenGuest:
        """Describe the snapshot as a golden guest, from which a host can boot or, with memory, be restored."""
        return GoldenGuest(
            folder=self.folder,
            image=DiskImage(folder=self.folder, releases=dict.fromkeys(Kernel, self.release)),
            kernel=truth.kernel,
            accelerator=accelerator,
            memory_mib=truth.memory_mib,
        )

    def can_load_memory(self, truth: Truth, accelerator: str, qemu_version: str) -> bool:
        """Tell whether the snapshot has memory, and this QEMU on this machine can load it."""
        folder, sockets = Path("/folder"), Path("/sockets")
        hardware = self.bootable(truth, accelerator).hardware(
            disk=folder / "disk.qcow2", serial_log=folder / "serial.log", sockets=sockets
        )
        arguments = boot_arguments(hardware)
        return self.machine == machine_hash(arguments, qemu_version, folder=folder, sockets=sockets)


class Snapshots:
    """The snapshots of one state directory, each in its own folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def all(self) -> list[Snapshot]:
        """List all complete snapshots, oldest first."""
        folders = sorted(self.root.iterdir()) if self.root.is_dir() else []
        snapshots = (_read(folder) for folder in folders if folder.suffix != cache_build.HALF)
        return sorted(
            (snapshot for snapshot in snapshots if snapshot is not None), key=lambda snapshot: snapshot.created_utc
        )

    def find(self, name: str) -> Snapshot:
        """Return the snapshot of this name. Raises RequestError with the existing names when there is none."""
        snapshots = {snapshot.name: snapshot for snapshot in self.all()}
        if name not in snapshots:
            names = ", ".join(snapshots) or "none; `ptp-harness lab snapshot create` makes one"
            raise RequestError(f"there is no snapshot {name!r}", next_step=f"snapshots: {names}")
        return snapshots[name]

    def create(self, name: str, record: GuestRecord, progress: Progress, *, memory: bool = True) -> Snapshot:
        """Save a running host's disk and memory in their present state. Raises RequestError, SetupError, CommandError.

        The host stands still for some seconds, and is without its ENA cards meanwhile. Without `memory` it runs on, and
        data written during the copy is not in the snapshot.
        """
        self._require_free_name(name)
        if not (record.ready and record.processes["guest"].alive()):
            raise RequestError(f"{record.token.host} does not run: its disk may not be whole")
        needed_mib = _NEEDED_MIB + memory * _MEMORY_MIB
        cache_build.require_disk(cache_build.make_writable(self.root), needed_mib, f"snapshot {name}")
        built_folders = []

        def build(half: Path) -> None:
            built_folders.append(half)
            _fill(half, name, record, progress, memory=memory)

        folder = cache_build.build_once(self.root / name, f"snapshot {name}", build, progress)
        if not built_folders:
            self._require_free_name(name)  # another process made the snapshot first: raise
        snapshot = _read(folder)
        if snapshot is None:
            raise RequestError(f"snapshot {name} was removed while it was made", next_step="make it again")
        return snapshot

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep all snapshots from deletion within this block."""
        with (cache_build.make_writable(self.root) / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def delete(self, name: str, records: GuestRecords) -> None:
        """Remove a snapshot, complete or half made. Raises RequestError while a host uses its disk."""
        half = self.root / (name + cache_build.HALF)
        if _NAME.fullmatch(name) and half.is_dir() and not (self.root / name).is_dir():
            cache_build.discard(half)
            return
        snapshot = self.find(name)
        with (self.root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RequestError(
                    "a host is being restored from a snapshot just now", next_step="try again in a minute"
                ) from error
            hosts = users(snapshot, records)
            if hosts:
                raise RequestError(
                    f"snapshot {name} is the disk of {', '.join(hosts)}",
                    next_step=f"remove the hosts restored from it first: `ptp-harness lab down {' '.join(hosts)}`",
                )
            snapshot.folder.rename(half)
        cache_build.discard(half)

    def _require_free_name(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name.endswith((cache_build.HALF, ".lock")):
            raise RequestError(f"{name!r} cannot name a snapshot", next_step="letters, digits, `.`, `_` and `-`")
        if (self.root / name).exists():
            raise RequestError(
                f"there is a snapshot {name} already", next_step=f"`ptp-harness lab snapshot delete {name}`"
            )


def users(snapshot: Snapshot, records: GuestRecords) -> Sequence[str]:
    """List the hosts whose disks are overlays of this snapshot's disk, by the headers of the disks."""
    return [record.token.host for record in records.all() if backing(record.overlay) == snapshot.disk]


def backing(disk: Path) -> Path | None:
    """Return the backing disk of a qcow2 disk, or None.

    The header holds the name's offset at byte 8 and its length at byte 16 (docs/interop/qcow2 in QEMU's source).
    """
    try:
        with disk.open("rb") as file:
            offset, length = struct.unpack(">QI", file.read(20)[8:])
            file.seek(offset)
            return Path(file.read(min(length, _LONGEST_NAME)).decode()) if length else None
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _find_obstacle(record: GuestRecord, port: GuestAgent, monitor: Qmp) -> str:
    """Return the reason why a snapshot of this host has no memory, or an empty string."""
    truth = TRUTHS[record.instance_type]
    if truth.image.by_cloud_init:
        return "cloud-init gives a host of a cloud's image its identity, when it boots"
    if truth.connection_on_card:
        return "its connection is on the ENA card, which a snapshot with memory leaves out"
    return guest_copy.find_obstacle(port, monitor)


def _fill(half: Path, name: str, record: GuestRecord, progress: Progress, *, memory: bool) -> None:
    arguments = _read_arguments(record.processes["guest"])
    kernel, initrd = (Path(arguments[arguments.index(option) + 1]) for option in ("-kernel", "-initrd"))
    release = kernel.name.removeprefix("vmlinuz-")
    shutil.copy(kernel, half / f"vmlinuz-{release}")
    shutil.copy(initrd, half / f"initrd.img-{release}")
    disk, machine = half / "disk.qcow2", None
    with guest_agent.connect(record.sockets / "agent") as port, qmp.session(record.sockets / "qmp") as monitor:
        port.shell("sync", deadline_s=_SYNC_DEADLINE_S)
        obstacle = _find_obstacle(record, port, monitor) if memory else "as requested"
        qemu_version = monitor.query_version()
    if obstacle:
        progress(f"copying the disk of {record.token.host} without memory: {obstacle}")
        guest_copy.copy_disk(record, disk)
    else:
        guest_copy.copy_with_memory(record, disk=disk, memory=half / "memory", progress=progress)
        machine = machine_hash(arguments, qemu_version, folder=record.folder, sockets=record.sockets)
    snapshot = Snapshot(
        name=name,
        folder=half,
        instance_type=record.instance_type,
        host=str(record.token),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        release=release,
        machine=machine,
    )
    document = {key: value for key, value in asdict(snapshot).items() if key not in ("folder", "name")}
    (half / _FILE).write_text(json.dumps(document | {"schema": _SCHEMA}, indent=1))


def _read_arguments(guest: ProcessId) -> list[str]:
    """Return the command line that a guest's QEMU was started with."""
    return Path(f"/proc/{guest.pid}/cmdline").read_bytes().decode().split("\0")


def _read(folder: Path) -> Snapshot | None:
    try:
        document = json.loads((folder / _FILE).read_text())
        if document.pop("schema") not in (_DISK_ALONE_SCHEMA, _SCHEMA):
            return None
        return Snapshot(name=folder.name, folder=folder, **document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
