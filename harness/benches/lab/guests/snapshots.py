"""Save the disk of a lab host with the kernel that it booted, to start other hosts from.

A snapshot holds no memory. The state of a host's ENA card is in another process; QEMU (11.1.3) silently omits this
state when it saves a guest, and aborts when the card is unplugged before. A snapshot does not depend on the host, the
image or the golden guest that it comes from: all may be removed before the snapshot is used.
"""

import datetime
import fcntl
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts import cache_build
from harness.benches.lab.parts.disk_image import DiskImage
from harness.benches.lab.parts.golden import GoldenGuest
from harness.benches.lab.truths.truth_model import Kernel, Truth
from harness.errors import CommandError, HarnessError, RequestError
from harness.system.proc import ProcessId

_FILE = "snapshot.json"
_SCHEMA = 1
_JOB = "snapshot"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SYNC_DEADLINE_S = 70.0
COPY_DEADLINE_S = 600.0
_CANCEL_DEADLINE_S = 20.0
_POLL_S = 0.05
_LONGEST_NAME = 1023  # of a backing disk, in bytes (docs/interop/qcow2 in QEMU's source)
_NEEDED_MIB = 2500  # enough for a disk of the wide image on which drivers were built


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy of a host's disk. `release` is the kernel that the host ran, as in `uname -r`."""

    name: str
    folder: Path
    instance_type: str
    host: str
    created_utc: str
    release: str

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def bytes(self) -> int:
        """The space that the snapshot takes on this machine's disk, in bytes."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())

    def bootable(self, truth: Truth, accelerator: str) -> GoldenGuest:
        """Describe the snapshot as a golden guest without memory, from which a host can boot."""
        return GoldenGuest(
            folder=self.folder,
            image=DiskImage(folder=self.folder, releases=dict.fromkeys(Kernel, self.release)),
            kernel=truth.kernel,
            accelerator=accelerator,
            memory_mib=truth.memory_mib,
        )


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

    def create(self, name: str, record: GuestRecord, progress: Progress) -> Snapshot:
        """Save a running host's disk in its present state, after a sync. Raises RequestError, SetupError, CommandError.

        The host continues to run; data written during the copy is not in the snapshot.
        """
        self._require_free_name(name)
        if not (record.ready and record.processes["guest"].alive()):
            raise RequestError(f"{record.token.host} does not run: its disk may not be whole")
        cache_build.require_disk(cache_build.make_writable(self.root), _NEEDED_MIB, f"snapshot {name}")
        built_folders = []

        def build(half: Path) -> None:
            built_folders.append(half)
            progress(f"copying the disk of {record.token.host}")
            _fill(half, name, record)

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


def _fill(half: Path, name: str, record: GuestRecord) -> None:
    kernel, initrd = _read_boot_files(record.processes["guest"])
    release = kernel.name.removeprefix("vmlinuz-")
    shutil.copy(kernel, half / f"vmlinuz-{release}")
    shutil.copy(initrd, half / f"initrd.img-{release}")
    with guest_agent.connect(record.sockets / "agent") as port:
        port.shell("sync", deadline_s=_SYNC_DEADLINE_S)
    copy = _require_room(record)
    try:
        with qmp.session(record.sockets / "qmp") as monitor:
            _cancel(monitor)
            _copy_disk(monitor, copy)
        shutil.move(copy, half / "disk.qcow2")
    except BaseException:
        with suppress(HarnessError), qmp.session(record.sockets / "qmp") as monitor:
            _cancel(monitor)
        copy.unlink(missing_ok=True)
        raise
    snapshot = Snapshot(
        name=name,
        folder=half,
        instance_type=record.instance_type,
        host=str(record.token),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        release=release,
    )
    document = {key: value for key, value in asdict(snapshot).items() if key not in ("folder", "name")}
    (half / _FILE).write_text(json.dumps(document | {"schema": _SCHEMA}, indent=1))


def _require_room(record: GuestRecord) -> Path:
    """Create a file for the copy in the host's folder, visible to its QEMU, with the owner of the host's disk."""
    copy = record.folder / "copy.qcow2"
    copy.unlink(missing_ok=True)
    copy.touch(mode=0o600)
    disk = record.overlay.stat()
    if disk.st_uid != os.geteuid():
        os.chown(copy, disk.st_uid, disk.st_gid)
    return copy


def _copy_disk(monitor: Qmp, target: Path) -> None:
    """Copy the whole disk in its present state. Raises CommandError.

    QEMU copies a block before the guest overwrites it (QEMU's docs/interop/live-block-operations, drive-backup).
    """
    monitor.do(
        "drive-backup",
        job_id=_JOB,
        device="disk",
        target=str(target),
        format="qcow2",
        sync="full",
        auto_dismiss=False,
    )
    job = _wait_until_concluded(monitor, COPY_DEADLINE_S)
    monitor.do("job-dismiss", id=_JOB)
    if "error" in job:
        raise CommandError(["drive-backup"], 1, "", job["error"], after_s=0)


def _cancel(monitor: Qmp) -> None:
    """Cancel an abandoned copy. QEMU serves one session at a time, so no other process can be waiting for the copy."""
    if _query_job(monitor) is not None:
        with suppress(CommandError):  # the job has concluded meanwhile
            monitor.do("job-cancel", id=_JOB)
        _wait_until_concluded(monitor, _CANCEL_DEADLINE_S)
        monitor.do("job-dismiss", id=_JOB)


def _wait_until_concluded(monitor: Qmp, deadline_s: float) -> dict[str, str]:
    give_up_s = time.monotonic() + deadline_s
    while (job := _query_job(monitor)) is not None and job["status"] != "concluded":
        if time.monotonic() > give_up_s:
            raise CommandError(["drive-backup"], None, "", "", after_s=deadline_s)
        time.sleep(_POLL_S)
    return job or {"error": "the job was dismissed"}


def _query_job(monitor: Qmp) -> dict[str, str] | None:
    """Return the copy job of a host's QEMU, or None."""
    return next((dict(job) for job in monitor.do("query-jobs") if job["id"] == _JOB), None)


def _read_boot_files(guest: ProcessId) -> tuple[Path, Path]:
    """Return the kernel and initial RAM disk that a guest was started with."""
    arguments = Path(f"/proc/{guest.pid}/cmdline").read_bytes().decode().split("\0")
    return Path(arguments[arguments.index("-kernel") + 1]), Path(arguments[arguments.index("-initrd") + 1])


def _read(folder: Path) -> Snapshot | None:
    try:
        document = json.loads((folder / _FILE).read_text())
        if document.pop("schema") != _SCHEMA:
            return None
        return Snapshot(name=folder.name, folder=folder, **document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
