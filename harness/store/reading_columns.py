"""Hold readings of a watched clock in little memory, and write them as compressed columns of integers.

A worker holds a minute of each of its streams, so a reading takes 82 bytes in memory, and far fewer as it is stored.
The bytes of a column are stored plane by plane, the lowest byte of all values first: the upper ones are nearly all the
same.
"""

import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise

from harness.model.watched import TickReading

MOST_READINGS = 4096
"""Readings in one text of columns, at most."""

_FIELDS = (
    "offset_ns", "window_ns", "reads", "read_errors", "device_bound_ns", "chrony_offset_ns", "chrony_bound_ns",
    "opinion_ns", "follows_phc",
)  # fmt: skip
"""The order of the columns behind ticks and marks. Bit N of a reading's marks: it has a value in column N."""

_ROW = struct.Struct(f"<qH{len(_FIELDS)}q")
_HEAD = struct.Struct("<BI")
_VERSION = 1


class ReadingRows:
    """Readings in the order of their ticks, packed. They grow by `append`."""

    __slots__ = ("_rows", "last_tick")

    def __init__(self, readings: Iterable[TickReading] = (), *, packed: bytes = b"") -> None:
        self._rows = bytearray(packed)
        self.last_tick: int | None = _ROW.unpack_from(self._rows, len(packed) - _ROW.size)[0] if packed else None
        for reading in readings:
            self.append(reading)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def __iter__(self) -> Iterator[TickReading]:
        return (_unpack(*row) for row in _ROW.iter_unpack(self._rows))

    def __bytes__(self) -> bytes:
        return bytes(self._rows)

    @property
    def first_tick(self) -> int | None:
        """The first tick; None where there is no reading."""
        return _ROW.unpack_from(self._rows)[0] if self._rows else None

    def append(self, reading: TickReading) -> None:
        """Add a reading of a later tick. Raises ValueError for an earlier one, and for a number beyond 64 bits."""
        if self.last_tick is not None and reading.tick <= self.last_tick:
            raise ValueError("ticks grow")
        self._rows += pack(reading)
        self.last_tick = reading.tick

    def encode(self) -> bytes:
        """Write the readings as compressed columns. Raises ValueError for more than MOST_READINGS."""
        if len(self) > MOST_READINGS:
            raise ValueError("too many readings for one text")
        ticks, marks, *columns = [*zip(*_ROW.iter_unpack(self._rows), strict=True)] or [()] * (2 + len(_FIELDS))
        text = b"".join([_planes("q", _steps(ticks)), _planes("H", marks), *(_planes("q", each) for each in columns)])
        return _HEAD.pack(_VERSION, len(self)) + zlib.compress(text)


def pack(reading: TickReading) -> bytes:
    """Pack one reading. Raises ValueError for a number beyond 64 bits."""
    values = [getattr(reading, name) for name in _FIELDS]
    marks = sum(1 << place for place, value in enumerate(values) if value is not None)
    try:
        return _ROW.pack(reading.tick, marks, *(value or 0 for value in values))
    except struct.error as error:
        raise ValueError("a number beyond 64 bits") from error


def decode(text: bytes) -> list[TickReading]:
    """Read what `ReadingRows.encode` wrote. Raises ValueError on anything else."""
    if len(text) < _HEAD.size:
        raise ValueError("no readings")
    version, count = _HEAD.unpack_from(text)
    if version != _VERSION or count > MOST_READINGS:
        raise ValueError("readings of another version")
    size = count * _ROW.size
    inflate = zlib.decompressobj()
    try:
        planes = inflate.decompress(text[_HEAD.size :], size + 1)
    except zlib.error as error:
        raise ValueError("damaged readings") from error
    if len(planes) != size or not inflate.eof or inflate.unused_data:
        raise ValueError("damaged readings")
    columns, at = [], 0
    for code in "qH" + "q" * len(_FIELDS):
        width = array(code).itemsize
        columns.append(_from_planes(code, planes[at : at + count * width], count))
        at += count * width
    ticks, tick = [], 0
    for step in columns[0]:
        tick += step
        ticks.append(tick)
    if any(after <= before for before, after in pairwise(ticks)):
        raise ValueError("damaged readings")
    return [_unpack(*row) for row in zip(ticks, *columns[1:], strict=True)]


def _unpack(tick: int, marks: int, *values: int) -> TickReading:
    known = [value if marks >> place & 1 else None for place, value in enumerate(values)]
    follows = known.pop()
    offset, window, reads, errors, device, chrony_offset, chrony_bound, opinion = known
    return TickReading(
        tick=tick,
        offset_ns=offset,
        window_ns=window,
        reads=reads,
        read_errors=errors,
        device_bound_ns=device,
        chrony_offset_ns=chrony_offset,
        chrony_bound_ns=chrony_bound,
        follows_phc=None if follows is None else bool(follows),
        opinion_ns=opinion,
    )


def _steps(ticks: Iterable[int]) -> Iterator[int]:
    before = 0
    for tick in ticks:
        yield tick - before
        before = tick


def _planes(code: str, values: Iterable[int]) -> bytes:
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    width, plain = column.itemsize, column.tobytes()
    return b"".join(plain[place::width] for place in range(width))


def _from_planes(code: str, planes: bytes, count: int) -> "array[int]":
    column = array(code)
    plain = bytearray(len(planes))
    for place in range(column.itemsize):
        plain[place :: column.itemsize] = planes[place * count : (place + 1) * count]
    column.frombytes(bytes(plain))
    if sys.byteorder == "big":
        column.byteswap()
    return column
