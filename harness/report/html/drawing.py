"""Draw the parts of a plot as SVG: frame, grid, legend, lines and areas. Colours are `currentColor` by class."""

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

TENTHS = "scale(.1)"

Point = tuple[float, float]
Spot = tuple[int, int]
"""A place in whole units of a path, which its transform makes units of the plot."""


class Shape(Enum):
    """The shape that stands beside a name in a legend."""

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
        'font-family="sans-serif" fill="currentColor" stroke-linejoin="round" stroke-linecap="round">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(body)}</svg>"
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
    minor = _rules(x, y, x.minor, y.minor)
    major = _rules(x, y, [value for value, _ in x.ticks], [value for value, _ in y.ticks])
    names = anchored("end", (label(left - 5, y.place(value) + 4, text) for value, text in y.ticks))
    if x_title:
        names += anchored("middle", (label(x.place(value), bottom + 14, text) for value, text in x.ticks))
    titles = [label(2, top - 11, y_title)] if y_title else []
    titles += [label((left + right) / 2, bottom + 29, x_title, "middle")] if x_title else []
    frame = f"M{left} {_short(top)}V{_short(bottom)}H{right}"
    return (
        (f'<path d="{minor}" stroke="currentColor" stroke-opacity=".07"/>' if minor else "")
        + f'<path d="{major}" stroke="currentColor" stroke-opacity=".18"/>'
        + f'<path d="{frame}" fill="none" stroke="currentColor" stroke-opacity=".6"/>'
        + names
        + "".join(titles)
    )


def _rules(x: Axis, y: Axis, across: Iterable[float], along: Iterable[float]) -> str:
    """Write the lines of a grid at values of both axes."""
    span = f"{_short(y.end)}V{_short(y.start)}"
    return "".join(
        [
            *(f"M{_short(x.place(value))} {span}" for value in across),
            *(f"M{x.start} {_short(y.place(value))}H{x.end}" for value in along),
        ]
    )


def anchored(anchor: str, labels: Iterable[str]) -> str:
    """Put labels together that are all anchored at their end, or at their middle."""
    return f'<g text-anchor="{anchor}">{"".join(labels)}</g>'


def line(points: Sequence[Point], class_: str, dashes: str | None = None) -> str:
    """Draw a line through points."""
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    how = f'fill="none" stroke="currentColor" stroke-width="1.7"{pattern}'
    return _path(trace(in_tenths(points)), class_, TENTHS, how)


def area(paths: str, class_: str, *, transform: str = TENTHS, opacity: str = ".3", edge: bool = True) -> str:
    """Draw filled outlines in the units of `transform`. With an edge an outline without extent shows as a line."""
    stroke = ' stroke="currentColor"' if edge else ""
    return _path(paths, class_, transform, f'fill="currentColor" fill-opacity="{opacity}"{stroke}')


def outline(upper: Sequence[Spot], lower: Sequence[Spot]) -> str:
    """Write the outline of an area between two lines with the same x."""
    return f"{trace([*upper, *reversed(lower)])}Z" if upper else ""


def in_tenths(points: Iterable[Point]) -> list[Spot]:
    """Round places to tenths of a unit, which TENTHS makes units again."""
    return [(round(x * 10), round(y * 10)) for x, y in points]


def trace(spots: Sequence[Spot]) -> str:
    """Write a line through places as path data, each relative to the one before; level parts are one step."""
    if not spots:
        return ""
    x0, y0 = spots[0]
    data, level = [f"M{x0} {y0}l"], 0
    for x, y in spots[1:]:
        dx, dy = x - x0, y - y0
        if dy == 0 and dx * level >= 0:
            level += dx
        else:
            data += [_step(level, 0) if level else "", _step(dx, dy) if dy else ""]
            level = 0 if dy else dx
        x0, y0 = x, y
    if level or len(data) == 1:
        data.append(_step(level, 0))
    return "".join(data).replace(" -", "-").replace("l ", "l")


def _step(dx: int, dy: int) -> str:
    return f" {dx} {dy}"


def _path(data: str, class_: str, transform: str, how: str) -> str:
    """Write a path whose lines are as wide as they say, whatever its transform is."""
    if not data:
        return ""
    return f'<path class="{class_}" transform="{transform}" vector-effect="non-scaling-stroke" d="{data}" {how}/>'


def _short(value: float) -> str:
    """Write a place in tenths, without a decimal that is 0."""
    return f"{round(value, 1):g}"


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
