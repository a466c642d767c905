"""The bytes of remote write, held against the reader of protobuf's own library."""

import math
import struct
from typing import Any

import cramjam
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from harness.model.watched import TickReading
from harness.watch.write_request import (
    MEANINGS,
    PREFIX,
    Series,
    compress_request,
    encode_request,
    encode_varint,
    make_series,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SAMPLES = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=20)
SERIES = st.builds(Series, labels=st.dictionaries(TEXTS, TEXTS, max_size=5), samples=SAMPLES)
FILES = {
    "Label": [("name", "STRING", 1), ("value", "STRING", 2)],
    "Sample": [("value", "DOUBLE", 1), ("timestamp", "INT64", 2)],
    "TimeSeries": [("labels", "Label", 1), ("samples", "Sample", 2)],
    "WriteRequest": [("timeseries", "TimeSeries", 1)],
}
"""The messages of prometheus.proto that remote write 1.0 has."""


def reading(tick: int, **values: Any) -> TickReading:
    nothing = dict.fromkeys(TickReading.__dataclass_fields__)
    return TickReading(**{**nothing, "tick": tick, **values})


@pytest.fixture(scope="module")
def write_request() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FILES.items():
        message = file.message_type.add(name=name)
        for field, kind, number in fields:
            repeated = kind in FILES
            entry = message.field.add(name=field, number=number)
            entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            entry.type = kinds.TYPE_MESSAGE if repeated else getattr(kinds, f"TYPE_{kind}")
            if repeated:
                entry.type_name = f".prometheus.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


def bits(value: float) -> bytes:
    """A value as it is sent: NaN is equal to itself."""
    return struct.pack("<d", value)


@given(series=st.lists(SERIES, max_size=5))
def test_protobuf_s_own_library_reads_what_was_encoded(write_request: Any, series: list[Series]) -> None:
    content = compress_request(encode_request(series))
    parsed = write_request.FromString(bytes(cramjam.snappy.decompress_raw(content)))
    assert len(parsed.timeseries) == len(series)
    for each, sent in zip(parsed.timeseries, series, strict=True):
        assert [(label.name, label.value) for label in each.labels] == sorted(sent.labels.items())
        read = [(sample.timestamp, bits(sample.value)) for sample in each.samples]
        assert read == [(time_ms, bits(value)) for time_ms, value in sent.samples]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (-1, b"\xff" * 9 + b"\x01")],
)
def test_numbers_are_encoded_as_protobuf_s_documentation_says(value: int, encoded: bytes) -> None:
    assert encode_varint(value) == encoded


def test_a_reading_has_a_sample_of_each_quantity_in_seconds_at_the_time_of_its_tick() -> None:
    full = reading(
        100, offset_ns=-250, window_ns=600, reads=5, read_errors=0, device_bound_ns=40, chrony_offset_ns=9,
        chrony_bound_ns=1500, follows_phc=True, opinion_ns=None,
    )  # fmt: skip
    made = {each.labels["__name__"]: each for each in make_series("lab.phc", 200_000_000, [full])}
    values = {name.removeprefix(f"{PREFIX}_"): series.samples for name, series in made.items()}
    assert values == {
        "offset_seconds": [(20_000, -250e-9)],
        "offset_uncertainty_seconds": [(20_000, 300e-9)],
        "reads": [(20_000, 5.0)],
        "read_errors": [(20_000, 0.0)],
        "device_bound_seconds": [(20_000, 40e-9)],
        "chrony_offset_seconds": [(20_000, 9e-9)],
        "chrony_bound_seconds": [(20_000, 1.5e-6)],
        "follows_phc": [(20_000, 1.0)],
    }
    assert {*values} | {"opinion_seconds"} == {*MEANINGS}
    assert all({*each.labels} == {"__name__", "stream"} for each in made.values())


@given(ticks=st.lists(st.integers(0, 10**10), unique=True, max_size=50), observed=st.booleans())
def test_samples_are_in_the_order_of_time_and_what_was_not_observed_has_none(ticks: list[int], observed: bool) -> None:
    made = make_series("a", 10**9, [reading(tick, offset_ns=tick if observed else None) for tick in ticks])
    assert len(made) == (1 if observed and ticks else 0)
    for series in made:
        assert [time_ms for time_ms, _ in series.samples] == [tick * 1000 for tick in sorted(ticks)]
        assert all(math.isfinite(value) for _, value in series.samples)
