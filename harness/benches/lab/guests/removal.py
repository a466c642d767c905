"""How is everything that a host left behind found and removed? From its folder and its processes' marks alone."""

import shutil
from pathlib import Path

from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords, read
from harness.benches.lab.processes import process_tags, runtime_dir
from harness.errors import CleanupError
from harness.model import Resource, Token


def remove(folder: Path) -> None:
    """End the host's processes, remove its sockets, disk and record, and verify it. Raises CleanupError.

    Nothing there is success. It does not matter whose host it was, how far it came, or whether its record can be read.
    """
    sockets = runtime_dir.path_for(folder)
    left = [f"process {marked.process.pid} ({marked.role})" for marked in process_tags.end_all(folder)]
    for path in (sockets, folder):
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            left.append(str(path))
    if left:
        raise CleanupError(left, next_step=f"end these processes by `kill -9`, then `rm -r {folder} {sockets}`")


def resources(records: GuestRecords) -> list[Resource]:
    """All that exists of any host: each folder with its record, disk and sockets, and each running process."""
    folders = records.folders()
    found = [resource for folder in folders for resource in _resources_of(folder)]
    known = {resource.name for resource in found}
    for marked in process_tags.running_processes(lambda marked: marked.folder.parent == records.root):
        if str(marked.process.pid) not in known:
            token = str(read_token(marked.folder))
            found.append(Resource(token=token, kind="process", name=str(marked.process.pid), detail=marked.role))
    return found


def read_token(folder: Path) -> Token:
    """The token of a host's folder: as recorded or, where its maker was killed before that, as its name tells."""
    record = read(folder)
    if record is not None:
        return record.token
    run, _, rest = folder.name.partition("-")
    host, _, attempt = rest.rpartition("-")
    return Token(run=run, host=host or "unknown", attempt=int(attempt) if attempt.isdigit() else 1)


def _resources_of(folder: Path) -> list[Resource]:
    token, record, sockets = str(read_token(folder)), read(folder), runtime_dir.path_for(folder)
    detail = _told(record) if record else "its maker was killed before its first record"
    found = [Resource(token=token, kind="folder", name=str(folder), detail=detail)]
    if sockets.exists():
        found.append(Resource(token=token, kind="folder", name=str(sockets), detail="sockets"))
    for marked in process_tags.processes_of_folder(folder):
        found.append(Resource(token=token, kind="process", name=str(marked.process.pid), detail=marked.role))
    return found


def _told(record: GuestRecord) -> str:
    where = f" at {record.address}:{record.port}" if record.address else ""
    return f"{record.instance_type}{where}, {record.intent}"
