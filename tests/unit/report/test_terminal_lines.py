"""Lines for a terminal: no wider than it, and without anything that a host could steer it by."""

from hypothesis import given
from hypothesis import strategies as st

from harness.report.terminal_lines import Piece, Style, clip_line, format_lines, pack_parts, plain_name

PIECES = st.lists(st.builds(Piece, st.text("ab ", max_size=30), st.sampled_from(Style)), max_size=6)


def text_of(line: tuple[Piece, ...]) -> str:
    return "".join(piece.text for piece in line)


@given(PIECES, st.integers(1, 60))
def test_a_clipped_line_is_the_beginning_of_the_line(pieces: list[Piece], width: int) -> None:
    assert text_of(clip_line(tuple(pieces), width)) == text_of(tuple(pieces))[:width]


def test_parts_are_packed_in_their_order() -> None:
    parts = [Piece("offset 1 ns"), Piece("bound 2 ns"), Piece("source PHC0")]
    assert [text_of(line) for line in pack_parts(parts, 80)] == ["offset 1 ns   bound 2 ns   source PHC0"]
    assert [text_of(line) for line in pack_parts(parts, 24)] == ["offset 1 ns   bound 2 ns", "source PHC0"]
    assert [text_of(line) for line in pack_parts(parts, 23)] == ["offset 1 ns", "bound 2 ns", "source PHC0"]
    assert [text_of(line) for line in pack_parts(parts, 6)] == ["offset", "bound ", "source"]
    assert pack_parts([], 10) == []


def test_colours_are_written_only_if_they_are_asked_for() -> None:
    line = (Piece("a "), Piece("b", Style.ALERT), Piece("  ", Style.OFFSET))
    assert format_lines([line], colour=False) == ["a b"]
    assert format_lines([line], colour=True) == ["a \x1b[1;31mb\x1b[0m"]


def test_a_name_of_a_host_s_becomes_ascii() -> None:
    assert plain_name("PHC0") == "PHC0"
    assert plain_name("\x1b[2J\u202e") == "\\x1b[2J\\u202e"
    assert plain_name("時計") == "\\u6642\\u8a08"
    assert plain_name("a\u0301\n\t\x7f") == "a\\u0301\\x0a\\x09\\x7f"


@given(st.text(), st.integers(1, 50))
def test_a_name_takes_at_most_its_columns_and_is_printable(text: str, most: int) -> None:
    name = plain_name(text, most)
    assert len(name) <= max(most, 2)
    assert name.isascii()
    assert name.isprintable()
