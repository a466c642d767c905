"""Record everything that exists for a host: one folder per host, with a record written before and after each effect."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.benches.lab.parts import cache_build
from harness.errors import RequestError
from harness.model import Token
from harness.system.proc import ProcessId

_FILE = "record.json"
_SCHEMA = 1


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
    def faults_log(self) -> Path:
        """The log of the faults applied to the host, with their times."""
        return self.folder / "faults.log"


class GuestRecords:
    """The host folders of one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, token: Token) -> Path:
        """Return the folder of a token's host. Raises RequestError for a token that is no plain file name."""
        if "/" in token.slug or token.slug.startswith("."):
            raise RequestError(f"{token.slug!r} cannot name a host")
        return self.root / token.slug

    def begin(self, record: GuestRecord) -> GuestRecord:
        """Make the host's folder and write its first record. Raises FileExistsError when the folder exists."""
        cache_build.make_writable(self.root)
        record.folder.mkdir()
        return self.write(record)

    def write(self, record: GuestRecord) -> GuestRecord:
        """Replace the record on disk by this one, atomically; return it."""
        document = asdict(record) | {"schema": _SCHEMA, "folder": str(record.folder), "sockets": str(record.sockets)}
        new_file = record.folder / (_FILE + ".new")
        with new_file.open("w") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new_file.rename(record.folder / _FILE)
        return record

    def find(self, token: Token) -> GuestRecord | None:
        """Return the token's record, or None when it is absent or unreadable."""
        record = read(self.folder(token))
        return record if record is not None and record.token == token else None

    def all(self) -> list[GuestRecord]:
        """List all readable records, oldest first."""
        records = (read(folder) for folder in self.folders())
        return sorted((record for record in records if record is not None), key=lambda record: record.created_utc)

    def folders(self) -> list[Path]:
        """List the folders of all hosts, including those whose creator was killed before the first record."""
        return sorted(path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []


def read(folder: Path) -> GuestRecord | None:
    """Read the record in a folder; None when it is absent or unreadable."""
    try:
        document = json.loads((folder / _FILE).read_text())
        if document.pop("schema") != _SCHEMA:
            return None
        processes = {name: ProcessId(**fields) for name, fields in document.pop("processes").items()}
        token = Token(**document.pop("token"))
        document |= {"folder": Path(document["folder"]), "sockets": Path(document["sockets"])}
        return GuestRecord(token=token, processes=processes, **document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
