"""Write, read and fetch files of an object store that belong together: they are whole or absent.

Their list of checksums, `SHA256SUMS` in the format of sha256sum(1), is written last: files without it are incomplete,
and are not used. What is there already stays.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import SetupError
from harness.store.evidence_fetch import download
from harness.store.evidence_folder import SUMS, EvidenceFolder
from harness.store.evidence_parts import MOST_SUMS_BYTES, parse_sums
from harness.store.evidence_sender import LocalPart, send_parts
from harness.store.object_store import RESEND, ObjectStore, Pause, retrying


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """Files below a prefix, which ends with a slash. `title`: names them for people."""

    prefix: str
    title: str

    @property
    def sums_name(self) -> str:
        """The name of the object with their checksums."""
        return f"{self.prefix}{SUMS}"

    def describe(self) -> str:
        """Name them for people."""
        return self.title


def write_files(files: FileSet, contents: Mapping[str, str | bytes], store: ObjectStore, pause: Pause) -> None:
    """Write files by their names, and their checksums last.

    Raises StoreAwayError, and SetupError where other files are there, which stay.
    """
    with tempfile.TemporaryDirectory(prefix="ptp-harness-files-") as path:
        folder = EvidenceFolder(Path(path))
        local = {name: folder.write(name, content) for name, content in contents.items()}
        send_parts([LocalPart(part=files, files=local)], folder.path, store, pause)


def read_checksums(files: FileSet, store: ObjectStore, pause: Pause) -> dict[str, str] | None:
    """Read the checksums of files by their names; None where they are absent or not whole."""
    content = retrying(partial(store.read, files.sums_name, most=MOST_SUMS_BYTES), pause)
    if content is None:
        return None
    sums = parse_sums(content)
    if sums is None:
        raise SetupError(f"{store.label}/{files.sums_name} is no list of checksums", next_step="see who wrote it")
    return sums


def read_file(files: FileSet, name: str, digest: str, store: ObjectStore, pause: Pause, *, most: int) -> bytes:
    """Read one of these files, of at most `most` bytes. Raises SetupError where it is not what its checksum says."""
    content = retrying(partial(store.read, files.prefix + name, most=most), pause)
    if content is None or hashlib.sha256(content).hexdigest() != digest:
        raise SetupError(f"{store.label}/{files.prefix}{name} is not what was sent", next_step=RESEND)
    return content


def fetch_files(files: FileSet, target: Path, store: ObjectStore, pause: Pause) -> list[Path] | None:
    """Fetch files into a folder, where each replaces one of its name; None where they are absent or not whole.

    Nothing is replaced before all are fetched and held against their checksums.
    """
    sums = read_checksums(files, store, pause)
    if sums is None:
        return None
    folder = EvidenceFolder.create(target)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.path) as path:
        fetched = EvidenceFolder(Path(path))
        for name, digest in sums.items():
            retrying(partial(download, files.prefix + name, digest, name, fetched, store), pause)
        for name in sums:
            (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(fetched.path / name, folder.path / name)
    return [folder.path / name for name in sums]
