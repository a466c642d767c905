"""Record what was made for a host, and where: a folder per host with a record that is written before each effect."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.model import Claim, Placement, Token
from harness.model.ec2_enums import Access
from harness.store.evidence_folder import EvidenceFolder
from harness.store.host_records import RECORD_FILE, HostRecords, record_text


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
    access: Access = Access.SSH
    placement: Placement | None = None
    claim: Claim | None = None

    @property
    def begun(self) -> bool:
        """Whether a stack of the host may exist: the record gets `launched_type` before anything is made."""
        return self.launched_type is not None


class LaunchRecords(HostRecords[LaunchRecord]):
    """The folders of all hosts of a state directory."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, _parse_document)

    def write(self, record: LaunchRecord) -> LaunchRecord:
        """Replace the record on disk by this one, completely or not at all; return it. Raises SetupError."""
        document = asdict(record) | {"folder": str(record.folder)}
        EvidenceFolder.create(self.root)
        EvidenceFolder.create(record.folder).write(RECORD_FILE, record_text(document) + "\n")
        return record

    def forget(self, record: LaunchRecord) -> None:
        """Delete the folder of a host of which nothing is left."""
        shutil.rmtree(record.folder, ignore_errors=True)


def _parse_document(document: dict[str, Any]) -> LaunchRecord:
    kinds = {"token": Token, "placement": Placement, "claim": Claim}
    objects = {name: _optional(kind, document.pop(name)) for name, kind in kinds.items()}
    objects["volume_ids"] = tuple(document.pop("volume_ids", ()))
    objects["access"] = Access(document.pop("access", Access.SSH))
    return LaunchRecord(**document | objects | {"folder": Path(document["folder"])})


def _optional(kind: Any, fields: Mapping[str, Any] | None) -> Any:
    return None if fields is None else kind(**fields)
