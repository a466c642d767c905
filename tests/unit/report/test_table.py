"""Columns of text."""

from harness.report import table


def test_columns_are_as_wide_as_their_longest_cell_and_lines_end_without_spaces() -> None:
    assert table.align_rows([("A", "LONG", "B"), ("aaa", "b", "")]) == ["A    LONG  B", "aaa  b"]
    assert table.column_sizes([("a", "bb"), ("ccc", "")]) == [3, 2]


def test_a_long_text_is_wrapped_below_itself() -> None:
    lines = table.wrap_row(("x",), ["word " * 12, "end"], [2], 44)
    assert lines == [f"x   {'word ' * 8}".rstrip(), f"    {'word ' * 4}".rstrip(), "    end"]
