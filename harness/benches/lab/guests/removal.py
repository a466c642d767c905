"""Find and remove everything that a host left behind, by its folder and its processes' tags alone."""

import shutil
import socket
from pathlib import Path

from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords, read
from harness.benches.lab.processes import process_tags, runtime_dir
from harness.errors import CleanupError
from harness.model import Resource, Token


def remove(folder: Path) -> None:
    """End the host's processes, remove its sockets, disk and record, verify the removal. Raises CleanupError.

    No resource at all is success. The host may be another process's, half made, or without a readable record.
    """
    sockets = runtime_dir.path_for(folder)
    remaining = [f"process {tagged.process.pid} ({tagged.role})" for tagged in process_tags.end_all(folder)]
    for path in (sockets, folder):
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            remaining.append(str(path))
    if remaining:
        raise CleanupError(remaining, next_step=f"end these processes by `kill -9`, then `rm -r {folder} {sockets}`")


def has_resources(folder: Path) -> bool:
    """Tell whether a host has a folder, sockets or a process. A host's processes start after its folder is made."""
    exists = folder.exists() or runtime_dir.path_for(folder).exists()
    return exists or bool(process_tags.processes_of_folder(folder))


def resources(records: GuestRecords) -> list[Resource]:
    """List all resources of all hosts: folders (record and disk), folders of sockets, and running processes."""
    folders = records.folders()
    listed = [resource for folder in folders for resource in _list_resources(folder)]
    listed_names = {resource.name for resource in listed}
    for tagged in process_tags.running_processes(lambda tagged: tagged.folder.parent == records.root):
        if str(tagged.process.pid) not in listed_names:
            token = str(read_token(tagged.folder))
            listed.append(Resource(token=token, kind="process", name=str(tagged.process.pid), detail=tagged.role))
    return listed


def read_token(folder: Path) -> Token:
    """Return the token of a host's folder from its record or, without a record, from the folder's name."""
    record = read(folder)
    if record is not None:
        return record.token
    run, _, host_and_attempt = folder.name.partition("-")
    host, _, attempt = host_and_attempt.rpartition("-")
    return Token(run=run, host=host or "unknown", attempt=int(attempt) if attempt.isdigit() else 1)


def _list_resources(folder: Path) -> list[Resource]:
    token, record, sockets = str(read_token(folder)), read(folder), runtime_dir.path_for(folder)
    detail = _describe_host(record) if record else "its maker was killed before its first record"
    created, owner = record.created_utc if record else None, _find_owner(folder)
    listed = [Resource(token=token, kind="folder", name=str(folder), detail=detail, created_utc=created, owner=owner)]
    if sockets.exists():
        listed.append(Resource(token=token, kind="folder", name=str(sockets), detail="sockets"))
    for tagged in process_tags.processes_of_folder(folder):
        listed.append(Resource(token=token, kind="process", name=str(tagged.process.pid), detail=tagged.role))
    return listed


def _find_owner(folder: Path) -> str | None:
    """Find the user whose folder it is, on this machine; None where the user has no name."""
    try:
        return f"{folder.owner()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return None


def _describe_host(record: GuestRecord) -> str:
    place = f" at {record.address}:{record.port}" if record.address else ""
    return f"{record.instance_type}{place}, {record.intent}"
