"""Record what was made for a host, and where: a folder per host with a record that is written before each effect."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.model import Claim, Placement, Token
from harness.store.evidence_folder import EvidenceFolder

_FILE = "record.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRecord:
    """A host in EC2. `intent` is the step that was next when the record was written; unknown parts are None."""

    token: Token
    instance_type: str  # the requested type
    folder: Path
    region: str
    stack: str
    intent: str
    created_utc: str
    expires_utc: str
    launched_type: str | None = None  # perhaps another size, where the campaign allows that
    resource_name: str | None = None  # the signed name of the host's resources; None in records of early versions
    instance_id: str | None = None
    volume_ids: tuple[str, ...] = ()  # the disks that are deleted with the instance
    address: str | None = None
    zone: str | None = None
    image: str | None = None
    user: str | None = None
    access: str = "ssh"
    placement: Placement | None = None
    claim: Claim | None = None

    @property
    def begun(self) -> bool:
        """Whether a stack of the host may exist: the record gets `launched_type` before anything is made."""
        return self.launched_type is not None


class LaunchRecords:
    """The folders of all hosts of a state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, token: Token) -> Path:
        """Raises RequestError for a token that is no plain file name."""
        if "/" in token.slug or token.slug.startswith("."):
            raise RequestError(f"{token.slug!r} cannot name a host")
        return self.root / token.slug

    def write(self, record: LaunchRecord) -> LaunchRecord:
        """Replace the record on disk by this one, completely or not at all; return it. Raises SetupError."""
        document = asdict(record) | {"schema": _SCHEMA, "folder": str(record.folder)}
        EvidenceFolder.create(self.root)
        EvidenceFolder.create(record.folder).write(_FILE, json.dumps(document, indent=1) + "\n")
        return record

    def find(self, token: Token) -> LaunchRecord | None:
        """The record of that token; None when it is missing or unreadable."""
        record = read(self.folder(token))
        return record if record is not None and record.token == token else None

    def all(self) -> list[LaunchRecord]:
        """Every readable record, oldest first."""
        folders = self.root.iterdir() if self.root.is_dir() else ()
        records = (read(folder) for folder in folders)
        return sorted((record for record in records if record is not None), key=lambda record: record.created_utc)

    def forget(self, record: LaunchRecord) -> None:
        """Delete the folder of a host of which nothing is left."""
        shutil.rmtree(record.folder, ignore_errors=True)


def read(folder: Path) -> LaunchRecord | None:
    """The record in a folder; None when there is no readable one."""
    try:
        document = json.loads((folder / _FILE).read_text())
        if document.pop("schema") != _SCHEMA:
            return None
        parts = {"token": Token, "placement": Placement, "claim": Claim}
        objects = {name: _build(kind, document.pop(name)) for name, kind in parts.items()}
        objects["volume_ids"] = tuple(document.pop("volume_ids", ()))
        return LaunchRecord(**document | objects | {"folder": Path(document["folder"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _build(kind: Any, words: Mapping[str, Any] | None) -> Any:
    return None if words is None else kind(**words)
