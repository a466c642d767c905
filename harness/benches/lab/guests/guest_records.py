"""Record everything that exists for a host: one folder per host, with a record written before and after each effect."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.benches.lab.parts import cache_build
from harness.model import Token
from harness.store.host_records import RECORD_FILE, HostRecords, record_text
from harness.system.proc import ProcessId


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRecord:
    """The record of a lab host. `intent` is the next effect at the time of writing; absent parts are not made yet."""

    token: Token
    instance_type: str
    folder: Path
    sockets: Path
    intent: str
    created_utc: str
    mac: str
    processes: Mapping[str, ProcessId]
    address: str | None = None
    port: int | None = None
    second_opinion: str | None = None
    ready: bool = False

    @property
    def overlay(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def private_key(self) -> Path:
        return self.folder / "user_key"

    @property
    def host_key(self) -> Path:
        return self.folder / "host_key"

    @property
    def serial_log(self) -> Path:
        return self.folder / "serial.log"

    @property
    def device_log(self) -> Path:
        return self.folder / "device.log"

    @property
    def other_device_log(self) -> Path:
        return self.folder / "device-other.log"

    @property
    def seed(self) -> Path:
        """The folder of a cloud guest's user data and meta data."""
        return self.folder / "seed"

    @property
    def cloud_log(self) -> Path:
        """The log of a cloud guest's server of seeds and packages."""
        return self.folder / "cloud.log"

    @property
    def faults_log(self) -> Path:
        """The log of the faults applied to the host, with their times."""
        return self.folder / "faults.log"


class GuestRecords(HostRecords[GuestRecord]):
    """The host folders of one state directory."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, _parse_document)

    def begin(self, record: GuestRecord) -> GuestRecord:
        """Make the host's folder and write its first record. Raises FileExistsError when the folder exists."""
        cache_build.make_writable(self.root)
        record.folder.mkdir()
        return self.write(record)

    def write(self, record: GuestRecord) -> GuestRecord:
        """Replace the record on disk by this one, atomically; return it."""
        document = asdict(record) | {"folder": str(record.folder), "sockets": str(record.sockets)}
        new_file = record.folder / (RECORD_FILE + ".new")
        with new_file.open("w") as file:
            file.write(record_text(document))
            file.flush()
            os.fsync(file.fileno())
        new_file.rename(record.folder / RECORD_FILE)
        return record


def read(folder: Path) -> GuestRecord | None:
    """Read the record in a folder; None when it is absent or unreadable."""
    return GuestRecords(folder.parent).read(folder)


def _parse_document(document: dict[str, Any]) -> GuestRecord:
    processes = {name: ProcessId(**fields) for name, fields in document.pop("processes").items()}
    token = Token(**document.pop("token"))
    document |= {"folder": Path(document["folder"]), "sockets": Path(document["sockets"])}
    return GuestRecord(token=token, processes=processes, **document)
