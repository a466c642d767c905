"""A run's folder of raw outputs: written whole or not at all, with checksums that show any later change."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError, SetupError
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value
from harness.untrusted.plain_text import well_formed

SUMS = "SHA256SUMS"
_KEPT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class EvidenceFolder:
    """A directory of evidence; `host()` gives the part of one host."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "EvidenceFolder":
        """Make the directory. Raises SetupError when that is not allowed or there is no room."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SetupError(
                f"cannot write evidence to {path}: {error.strerror}",
                next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
            ) from error
        return cls(path)

    def host(self, name: str) -> "EvidenceFolder":
        """The part of one host. Raises HarnessError where its name is no name of a host."""
        if not names.fits(names.HOST, name):
            raise HarnessError(f"{shorten_value(name)} is no name of a folder of evidence")
        return EvidenceFolder.create(self._inside(name))

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file so that it is there whole or not at all, also when the machine stops in between.

        Raises HarnessError where it would lie outside the folder.
        """
        target = self._inside(name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = target.with_name(f".{target.name}.partial")
        data = well_formed(content).encode() if isinstance(content, str) else content
        try:
            partial.unlink(missing_ok=True)  # of a process that was killed, or a link that leads elsewhere
            with partial.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            raise SetupError(f"cannot write {target}: {error.strerror}") from error
        return target

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """A file to be written bit by bit. It is there once the block ends, by an error too: what came is evidence."""
        target = self._inside(name)
        partial = target.with_name(f".{target.name}.partial")
        try:
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

    def keep(self, source: Path) -> None:
        """Copy a file that something else wrote, when it is there: of a long one its beginning and its end.

        A guest decides how long its console's log is.
        """
        if not source.is_file():
            return
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= 2 * _KEPT_BYTES:
                content = file.read(2 * _KEPT_BYTES)
            else:
                begin = file.read(_KEPT_BYTES)
                file.seek(-_KEPT_BYTES, os.SEEK_END)
                left_out = f"\n... {size - 2 * _KEPT_BYTES} bytes left out ...\n".encode()
                content = begin + left_out + file.read(_KEPT_BYTES)
        self.write(source.name, content)

    def write_checksums(self) -> None:
        """Write the checksums of all files (the format of sha256sum(1))."""
        self.write(SUMS, "".join(f"{_digest(path)}  {path.relative_to(self.path)}\n" for path in self._files()))

    def changed(self) -> list[str]:
        """Files that are not what they were when the checksums were written: changed, missing, or new."""
        lines = (self.path / SUMS).read_text().splitlines()
        recorded = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        now = {str(path.relative_to(self.path)): _digest(path) for path in self._files()}
        return sorted(name for name in recorded.keys() | now.keys() if recorded.get(name) != now.get(name))

    def _inside(self, name: str) -> Path:
        """The place of a name, which neither `..` nor a link leads out of here."""
        whole = self.path.resolve()
        target = self.path / name
        if whole not in (target.parent.resolve() / target.name).parents or target.name in ("", "..") or "\0" in name:
            raise HarnessError(f"{shorten_value(name)} would lie outside the folder of evidence {self.path}")
        return target

    def _files(self) -> list[Path]:
        found = (path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path for path in found if path != self.path / SUMS)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
