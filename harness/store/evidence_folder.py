"""Write a run's folder of raw outputs: files are whole or absent, and checksums show any later change."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError, SetupError
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value
from harness.untrusted.plain_text import well_formed

SUMS, COMPRESSED = "SHA256SUMS", ".gz"
_MOST_END_BYTES = 4 << 20


def partial_path(path: Path) -> Path:
    """Name the file that holds what is written so far, until it takes the place of `path`."""
    return path.with_name(f".{path.name}.partial")


@dataclass(frozen=True, slots=True)
class EvidenceFolder:
    """A directory of evidence; `host()` returns the subfolder of one host."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "EvidenceFolder":
        """Make the directory. Raises SetupError when it cannot be made or the disk is full."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SetupError(
                f"cannot write evidence to {path}: {error.strerror}",
                next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
            ) from error
        return cls(path)

    def host(self, name: str) -> "EvidenceFolder":
        """Make the subfolder of one host. Raises HarnessError for an invalid host name."""
        if not names.fits(names.HOST, name):
            raise HarnessError(f"{shorten_value(name)} is not a valid name of an evidence folder")
        return EvidenceFolder.create(self._inside(name))

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file atomically: it is whole or absent, even when the machine stops during the write.

        Raises HarnessError when the file would lie outside the folder, SetupError when it cannot be written.
        """
        target = self._inside(name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = partial_path(target)
        data = well_formed(content).encode() if isinstance(content, str) else content
        try:
            partial.unlink(missing_ok=True)  # left by a killed process, or a link to another place
            with partial.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            raise SetupError(f"cannot write {target}: {error.strerror}") from error
        return target

    def append(self, name: str, text: str) -> None:
        """Append text to a file in one write, so that readers see it at once and several threads may append.

        Raises HarnessError when the file would lie outside the folder, SetupError when it cannot be written.
        """
        target = self._inside(name)
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "ab", buffering=0) as file:
                file.write(well_formed(text).encode())
        except OSError as error:
            raise SetupError(f"cannot write {target}: {error.strerror}") from error

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to be written in parts. It appears when the block ends, also by an error, as partial evidence."""
        target = self._inside(name)
        partial = partial_path(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial.unlink(missing_ok=True)
            with partial.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                try:
                    yield file
                finally:
                    file.flush()
                    os.fsync(file.fileno())
                    partial.replace(target)
        except OSError as error:
            raise SetupError(f"cannot write {target}: {error.strerror}") from error

    def compress(self, name: str) -> None:
        """Replace a file by its compressed form, whose name ends in .gz. Raises SetupError where that fails."""
        target = self._inside(name)
        try:
            with (
                target.open("rb") as source,
                self.stream(f"{name}{COMPRESSED}") as file,
                gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as compressed,
            ):
                shutil.copyfileobj(source, compressed)
            target.unlink()
        except OSError as error:
            raise SetupError(f"cannot write {target}: {error.strerror}") from error

    def copy_file(self, source: Path) -> None:
        """Copy a file of another program if it exists; of a long file only its beginning and its end.

        A guest decides how long its console's log is.
        """
        if not source.is_file():
            return
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= 2 * _MOST_END_BYTES:
                content = file.read(2 * _MOST_END_BYTES)
            else:
                begin = file.read(_MOST_END_BYTES)
                file.seek(-_MOST_END_BYTES, os.SEEK_END)
                gap = f"\n... {size - 2 * _MOST_END_BYTES} bytes left out ...\n".encode()
                content = begin + gap + file.read(_MOST_END_BYTES)
        self.write(source.name, content)

    def write_checksums(self) -> None:
        """Write the checksums of all files (the format of sha256sum(1))."""
        self.write(SUMS, "".join(f"{compute_digest(path)}  {path.relative_to(self.path)}\n" for path in self._files()))

    def read_checksums(self) -> dict[str, str]:
        """Read the checksums that were written, by the path of each file in the folder."""
        lines = (self.path / SUMS).read_text().splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def list_changed(self) -> list[str]:
        """List the files that were changed, removed or added since the checksums were written."""
        recorded = self.read_checksums()
        current = {str(path.relative_to(self.path)): compute_digest(path) for path in self._files()}
        return sorted(name for name in recorded.keys() | current.keys() if recorded.get(name) != current.get(name))

    def _inside(self, name: str) -> Path:
        """Return the path of a name. Raises HarnessError when `..` or a link in it leads outside the folder."""
        root = self.path.resolve()
        target = self.path / name
        if root not in (target.parent.resolve() / target.name).parents or target.name in ("", "..") or "\0" in name:
            raise HarnessError(f"{shorten_value(name)} would lie outside the folder of evidence {self.path}")
        return target

    def _files(self) -> list[Path]:
        files = (path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path for path in files if path != self.path / SUMS)


def compute_digest(path: Path) -> str:
    """Compute the SHA-256 checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
