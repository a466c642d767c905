"""Quantities for people."""

import pytest

from harness import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ns"),
        (84, "84 ns"),
        (-84, "-84 ns"),
        (999, "999 ns"),
        (1_000, "1 us"),
        (27_900, "27.9 us"),
        (1_234_567, "1.23 ms"),
        (999_499, "999 us"),
        (999_999, "1 ms"),
        (3_400_000_000, "3.4 s"),
        (37_000_000_000, "37 s"),
        (12_345_000_000_000, "12345 s"),
    ],
)
def test_nanoseconds(value: float, text: str) -> None:
    assert units.ns(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.98765, "ratio", "98.77 %"),
        (1.0, "ratio", "100.00 %"),
        (999, "ppb", "999 ppb"),
        (50_000, "ppb", "50 ppm"),
        (-1_500, "ppb", "-1.5 ppm"),
        (3.25, "s", "3.25 s"),
        (120.0, "s", "120 s"),
        (25_000, "ns", "25 us"),
    ],
)
def test_with_unit(value: float, unit: str, text: str) -> None:
    assert units.with_unit(value, unit) == text


def test_a_moment_is_written_in_utc_to_the_second() -> None:
    assert units.utc(1_795_262_700_999_999_999) == "2026-11-21T12:05:00+00:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (272.3, "4 min 32 s"),
        (3600, "1 h"),
        (11_100, "3 h 5 min"),
        (3_659, "1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0, "+0 ns"), (27_900, "+27.9 us"), (-1_200_000, "-1.2 ms")])
def test_signed_nanoseconds(value: float, text: str) -> None:
    assert units.signed_ns(value) == text
