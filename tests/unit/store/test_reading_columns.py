"""Readings come back from memory and from columns as they were, and nothing else is taken for readings."""

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.watched import TickReading
from harness.store import reading_columns
from harness.store.reading_columns import MOST_READINGS, ReadingRows

NUMBER = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-5_000, 5_000)


def a_reading(tick: int, **changes: object) -> TickReading:
    values: dict[str, object] = {
        "offset_ns": -84 + tick % 7,
        "window_ns": 4_000,
        "reads": 5,
        "read_errors": 0,
        "device_bound_ns": 20_000,
        "chrony_offset_ns": 12,
        "chrony_bound_ns": 6_300 + tick % 13,
        "follows_phc": True,
        "opinion_ns": None,
    }
    return TickReading(tick=tick, **{**values, **changes})  # type: ignore[arg-type]


@st.composite
def readings(draw: st.DrawFn) -> list[TickReading]:
    ticks = sorted(draw(st.sets(st.integers(-(2**60), 2**60) | st.integers(1_795_233_824, 1_795_233_900), max_size=40)))
    names = ("offset_ns", "window_ns", "reads", "read_errors", "device_bound_ns", "chrony_offset_ns", "chrony_bound_ns")
    return [
        TickReading(
            tick=tick,
            **{name: draw(NUMBER) for name in names},
            follows_phc=draw(st.none() | st.booleans()),
            opinion_ns=draw(NUMBER),
        )
        for tick in ticks
    ]


@given(readings())
def test_readings_come_back_as_they_were(taken: list[TickReading]) -> None:
    rows = ReadingRows(taken)
    assert [*rows] == taken
    assert (len(rows), rows.first_tick, rows.last_tick) == (
        len(taken),
        taken[0].tick if taken else None,
        taken[-1].tick if taken else None,
    )
    assert reading_columns.decode(rows.encode()) == taken
    again = ReadingRows(packed=bytes(rows))
    assert ([*again], again.last_tick) == (taken, rows.last_tick)


@given(readings(), st.data())
def test_a_text_that_is_changed_or_cut_is_refused_unless_that_changes_nothing(
    taken: list[TickReading], data: st.DataObject
) -> None:
    """A few bits of a compressed text are padding: they may be anything."""
    text = bytearray(ReadingRows(taken).encode())
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text) - 1))]
    else:
        text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(ValueError):
        assert reading_columns.decode(bytes(text)) == taken


@given(st.binary(max_size=200))
def test_any_text_is_refused_in_one_way(text: bytes) -> None:
    with pytest.raises(ValueError, match="readings"):
        reading_columns.decode(text)


def test_a_text_that_would_fill_the_memory_is_not_inflated() -> None:
    bomb = b"\x01" + (4096).to_bytes(4, "little") + zlib.compress(bytes(100_000_000))
    with pytest.raises(ValueError, match="damaged"):
        reading_columns.decode(bomb)


def test_ticks_grow_and_numbers_have_64_bits() -> None:
    rows = ReadingRows([a_reading(7)])
    for reading in (a_reading(7), a_reading(6)):
        with pytest.raises(ValueError, match="ticks grow"):
            rows.append(reading)
    with pytest.raises(ValueError, match="64 bits"):
        rows.append(a_reading(8, offset_ns=2**63))
    assert len(rows) == 1
    with pytest.raises(ValueError, match="too many"):
        ReadingRows(a_reading(tick) for tick in range(MOST_READINGS + 1)).encode()


def test_a_minute_of_a_good_clock_takes_less_than_two_kilobytes() -> None:
    rows = ReadingRows(a_reading(1_795_233_824 + tick) for tick in range(60))
    assert len(rows.encode()) < 2048
    assert len(bytes(rows)) < 5000
