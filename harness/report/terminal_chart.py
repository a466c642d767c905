"""Draw the offset of a clock and chrony's bound over time as a chart made of characters."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import units
from harness.analysis.clock_history import ClockHistory, SlotSpan
from harness.report.terminal_lines import Line, Piece, Style, clip_line

FIXED_ROWS = 4
"""Rows of a chart beside its plots: two captions, the time axis and its labels."""
LEAST_ROWS = FIXED_ROWS + 4

_LEAST_PLOT = 8
_STEPS = 8
_MOST_BAR_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters of a chart. A cell has `across` times `down` dots; `cell` makes its character of them.

    `cell` gets a number with the bit `x * down + y` for each dot, from the upper left; there is at least one dot.
    `bars`: parts of a full cell, the least first.
    """

    across: int
    down: int
    cell: Callable[[int], str]
    bars: str
    side: str
    tick: str
    corner: str
    floor: str


_BRAILLE_BITS = (0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80)
"""The bits of the dots in a column of Unicode's braille patterns, U+2800 and following: left from above, then right."""


def _make_braille(dots: int) -> str:
    return chr(0x2800 + sum(bit for number, bit in enumerate(_BRAILLE_BITS) if dots >> number & 1))


def _make_ascii(dots: int) -> str:
    return " '.:"[dots]


UNICODE = Glyphs(across=2, down=4, cell=_make_braille, bars="▁▂▃▄▅▆▇█", side="│", tick="┤", corner="└", floor="─")
ASCII = Glyphs(across=1, down=2, cell=_make_ascii, bars=".:#", side="|", tick="+", corner="+", floor="-")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAxis:
    """The slots that a chart shows, from 0 on, and the seconds between two of them."""

    slots: int
    interval_s: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """The least and the greatest value of an axis, in nanoseconds; the second is the greater one."""

    low: int
    high: int

    def row(self, value: int, rows: int) -> int:
        """Find the row of a value, 0 being the upper one."""
        return ((self.high - value) * (rows - 1) * 2 + self.high - self.low) // (2 * (self.high - self.low))


def draw_chart(history: ClockHistory, axis: TimeAxis, *, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """Draw a chart of `width` columns and `height` rows, which are at least LEAST_ROWS.

    Above is the offset, as a line from the least to the greatest of each column; below is chrony's bound. Columns
    without a reading stay empty. The time axis marks with "!" where a reading refutes the bound, and with "?" where a
    slot has no reading.
    """
    bar_rows = min(_MOST_BAR_ROWS, max(1, (height - FIXED_ROWS) // 5))
    rows = height - FIXED_ROWS - bar_rows
    whole = history.sum_up(0, max(1, history.slots))
    least, greatest = whole.least_ns, whole.greatest_ns
    offsets = None if least is None or greatest is None else choose_scale(least, greatest)
    bounds = None if whole.bound_ns is None else _Scale(0, max(1, choose_scale(0, whole.bound_ns).high))
    labels = {**_label_offsets(offsets, rows), **{rows + row: text for row, text in _label_bounds(bounds).items()}}
    size = max(map(len, labels.values()), default=0)
    if width - size - 2 < _LEAST_PLOT:
        labels, size = {}, 0
    plot_width = max(1, width - size - (2 if size else 1))
    columns = _sum_up_columns(history, axis, plot_width * glyphs.across)
    cells = [_join(columns[at : at + glyphs.across]) for at in range(0, len(columns), glyphs.across)]
    plots = [
        *((text, Style.OFFSET) for text in _draw_line(columns, offsets, rows, glyphs)),
        *((text, Style.BOUND) for text in _draw_bars(cells, bounds, bar_rows, glyphs)),
    ]
    lines = [_add_label(text, style, labels.get(row), size, glyphs) for row, (text, style) in enumerate(plots)]
    margin = " " * (size + 1 if size else 0)
    chart = [
        (Piece("system clock minus PHC" + _describe(offsets, shown=bool(size)), Style.FAINT),),
        *lines[:rows],
        (Piece("chrony's bound" + _describe(bounds, shown=bool(size)), Style.FAINT),),
        *lines[rows:],
        (Piece(margin + glyphs.corner, Style.FAINT), *_mark_floor(cells, glyphs)),
        (Piece(f"{margin} {_label_times(axis, plot_width)}", Style.FAINT),),
    ]
    return [clip_line(line, width) for line in chart]


def choose_scale(least: int, greatest: int) -> _Scale:
    """Choose round limits around values, which three digits can write."""
    step = _find_round((greatest - least) / _STEPS)
    step = max(step, 10 ** max(0, len(str(max(abs(least), abs(greatest)))) - 3))
    low, high = least // step * step, -(-greatest // step) * step
    return _Scale(low, high) if low < high else _Scale(low - step, high + step)


def choose_axis(slots: int, expected: int, interval_s: float) -> TimeAxis:
    """Choose how many slots a chart shows while it grows: a round time that holds all, at most what is expected."""
    for seconds in (60, 120, 300, 600, 1200, 1800):
        if slots * interval_s <= seconds:
            return TimeAxis(slots=_limit_slots(round(seconds / interval_s), slots, expected), interval_s=interval_s)
    hours = 1
    while slots * interval_s > hours * 3600:
        hours *= 2
    return TimeAxis(slots=_limit_slots(round(hours * 3600 / interval_s), slots, expected), interval_s=interval_s)


def _limit_slots(span: int, slots: int, expected: int) -> int:
    return max(1, slots, min(span, expected))


def _find_round(value: float) -> int:
    """Find the least of 1, 2, 5, 10, 20, ... that is not below a value."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10


def _label_offsets(scale: _Scale | None, rows: int) -> dict[int, str]:
    if scale is None:
        return {}
    labels = {row: units.signed_ns(end) if end else "0 ns" for row, end in ((0, scale.high), (rows - 1, scale.low))}
    if scale.low < 0 < scale.high and 0 < (row := scale.row(0, rows)) < rows - 1:
        labels[row] = "0 ns"
    return labels


def _label_bounds(scale: _Scale | None) -> dict[int, str]:
    return {} if scale is None else {0: units.ns(scale.high)}


def _describe(scale: _Scale | None, *, shown: bool) -> str:
    """Complete a caption: by the limits of the scale where the plot has no labels."""
    if scale is None:
        return ": not observed"
    return "" if shown else f", {units.ns(scale.low)} to {units.ns(scale.high)}"


def _sum_up_columns(history: ClockHistory, axis: TimeAxis, columns: int) -> list[SlotSpan]:
    """Sum up the slots of each column. A slot that is wider than a column is in each of its columns."""
    starts = [column * axis.slots // columns for column in range(columns + 1)]
    return [
        history.sum_up(start, max(start + 1, end)) if start < history.slots else SlotSpan()
        for start, end in itertools.pairwise(starts)
    ]


def _join(columns: Sequence[SlotSpan]) -> SlotSpan:
    joined = SlotSpan()
    for column in columns:
        joined.add(column)
    return joined


def _draw_line(columns: Sequence[SlotSpan], scale: _Scale | None, rows: int, glyphs: Glyphs) -> list[str]:
    """Draw the extremes of each column as a line, which ends where a column has none."""
    grid = [[0] * (len(columns) // glyphs.across) for _ in range(rows)]
    before: tuple[int, int] | None = None
    for x, column in enumerate(columns):
        if scale is None or column.least_ns is None or column.greatest_ns is None:
            before = None
            continue
        upper, lower = (scale.row(value, rows * glyphs.down) for value in (column.greatest_ns, column.least_ns))
        top, bottom = upper, lower
        if before is not None:
            top, bottom = min(upper, before[1]), max(lower, before[0])
        before = upper, lower
        for y in range(top, bottom + 1):
            grid[y // glyphs.down][x // glyphs.across] |= 1 << (x % glyphs.across * glyphs.down + y % glyphs.down)
    return ["".join(glyphs.cell(dots) if dots else " " for dots in row) for row in grid]


def _draw_bars(cells: Sequence[SlotSpan], scale: _Scale | None, rows: int, glyphs: Glyphs) -> list[str]:
    """Draw the greatest bound of each cell as a bar; the least bound still shows."""
    parts = len(glyphs.bars)
    levels = [
        0 if scale is None or cell.bound_ns is None else max(1, -(-max(0, cell.bound_ns) * rows * parts // scale.high))
        for cell in cells
    ]
    return [
        "".join(glyphs.bars[min(level - below, parts) - 1] if level > below else " " for level in levels)
        for below in range((rows - 1) * parts, -1, -parts)
    ]


def _add_label(text: str, style: Style, label: str | None, size: int, glyphs: Glyphs) -> Line:
    side = glyphs.side if label is None else glyphs.tick
    margin = f"{label or '':>{size}} " if size else ""
    return (Piece(margin + side, Style.FAINT), Piece(text, style))


def _mark_floor(cells: Sequence[SlotSpan], glyphs: Glyphs) -> list[Piece]:
    """Draw the time axis with its marks."""
    pieces: list[Piece] = []
    for cell in cells:
        mark = "!" if cell.refuted else "?" if cell.missing else glyphs.floor
        style = Style.FAINT if mark == glyphs.floor else Style.ALERT
        if pieces and pieces[-1].style is style:
            pieces[-1] = Piece(pieces[-1].text + mark, style)
        else:
            pieces.append(Piece(mark, style))
    return pieces


def _label_times(axis: TimeAxis, width: int) -> str:
    """Write the beginning, the middle and the end of the axis, as far as there is room."""
    seconds = axis.slots * axis.interval_s
    end = _format_time(seconds)
    text = f"0 s{end:>{width - 3}}" if width >= len(end) + 4 else end
    middle = _format_time(seconds / 2)
    at = width // 2 - len(middle) // 2
    if at > 4 and at + len(middle) + 1 < width - len(end):
        text = text[:at] + middle + text[at + len(middle) :]
    return text


def _format_time(seconds: float) -> str:
    return units.duration(seconds) if seconds >= 10 else f"{seconds:g} s"
