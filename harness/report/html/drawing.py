"""Draw the parts of a plot as SVG: frame, grid, legend, lines and areas. Colours are `currentColor` by class."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from harness.report.html.axes import Axis
from harness.report.html.markup import Markup, escape

WIDTH = 440
LEFT, RIGHT = 54, 12
BELOW = 34
"""Room below a panel for the labels of its ticks and the title of its axis."""

_LINE = 16
_LETTER, _CAPITAL = 5.4, 7.6
"""The height of a line of text, and the usual widths of its characters."""

Point = tuple[float, float]


class Shape(Enum):
    """What a legend shows beside a name."""

    LINE = "line"
    AREA = "area"
    DOT = "dot"
    BAR = "bar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An entry of a legend in the colour of `class_`; `dashes` as in SVG."""

    name: str
    class_: str
    shape: Shape = Shape.LINE
    dashes: str | None = None


def svg(title: str, description: str, height: float, body: Iterable[str]) -> Markup:
    """Write a plot with a title and a description for those who do not see it."""
    return Markup(
        f'<svg role="img" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" font-size="11" '
        f'font-family="sans-serif" fill="currentColor"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{''.join(body)}</svg>"
    )


def legend(keys: Sequence[Key]) -> tuple[str, float]:
    """Write a legend in as many lines as it takes; return it and its height."""
    drawn, x, y = [], float(LEFT), 11.0
    for key in keys:
        size = 24 + sum(_CAPITAL if character.isupper() else _LETTER for character in key.name)
        if x > LEFT and x + size > WIDTH - RIGHT:
            x, y = float(LEFT), y + _LINE
        drawn.append(_draw_key(key, x, y - 4) + label(x + 24, y, key.name))
        x += size + 10
    return "".join(drawn), y + 5 if keys else 0.0


def label(x: float, y: float, text: str, anchor: str = "start", title: str | None = None) -> str:
    """Write a text, with a longer one that appears where a pointer rests on it."""
    whole = f"<title>{escape(title)}</title>" if title else ""
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.0f}" y="{y:.0f}"{side}>{escape(text)}{whole}</text>'


def grid(x: Axis, y: Axis, *, x_title: str, y_title: str) -> str:
    """Draw the lines and labels of both axes. The axis `y` grows upwards, so its `start` is the lower end."""
    left, right, top, bottom = x.start, x.end, y.end, y.start
    minor = "".join(
        [
            *(f"M{x.place(value):.1f} {top:.1f}V{bottom:.1f}" for value in x.minor),
            *(f"M{left} {y.place(value):.1f}H{right}" for value in y.minor),
        ]
    )
    major = "".join(
        [
            *(f"M{x.place(value):.1f} {top:.1f}V{bottom:.1f}" for value, _ in x.ticks),
            *(f"M{left} {y.place(value):.1f}H{right}" for value, _ in y.ticks),
        ]
    )
    names = [label(left - 5, y.place(value) + 4, text, "end") for value, text in y.ticks]
    names += [label(x.place(value), bottom + 14, text, "middle") for value, text in x.ticks] if x_title else []
    titles = [label(2, top - 11, y_title)] if y_title else []
    titles += [label((left + right) / 2, bottom + 29, x_title, "middle")] if x_title else []
    return (
        (f'<path d="{minor}" stroke="currentColor" stroke-opacity=".07"/>' if minor else "")
        + f'<path d="{major}" stroke="currentColor" stroke-opacity=".18"/>'
        + f'<path d="M{left} {top:.1f}V{bottom:.1f}H{right}" fill="none" stroke="currentColor" stroke-opacity=".6"/>'
        + "".join([*names, *titles])
    )


def line(points: Sequence[Point], class_: str, dashes: str | None = None) -> str:
    """Draw a line through points."""
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return _path(trace(points), class_, f'fill="none" stroke="currentColor" stroke-width="1.6"{pattern}')


def area(paths: str, class_: str, *, opacity: str = ".3", edge: bool = True) -> str:
    """Draw filled outlines that `outline` wrote, with an edge: an outline without extent shows as a line."""
    stroke = ' stroke="currentColor" stroke-width="1" stroke-linejoin="round" stroke-linecap="round"' if edge else ""
    return _path(paths, class_, f'fill="currentColor" fill-opacity="{opacity}"{stroke}')


def outline(upper: Sequence[Point], lower: Sequence[Point]) -> str:
    """Write the outline of an area between two lines with the same x."""
    return f"{trace([*upper, *reversed(lower)])}Z" if upper else ""


def trace(points: Sequence[Point]) -> str:
    """Write a line through points as path data, in tenths, each point relative to the one before."""
    if not points:
        return ""
    tenths = [(round(x * 10), round(y * 10)) for x, y in points]
    x0, y0 = tenths[0]
    steps = [f"M{x0 / 10:g} {y0 / 10:g}l"]
    for x, y in tenths[1:]:
        steps.append(f"{_tenth(x - x0)} {_tenth(y - y0)} ")
        x0, y0 = x, y
    return "".join(steps).rstrip() if len(steps) > 1 else f"{steps[0]}0 0"


@functools.cache
def _tenth(number: int) -> str:
    """Write tenths as a decimal number without the zero before its point."""
    text = f"{number / 10:g}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _path(data: str, class_: str, how: str) -> str:
    return f'<path class="{class_}" d="{data}" {how}/>' if data else ""


def mark(key: Key, x: float, y: float) -> str:
    """Draw the dot or the bar of a quantity with its middle at a place."""
    if key.shape is Shape.BAR:
        return f'<path class="{key.class_}" d="M{x:.1f} {y - 6:.1f}v12" stroke="currentColor" stroke-width="3"/>'
    return f'<circle class="{key.class_}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'


def _draw_key(key: Key, x: float, y: float) -> str:
    if key.shape in (Shape.DOT, Shape.BAR):
        return mark(key, x + 9, y)
    if key.shape is Shape.AREA:
        return (
            f'<rect class="{key.class_}" x="{x:.0f}" y="{y - 4:.0f}" width="18" height="8" fill="currentColor" '
            'fill-opacity=".4"/>'
        )
    pattern = f' stroke-dasharray="{key.dashes}"' if key.dashes else ""
    return f'<path class="{key.class_}" d="M{x:.0f} {y:.0f}h18" stroke="currentColor" stroke-width="2"{pattern}/>'
