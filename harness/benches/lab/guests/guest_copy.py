"""Copy the disk of a running guest, and with it the memory of the same moment, by the guest's QEMU.

The memory is saved without the ENA cards. QEMU (11.1.3) has no description of the state of a vfio-user device, which
belongs to the device's process: it omits this state from the stream without a message, and the driver in the saved
memory would then find a card that was never initialised. It also aborts on `device_del` of such a device (and on a
guest's own ejection), so the cards stay plugged in, and the guest's kernel removes and finds them again: `unplug` and
`replug` of its agent (lab/agent/agent.py). A machine that loads the stream needs no card at that moment: the presence
bit of a root port may differ.

The memory of a guest with a cable cannot be saved: the end of the cable is an open socket of this QEMU, and a machine
without the cable's card refuses the stream.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts import golden
from harness.benches.lab.parts.command_line import ENA_SLOT, OTHER_SLOT
from harness.errors import CommandError, HarnessError

_JOB = "snapshot"
_DEVICES = frozenset({ENA_SLOT, OTHER_SLOT, "ena", "other", "igb"})
"""Devices that a restored guest has, or gets again, by their ids in QEMU."""
COPY_DEADLINE_S = 600.0
_CANCEL_DEADLINE_S = 20.0
_DRIVER_DEADLINE_S = 60.0
_SERVICES_DEADLINE_S = 70.0
_POLL_S = 0.02


def find_obstacle(port: GuestAgent, monitor: Qmp) -> str:
    """Return the reason why the memory of a guest cannot be saved, or an empty string."""
    others = _list_devices(monitor) - _DEVICES
    if others:
        return f"QEMU cannot save the end of a cable ({', '.join(sorted(others))})"
    hello = port.ask("hello", deadline_s=_SERVICES_DEADLINE_S)
    requests = hello.get("requests")
    if not (isinstance(requests, list) and {"unplug", "replug"} <= set(map(str, requests))):
        return "the agent in the guest is of an earlier version"
    if port.shell("test -w /etc", deadline_s=_SERVICES_DEADLINE_S).status != 0:
        return "its root file system is read-only, so a restored guest could not get another identity"
    return ""


def copy_disk(record: GuestRecord, target: Path) -> None:
    """Copy the guest's disk in its present state, while the guest runs on. Raises CommandError."""
    with _file_for_copy(record, target) as copy, qmp.session(record.sockets / "qmp") as monitor:
        _cancel(monitor)
        _back_up(monitor, copy)


def copy_with_memory(record: GuestRecord, *, disk: Path, memory: Path, progress: Progress) -> None:
    """Save the guest's disk and memory of one moment. Raises CommandError.

    Meanwhile the guest stands still, without its ENA cards; afterwards it has them again, and the time.
    """
    with (
        _file_for_copy(record, disk) as disk_copy,
        _file_for_copy(record, memory) as memory_copy,
        _unplugged_cards(record, progress),
        _stopped_guest(record) as monitor,
    ):
        _cancel(monitor)
        progress("the guest stands still while its disk and memory are saved")
        _back_up(monitor, disk_copy)
        monitor.save_memory(memory_copy, deadline_s=golden.SAVE_DEADLINE_S)


@contextmanager
def _unplugged_cards(record: GuestRecord, progress: Progress) -> Iterator[None]:
    """Keep the ENA cards out of the guest's kernel within this block. Raises CommandError."""
    deadline_s = _DRIVER_DEADLINE_S + _SERVICES_DEADLINE_S
    try:
        progress("taking the ENA card out of its kernel")
        with guest_agent.connect(record.sockets / "agent") as port:
            port.ask("unplug", deadline_s=deadline_s, timeout_s=_DRIVER_DEADLINE_S)
        yield
    finally:
        try:
            with guest_agent.connect(record.sockets / "agent") as port:
                port.ask("replug", deadline_s=deadline_s, timeout_s=_DRIVER_DEADLINE_S, utc_ns=time.time_ns())
        except CommandError as error:
            progress(f"{record.token.host} does not have its clock back: {error.message}")


@contextmanager
def _stopped_guest(record: GuestRecord) -> Iterator[Qmp]:
    """Stop the guest within this block."""
    try:
        with qmp.session(record.sockets / "qmp") as monitor:
            monitor.do("stop")
            yield monitor
    except BaseException:
        with suppress(HarnessError), qmp.session(record.sockets / "qmp") as monitor:
            monitor.do("migrate_cancel")
            _cancel(monitor)
        raise
    finally:
        with qmp.session(record.sockets / "qmp") as monitor:
            monitor.do("cont")


@contextmanager
def _file_for_copy(record: GuestRecord, target: Path) -> Iterator[Path]:
    """Make a file for a copy in the guest's folder, which its QEMU sees, and move it to `target` after this block."""
    copy = record.folder / f"copy-of-{target.name}"
    copy.unlink(missing_ok=True)
    copy.touch(mode=0o600)
    disk = record.overlay.stat()
    if disk.st_uid != os.geteuid():
        os.chown(copy, disk.st_uid, disk.st_gid)
    try:
        yield copy
        shutil.move(copy, target)
    except BaseException:
        with suppress(HarnessError), qmp.session(record.sockets / "qmp") as monitor:
            _cancel(monitor)
        copy.unlink(missing_ok=True)
        raise


def _list_devices(monitor: Qmp) -> set[str]:
    """List the ids of the devices that have one."""
    children = monitor.do("qom-list", path="/machine/peripheral")
    return {str(child["name"]) for child in children if str(child["type"]).startswith("child<")}


def _back_up(monitor: Qmp, target: Path) -> None:
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
    """Return the copy job of a guest's QEMU, or None."""
    return next((dict(job) for job in monitor.do("query-jobs") if job["id"] == _JOB), None)
