"""Store the parsed samples of a host as columns beside the sampler's lines, and read a host's samples.

Parsing a sample takes some 50 us, reading its columns one. The lines stay the evidence: columns are used only
where they are of lines with this SHA-256, of this version of the parser, and of as many slots as are asked for. In all
other cases, also where a file of columns is damaged or was written by somebody else, the lines are parsed.

A file of columns is one line of JSON, then the arrays of the columns, little-endian, in the order of their names there,
and the CRC-32 of all that.
"""

import gzip
import json
import os
import sys
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from harness.model import Unparsed
from harness.model.columns import Column
from harness.model.sample_table import SampleTable
from harness.probes.reading import LONGEST_SAMPLE, LONGEST_TEXT, MOST_REFUSED, json_object
from harness.probes.samples import MOST_READS, MOST_SOURCES, SAMPLES_DEFINITION, Boot, SampleReader
from harness.store.evidence_folder import COMPRESSED, EvidenceFolder, compute_digest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_FORMAT = "ptp-samples"
_MOST_BYTES = 2 << 30
MOST_PLAIN_BYTES = 16 << 20
"""Some three hours of samples, one a second: what is measured longer is stored compressed."""
_MOST_SAMPLE_BYTES = 8192
"""Bound of the columns of one sample with all readings and sources that it may have."""
_CRC_BYTES = 4
_LONGEST_LINE = 4 * LONGEST_SAMPLE + 1
"""A line of so many bytes has more characters than a sample may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSamples:
    """The samples of the sampler's lines, its boots, the number of slots by its closing line, and the refused lines."""

    samples: SampleTable
    boots: tuple[Boot, ...]
    slots: int | None
    unparsed: tuple[Unparsed, ...]


def name_columns(name: str) -> str:
    """Name the file of columns beside a file of the sampler's lines: `samples.columns` beside `samples.jsonl`."""
    return f"{name.removesuffix('.jsonl')}.columns"


def find_lines(folder: Path, name: str) -> Path:
    """Find the file `name` of the sampler's lines, or its compressed form. Where neither is there, that of the name."""
    plain, compressed = folder / name, folder / f"{name}{COMPRESSED}"
    return compressed if compressed.is_file() and not plain.is_file() else plain


def store_compressed(folder: EvidenceFolder, name: str) -> None:
    """Compress the sampler's lines where they are many; remove what an earlier attempt compressed.

    Raises SetupError when it cannot be written, OSError when that of an earlier attempt cannot be removed.
    """
    (folder.path / f"{name}{COMPRESSED}").unlink(missing_ok=True)
    if (folder.path / name).stat().st_size > MOST_PLAIN_BYTES:
        folder.compress(name)


def write_columns(folder: EvidenceFolder, name: str, reader: SampleReader) -> None:
    """Write the columns of what was read of the file `name` in the folder, to the last of its lines.

    A host may send numbers beyond 64 bits, or very many names: such samples have no file of columns. Nor have those of
    which lines were lost on the way: their file does not tell it, and both must give the same. Raises SetupError when
    it cannot be written, OSError when that of an earlier attempt cannot be removed.
    """
    table = reader.samples
    table.settle()
    digest = compute_digest(find_lines(folder.path, name))
    usable = not reader.damaged and all(column.compact for column in table.columns.values())
    header = _write_header(reader, digest) if usable else b""
    if not header or len(header) > LONGEST_TEXT:
        (folder.path / name_columns(name)).unlink(missing_ok=True)
        return
    with folder.stream(name_columns(name)) as file:
        file.write(header)
        for column in table.columns.values():
            file.write(_to_little_endian(column.values))
        file.write(_compute_crc(header, table))


def read_samples(folder: Path, name: str, *, most: int) -> ParsedSamples:
    """Read the samples of the file `name` in a folder, by their columns if possible. Raises OSError.

    The file may be compressed. Of one that is damaged the lines before the damage are read.
    """
    lines = find_lines(folder, name)
    return _read_columns(folder / name_columns(name), lines, most) or _parse_lines(lines, name, most)


def _parse_lines(path: Path, name: str, most: int) -> ParsedSamples:
    reader = SampleReader(name, most=most)
    with gzip.open(path) if path.suffix == COMPRESSED else path.open("rb") as file:
        try:
            for line in _read_lines(file):
                reader.read_line(line)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            reader.note_damage(path.name)
    return ParsedSamples(samples=reader.samples, boots=reader.boots, slots=reader.slots, unparsed=reader.unparsed)


def _read_lines(file: BufferedIOBase) -> Iterator[str]:
    """Yield the lines of a file, of one that is too long its beginning and an ellipsis, so that it is not blank."""
    left = _MOST_BYTES
    while left > 0 and (line := file.readline(_LONGEST_LINE)):
        left -= len(line)
        text = line.decode(errors="replace")
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            text += "..."
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                left -= len(rest)
        yield text.removesuffix("\n")


# --- columns ----------------------------------------------------------------------------------------------------------


def _write_header(reader: SampleReader, digest: str) -> bytes:
    table = reader.samples
    columns = table.columns.items()
    header = {
        "format": _FORMAT,
        "definition": SAMPLES_DEFINITION,
        "sha256": digest,
        "most": reader.most,
        "samples": len(table),
        "slots": reader.slots,
        "boots": [asdict(boot) for boot in reader.boots],
        "unparsed": [asdict(line) for line in reader.unparsed],
        "columns": [[path, column.typecode, len(column.values)] for path, column in columns],
        "texts": {path: column.texts for path, column in columns if column.texts is not None},
    }
    return json.dumps(header).encode() + b"\n"


def _compute_crc(header: bytes, table: SampleTable) -> bytes:
    crc = zlib.crc32(header)
    for column in table.columns.values():
        crc = zlib.crc32(_to_little_endian(column.values), crc)
    return crc.to_bytes(_CRC_BYTES, "little")


def _to_little_endian(values: Any) -> Any:
    """Return the array itself where this machine is little-endian, as nearly all are."""
    if sys.byteorder == "little":
        return values
    swapped = array(values.typecode, values)
    swapped.byteswap()
    return swapped


def _read_columns(path: Path, lines: Path, most: int) -> ParsedSamples | None:
    """Read the columns of a file of lines; None unless there are such, and all of them are what a parser makes."""
    try:
        most_bytes = min(most * _MOST_SAMPLE_BYTES + LONGEST_TEXT, _MOST_BYTES)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > most_bytes:
            return None
        with path.open("rb") as file:
            first = file.readline(LONGEST_TEXT)
            header = json_object(first.decode())
            if not _is_of_request(header, most) or header["sha256"] != compute_digest(lines):
                return None
            table = _read_arrays(file, header)
            if file.read() != _compute_crc(first, table):
                return None
        _check_promises(table, most)
        slots, last = header["slots"], next(iter(table.columns["slot"].values[-1:]), -1)
        if slots is not None and not (type(slots) is int and last < slots <= most):
            return None
        if len(header["unparsed"]) > MOST_REFUSED:
            return None
        unparsed = _adapter(Unparsed).validate_python(header["unparsed"]) if header["unparsed"] else ()
        boots = _adapter(Boot).validate_python(header["boots"]) if header["boots"] else ()
        _check_boots(table, boots)
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return ParsedSamples(samples=table, boots=boots, slots=slots, unparsed=unparsed)


def _is_of_request(header: Mapping[str, Any], most: int) -> bool:
    """Whether columns are of this parser, and of as many slots, or of fewer where no line was refused for that."""
    same = (header["format"], header["definition"]) == (_FORMAT, SAMPLES_DEFINITION) and type(header["most"]) is int
    return same and (header["most"] == most or (header["most"] < most and not header["unparsed"]))


@cache
def _adapter(kind: type[T]) -> "TypeAdapter[tuple[T, ...]]":
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[kind, ...])  # type: ignore[valid-type]


def _read_arrays(file: BinaryIO, header: Mapping[str, Any]) -> SampleTable:
    """Read the arrays into a new table, up to the CRC. Raises ValueError unless they are whole, and fit together."""
    table = SampleTable()
    expected = [(path, column.typecode) for path, column in table.columns.items()]
    if [(path, typecode) for path, typecode, _ in header["columns"]] != expected:
        raise ValueError("other columns")
    lengths, count = [length for _, _, length in header["columns"]], header["samples"]
    if not all(type(number) is int and number >= 0 for number in (*lengths, count)):
        raise ValueError("a length is a whole number")
    sizes = [length * array(typecode).itemsize for length, (_, typecode) in zip(lengths, expected, strict=True)]
    if file.tell() + sum(sizes) + _CRC_BYTES != os.fstat(file.fileno()).st_size:
        raise ValueError("too short or too long")
    for length, (path, column) in zip(lengths, table.columns.items(), strict=True):
        _read_column(file, column, length, header["texts"].get(path))
    table.accept(count)
    return table


def _read_column(file: BinaryIO, column: Column, length: int, texts: object) -> None:
    values = array(column.typecode)
    values.fromfile(file, length)
    column.values = _to_little_endian(values)
    if column.texts is not None:
        if not isinstance(texts, list) or not all(type(text) is str for text in texts):
            raise ValueError("texts are a list of texts")
        column.texts.extend(texts)


_NEVER_NEGATIVE = ("slot", "mono_ns", "utc_ns", "raw_ns", "read_errors", "error_bound_ns", "cpu_ns", "boot")


def _check_promises(table: SampleTable, most: int) -> None:
    """Check what the parser promises of every sample, whatever a host sent. Raises ValueError."""
    import numpy as np

    arrays = {path: np.asarray(column.values) for path, column in table.columns.items()}
    slots, before, after = arrays["slot"], arrays["reads.before_ns"], arrays["reads.after_ns"]
    counters = [path for path, column in table.columns.items() if path[:9] == "counters." and column.typecode == "q"]
    promises = [
        (slots[1:] > slots[:-1]).all() and (slots < most).all(),
        (before <= after).all(),
        arrays["reads#"].max(initial=0) <= MOST_READS and arrays["sources#"].max(initial=0) <= MOST_SOURCES,
        all(arrays[path].min(initial=0) >= 0 for path in (*_NEVER_NEGATIVE, *counters)),
        all(np.isfinite(values).all() for values in arrays.values() if values.dtype == np.float64),
    ]
    if not all(promises):
        raise ValueError("samples that no parser makes")


def _check_boots(table: SampleTable, boots: tuple[Boot, ...]) -> None:
    """Check what the parser promises of boots: of each sample there is one, if any. Raises ValueError."""
    numbers = [(boot.slot, boot.mono_ns, boot.raw_ns, boot.interval_ns - 1) for boot in boots]
    if not all(0 <= number < 1 << 63 for boot in numbers for number in boot):
        raise ValueError("a boot that no parser reads")
    if max(table.columns["boot"].values, default=0) >= max(1, len(boots)):
        raise ValueError("a sample of a boot that is not there")
