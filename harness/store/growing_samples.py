"""Read the samples of a host while another process writes them into the host's folder of evidence."""

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from harness.model import Sample
from harness.probes.samples import MOST_SAMPLES, SampleReader
from harness.store.evidence_folder import COMPRESSED, partial_path
from harness.store.evidence_parts import ATTEMPT_FILE
from harness.store.host_evidence import PARTS, SAMPLES

_MOST_READ = 4 << 20
_LONGEST_REST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesFile:
    """A file of samples that grows, or grew until it got its name `path`, and may have been compressed then.

    `part`: the part of the evidence that it belongs to, "disturbed" or "rebooted"; None: neither.
    """

    path: Path
    part: str | None


def find_newest_file(folder: Path) -> SamplesFile | None:
    """Find the file of samples that was written to last in a host's folder; None where this attempt has none yet.

    Files that are older than the note of the attempt are of an earlier attempt.
    """
    begun_ns = _read_time_ns(folder / ATTEMPT_FILE) or 0
    files = [SamplesFile(path=folder / SAMPLES, part=None)]
    files += [SamplesFile(path=folder / f"{prefix}{SAMPLES}", part=part) for part, prefix in PARTS.items()]
    times = [(_read_time_ns(path) or 0, file) for file in files for path in _list_names(file.path)]
    newest_ns, newest = max(times, key=lambda each: each[0])
    return newest if newest_ns and newest_ns >= begun_ns else None


def _list_names(path: Path) -> tuple[Path, ...]:
    """List the names that a file of samples has one after another."""
    return partial_path(path), path, path.with_name(path.name + COMPRESSED)


def _read_time_ns(path: Path) -> int | None:
    """Read when a file was last written to, ns since the epoch; None without that file."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return None


class GrowingSamples:
    """The samples of a file, read part by part. `most`: number of slots that may be in it.

    A line that is not complete yet waits for its end. `files` counts the files of this name that were met: another
    attempt writes another one, whose samples are read from the first on; those of the earlier file are to be forgotten.
    """

    def __init__(self, path: Path, *, most: int = MOST_SAMPLES) -> None:
        self.path, self.files = path, 0
        self._most = most
        self._identity: tuple[int, int] | None = None
        self._offset, self._rest = 0, b""
        self._reader = SampleReader(path.name, most=most)

    def read_new(self) -> Iterator[Sample]:
        """Read the samples of the lines that were completed since the last call; none while there is no file."""
        while data := self._read_part():
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LONGEST_REST:
                self._rest = self._rest[:_LONGEST_REST]  # which is longer than any sample, and will be refused
            yield from self._parse(lines)
        if not self.files:
            yield from self._parse(self._read_compressed())

    def _parse(self, lines: Iterable[bytes]) -> Iterator[Sample]:
        for line in lines:
            sample = self._reader.read_line(line.decode(errors="replace"))
            if sample is not None:
                yield sample

    def _read_compressed(self) -> Iterator[bytes]:
        """Read the lines of a file that was compressed before the first look at it, up to its damage if it has any."""
        with suppress(OSError, EOFError, zlib.error), gzip.open(_list_names(self.path)[2]) as file:
            self.files, self._identity = 1, (0, 0)
            while line := file.readline(_LONGEST_REST):
                yield line

    def _read_part(self) -> bytes:
        """Read the next bytes. The file with the partial name comes first: it is the newer one."""
        for path in _list_names(self.path)[:2]:
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    return self._read_open(descriptor)
                finally:
                    os.close(descriptor)
        return b""

    def _read_open(self, descriptor: int) -> bytes:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            return b""
        identity = (status.st_dev, status.st_ino)
        if self._identity != identity or status.st_size < self._offset:
            self._offset, self._rest = 0, b""
            self._reader = SampleReader(self.path.name, most=self._most)
            self.files += 1
        self._identity = identity
        data = os.pread(descriptor, _MOST_READ, self._offset)
        self._offset += len(data)
        return data
