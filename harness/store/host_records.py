"""Find and read the records that a bench keeps of its hosts: a folder per host, with one record in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from harness.errors import RequestError
from harness.model import Token

RECORD_FILE = "record.json"
_SCHEMA = 1


class StoredHost(Protocol):
    """The fields of a host that every bench records."""

    @property
    def token(self) -> Token: ...

    @property
    def created_utc(self) -> str: ...


Record = TypeVar("Record", bound=StoredHost)


class HostRecords(Generic[Record]):
    """The host folders of one state directory. `from_document` makes a record from a document without its schema."""

    def __init__(self, root: Path, from_document: Callable[[dict[str, Any]], Record]) -> None:
        self.root = root
        self._from_document = from_document

    def folder(self, token: Token) -> Path:
        """Return the folder of a token's host. Raises RequestError for a token that is no plain file name."""
        if "/" in token.slug or token.slug.startswith("."):
            raise RequestError(f"{token.slug!r} cannot name a host")
        return self.root / token.slug

    def folders(self) -> list[Path]:
        """List the folders of all hosts, including those whose creator was killed before the first record."""
        return sorted(path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []

    def find(self, token: Token) -> Record | None:
        """Find the record of a token; None when it is missing or unreadable."""
        record = self.read(self.folder(token))
        return record if record is not None and record.token == token else None

    def all(self) -> list[Record]:
        """List every readable record, oldest first."""
        records = (self.read(folder) for folder in self.folders())
        return sorted((record for record in records if record is not None), key=lambda record: record.created_utc)

    def read(self, folder: Path) -> Record | None:
        """Read the record in a folder; None when there is no readable one."""
        try:
            document = json.loads((folder / RECORD_FILE).read_text())
            return self._from_document(document) if document.pop("schema") == _SCHEMA else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def record_text(document: dict[str, Any]) -> str:
    """Write a record's document as the text of its file."""
    return json.dumps(document | {"schema": _SCHEMA}, indent=1)
