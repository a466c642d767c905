"""Cursors name a place in a list and nothing else; times are moments or how long ago."""

import base64
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from harness.errors import RequestError
from harness.service.cursors import read_cursor, write_cursor
from harness.service.problems import ServiceError
from harness.service.times import parse_moment_ns


@given(
    some.integers(-(2**63) + 1, 2**63 - 1),
    some.text().filter(str.isprintable),
    some.none() | some.floats(allow_nan=False, allow_infinity=False),
)
def test_a_cursor_is_read_as_it_was_written(number: int, text: str, figure: float | None) -> None:
    cursor = write_cursor(number, text, figure)
    assert read_cursor(cursor, (int, str, (float, type(None)))) == [number, text, figure]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "a" * 7,
        write_cursor(1),
        write_cursor("1", "a"),
        write_cursor(2**63, "a"),
        write_cursor(True, "a"),
        base64.b64encode(b'{"0": 1}').decode(),
        base64.b64encode(b"[" * 100_000).decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        "é",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ServiceError, match="not one of this list") as caught:
        read_cursor(text, (int, str))
    assert caught.value.status == 400


@given(some.text(max_size=40))
def test_no_text_breaks_the_reading_of_a_cursor(text: str) -> None:
    with suppress(ServiceError):
        assert write_cursor(*read_cursor(text, (int, str)))


def test_a_time_is_a_moment_or_how_long_ago() -> None:
    assert parse_moment_ns("since", None) is None
    assert parse_moment_ns("since", "2026-11-21") == 1_795_219_200 * 10**9
    assert parse_moment_ns("since", "2026-11-21T01:00:00+01:00") == 1_795_219_200 * 10**9
    ago = parse_moment_ns("since", "1h")
    assert ago is not None
    assert abs(time.time() - 3600 - ago / 1e9) < 5


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "1e400h", "-1h"])
def test_what_is_no_time_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(RequestError, match=r"^since is "):
        parse_moment_ns("since", text)
