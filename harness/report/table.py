"""Lay out rows as lines of text with aligned columns, two spaces between them."""

import textwrap
from collections.abc import Iterable, Sequence

_GAP = "  "


def align_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows of equal length as lines."""
    sizes = column_sizes(rows)
    return [_cells(row, sizes).rstrip() for row in rows]


def column_sizes(rows: Sequence[Sequence[str]]) -> list[int]:
    """Compute the length of the longest cell of each column."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def wrap_row(cells: Iterable[str], texts: Iterable[str], sizes: list[int], width: int) -> list[str]:
    """Write cells of these sizes, then texts in the last column, wrapped to lines of `width` characters."""
    start = _cells(cells, sizes) + _GAP
    room = max(width - len(start), 40)
    wrapped = [line for text in texts for line in textwrap.wrap(text, room) or [""]] or [""]
    return [(start if number == 0 else " " * len(start)) + line for number, line in enumerate(wrapped)]


def _cells(cells: Iterable[str], sizes: list[int]) -> str:
    return _GAP.join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True))
