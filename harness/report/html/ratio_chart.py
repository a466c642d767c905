"""Draw how many times the earlier value each figure is now, before the band in which chance alone could have put it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.report.html import axes
from harness.report.html.axes import Axis
from harness.report.html.charts import Title, shorten
from harness.report.html.drawing import BELOW, RIGHT, WIDTH, Key, Shape, grid, label, legend, mark, svg
from harness.report.html.markup import Markup

WORSE = Key(name="worse", class_="fail", shape=Shape.BAR)
BETTER = Key(name="better", class_="pass", shape=Shape.BAR)
UNCHANGED = Key(name="not told from chance", class_="p99", shape=Shape.DOT)
_BAND = Key(name="what chance could make", class_="muted", shape=Shape.AREA)

_START, _STEP = 166, 18
_LONGEST_NAME = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioRow:
    """A figure: its ratio now to before, the smallest ratio that would have counted, and what it counts as."""

    name: str
    ratio: float
    visible_ratio: float
    key: Key


def choose_ratio_axis(rows: Iterable[RatioRow]) -> Axis:
    """Choose a logarithmic axis on which all rows and their bands have their places, and the ratio 1 has."""
    listed = [row for row in rows if axes.finite(row.visible_ratio)]
    values = [1.0, *(row.ratio for row in listed), *(row.visible_ratio for row in listed)]
    values += [1 / row.visible_ratio for row in listed]
    return axes.logarithmic(axes.known(values), _START, WIDTH - RIGHT - 8, label=lambda value: f"x{value:.10g}")


def draw_ratios(title: Title, rows: Sequence[RatioRow], x: Axis) -> Markup:
    """Draw a line for each figure with its mark, and the band around the ratio 1."""
    keys = list({row.key.name: row.key for row in rows}.values())
    drawn, height = legend([*keys, _BAND])
    top = height + 8
    bottom = top + _STEP * len(rows) + 4
    y = Axis(low=0.0, high=1.0, start=bottom, end=top, ticks=())
    body = [drawn, grid(x, y, x_title="now against before: further right is worse", y_title="")]
    body += [_draw_band(row, x, top + 2 + _STEP * number) for number, row in enumerate(rows)]
    equal = x.place(1.0)
    body.append(f'<path d="M{equal:.1f} {top:.1f}V{bottom:.1f}" stroke="currentColor" stroke-dasharray="3 3"/>')
    for number, row in enumerate(rows):
        middle = top + 2 + _STEP * (number + 0.5)
        body.append(label(_START - 6, middle + 4, shorten(row.name, _LONGEST_NAME), "end", title=row.name))
        ratio = axes.finite(row.ratio)
        if ratio is not None and ratio > 0:
            body.append(mark(row.key, x.place(ratio), middle))
    return svg(title.whole, title.finding, bottom + BELOW, body)


def _draw_band(row: RatioRow, x: Axis, top: float) -> str:
    visible = axes.finite(row.visible_ratio)
    if visible is None or visible <= 1:
        return ""
    left, right = x.place(1 / visible), x.place(visible)
    return (
        f'<rect class="{_BAND.class_}" x="{left:.1f}" y="{top + 2:.1f}" width="{right - left:.1f}" '
        f'height="{_STEP - 4}" fill="currentColor" fill-opacity=".2"/>'
    )
