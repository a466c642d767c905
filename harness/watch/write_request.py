"""Encode samples as a request of Prometheus' remote write 1.0: protobuf, compressed by Snappy's block format.

https://prometheus.io/docs/specs/remote_write_spec/: WriteRequest{1: TimeSeries}, TimeSeries{1: Label, 2: Sample},
Label{1: name, 2: value}, Sample{1: double value, 2: int64 timestamp, ms}. Labels are sorted by name, samples by time.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.model.watched import TickReading

PREFIX = "ptp_harness_watch_sample"
HEADERS: Mapping[str, str] = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_LENGTH_DELIMITED, _FIXED_64, _VARINT = 2, 1, 0
_DOUBLE = struct.Struct("<d")

MEANINGS: Mapping[str, str] = {
    "offset_seconds": "System clock minus PHC, by the fastest reading of the tick.",
    "offset_uncertainty_seconds": "Half of the time that this reading took.",
    "reads": "Readings of the PHC that succeeded.",
    "read_errors": "Readings of the PHC that failed.",
    "device_bound_seconds": "The card's own bound of its error.",
    "chrony_offset_seconds": "The last offset of chronyd.",
    "chrony_bound_seconds": "The bound of chronyd of the system clock's error.",
    "follows_phc": "Whether chronyd has selected the PHC.",
    "opinion_seconds": "System clock minus the second opinion.",
}
"""The series of a stream, by their names after PREFIX."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series: its labels with `__name__`, and its samples: time in ms since 1970, and value."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[int, float]]


def make_series(stream: str, interval_ns: int, readings: Iterable[TickReading]) -> list[Series]:
    """Make the series of a stream's readings, in the order of their ticks. What was not observed has no sample."""
    samples: dict[str, list[tuple[int, float]]] = {name: [] for name in MEANINGS}
    for reading in sorted(readings, key=lambda each: each.tick):
        time_ms = (reading.tick * interval_ns + 500_000) // 1_000_000
        for name, value in _values(reading):
            if value is not None:
                samples[name].append((time_ms, value))
    return [
        Series(labels={"__name__": f"{PREFIX}_{name}", "stream": stream}, samples=found)
        for name, found in samples.items()
        if found
    ]


def encode_request(series: Iterable[Series]) -> bytes:
    """Encode a WriteRequest, not compressed."""
    frames: dict[int, tuple[bytes, bytes]] = {}  # the series of a stream have the same times
    return b"".join(_field(1, _encode_series(each, frames)) for each in series)


def compress_request(request: bytes) -> bytes:
    """Compress a request by Snappy's block format, which has no checksum and no frames."""
    import cramjam

    return bytes(cramjam.snappy.compress_raw(request))


def _values(reading: TickReading) -> Iterator[tuple[str, float | None]]:
    yield "offset_seconds", _seconds(reading.offset_ns)
    yield "offset_uncertainty_seconds", None if reading.window_ns is None else reading.window_ns / 2e9
    yield "reads", reading.reads
    yield "read_errors", reading.read_errors
    yield "device_bound_seconds", _seconds(reading.device_bound_ns)
    yield "chrony_offset_seconds", _seconds(reading.chrony_offset_ns)
    yield "chrony_bound_seconds", _seconds(reading.chrony_bound_ns)
    yield "follows_phc", None if reading.follows_phc is None else float(reading.follows_phc)
    yield "opinion_seconds", _seconds(reading.opinion_ns)


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e9


def _encode_series(series: Series, frames: dict[int, tuple[bytes, bytes]]) -> bytes:
    parts = [_field(1, _encode_label(name, value)) for name, value in sorted(series.labels.items())]
    for time_ms, value in series.samples:
        frame = frames.get(time_ms)
        if frame is None:
            frame = frames[time_ms] = _frame_sample(time_ms)
        parts += (frame[0], _DOUBLE.pack(value), frame[1])
    return b"".join(parts)


def _encode_label(name: str, value: str) -> bytes:
    return _field(1, name.encode()) + _field(2, value.encode())


def _frame_sample(time_ms: int) -> tuple[bytes, bytes]:
    """Encode what stands before and behind the value of a sample of this time."""
    after = _key(2, _VARINT) + encode_varint(time_ms)
    before = _key(1, _FIXED_64)
    length = len(before) + _DOUBLE.size + len(after)
    return _key(2, _LENGTH_DELIMITED) + encode_varint(length) + before, after


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _LENGTH_DELIMITED) + encode_varint(len(content)) + content


def _key(number: int, wire_type: int) -> bytes:
    return encode_varint(number << 3 | wire_type)


def encode_varint(value: int) -> bytes:
    """Encode a number of 64 bits in groups of seven, the least significant first; a negative one by its complement."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
