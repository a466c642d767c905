"""Draw the plots of clocks from plain numbers: values over time, a histogram, curves, and quantiles by type."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.html import axes
from harness.report.html.axes import Axis
from harness.report.html.drawing import (
    BELOW,
    LEFT,
    RIGHT,
    WIDTH,
    Key,
    Point,
    Shape,
    Spot,
    anchored,
    area,
    grid,
    in_tenths,
    label,
    legend,
    line,
    mark,
    outline,
    svg,
)
from harness.report.html.markup import Markup

_HEIGHT = 190
_MOST_ROWS_BELOW = 15
"""With more rows, the labels of the axis stand above them, too."""

_TITLE = 26
"""Room above a panel for the title of its vertical axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A quantity over time by the extremes of each column; None: nothing was seen. `mirrored`: drawn as + and -."""

    name: str
    class_: str
    least: Sequence[float | None]
    greatest: Sequence[float | None]
    mirrored: bool = False

    @property
    def values(self) -> list[float]:
        """All extremes that are drawn."""
        seen = axes.known([*self.least, *self.greatest])
        return seen + [-value for value in seen] if self.mirrored else seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel of a plot over time; the first is at the top. Its bands share an axis."""

    title: str
    bands: tuple[Band, ...]
    height: int
    from_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named curve of a plot with logarithmic axes. Points with a coordinate that is not above 0 are left out."""

    name: str
    class_: str
    points: Sequence[tuple[float, float | None]]
    dashes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A named area between two curves: at each x a lower and an upper value. `upper` None: the point is left out."""

    name: str
    class_: str
    points: Sequence[tuple[float, float | None, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A host of the comparison: a value for each mark; None: not observed."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGroup:
    """The hosts of a type in the comparison."""

    name: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """The name of a plot of a host, and its finding in one or two sentences."""

    name: str
    finding: str
    host: str | None = None

    @property
    def whole(self) -> str:
        """The name with that of the host."""
        return self.name if self.host is None else f"{self.host}: {self.name}"


def over_time(title: Title, panels: Sequence[Panel], *, column_s: float, settling_s: float = 0.0) -> Markup:
    """Draw panels with one axis of time; the first `settling_s` are shaded."""
    count = max((len(band.least) for panel in panels for band in panel.bands), default=0)
    width_s = axes.finite(column_s)
    width_s = width_s if width_s is not None and width_s > 0 else 1.0
    x = axes.elapsed(max(count, 1) * width_s, LEFT, WIDTH - RIGHT)
    keys = [Key(name=band.name, class_=band.class_, shape=Shape.AREA) for panel in panels for band in panel.bands]
    keys = list({key.name: key for key in keys}.values())
    settling = min(max(axes.finite(settling_s) or 0.0, 0.0), x.high)
    if settling:
        keys.append(Key(name="settling", class_="muted", shape=Shape.AREA))
    drawn, height = legend(keys)
    body = [drawn]
    for number, panel in enumerate(panels):
        top = height + _TITLE
        values = [value for band in panel.bands for value in band.values] + ([0.0] if panel.from_zero else [])
        y = axes.nanoseconds(values, top + panel.height, top, steps=max(2, panel.height // 24))
        if settling:
            body.append(
                f'<rect class="muted" x="{LEFT}" y="{top:.0f}" width="{x.place(settling) - LEFT:.1f}" '
                f'height="{panel.height}" fill="currentColor" fill-opacity=".15"/>'
            )
        last = number == len(panels) - 1
        body.append(
            grid(x, y, x_title=f"time since the first sample ({x.unit})" if last else "",
                 y_title=f"{panel.title} ({y.unit})")
        )  # fmt: skip
        body += [_draw_band(band, x, y, width_s) for band in panel.bands]
        height = top + panel.height + (BELOW if last else 6)
    return svg(title.whole, title.finding, height, body)


def histogram(title: Title, *, low: float, width: float, counts: Sequence[float], x_title: str) -> Markup:
    """Draw the counts of values in bins of `width` nanoseconds from `low` on."""
    first, size = axes.finite(low) or 0.0, axes.finite(width)
    size = size if size is not None and size > 0 else 1.0
    heights = [max(axes.finite(count) or 0.0, 0.0) for count in counts]
    top = _TITLE + 4
    x = axes.nanoseconds([first, first + size * max(len(heights), 1)], LEFT, WIDTH - RIGHT)
    y = axes.linear([0.0, *heights], top + _HEIGHT, top, steps=4)
    edges = [round(10 * x.place(first + number * size)) for number in range(len(heights) + 1)]
    bars = "".join(
        f"M{edges[number]} {round(10 * y.start)}V{round(10 * y.place(value))}H{edges[number + 1]}V{round(10 * y.start)}"
        for number, value in enumerate(heights)
        if value > 0
    )
    zero = ""
    if x.low < 0 < x.high:
        zero = f'<path d="M{x.place(0):.1f} {y.end:.1f}V{y.start:.1f}" stroke="currentColor" stroke-dasharray="3 3"/>'
    return svg(
        title.whole,
        title.finding,
        top + _HEIGHT + BELOW,
        [grid(x, y, x_title=f"{x_title} ({x.unit})", y_title="readings"), area(bars, "offset"), zero],
    )


def log_log(
    title: Title, curves: Sequence[Curve], intervals: Sequence[Interval] = (), *, x_title: str, y_title: str
) -> Markup:
    """Draw curves over an averaging time in seconds, both axes logarithmic. Values in nanoseconds.

    What has no value above 0 at a point is not drawn there; a lower end of an interval that is 0 lies on the axis.
    """
    lines = [(curve, _positive(curve.points)) for curve in curves]
    areas = [(interval, _bounded(interval.points)) for interval in intervals]
    xs = [x for _, points in lines for x, _ in points] + [x for _, points in areas for x, _, _ in points]
    ys = [y for _, points in lines for _, y in points]
    ys += [y for _, points in areas for _, *pair in points for y in pair if y > 0]
    keys = [Key(name=curve.name, class_=curve.class_, dashes=curve.dashes) for curve, points in lines if points]
    keys += [Key(name=interval.name, class_=interval.class_, shape=Shape.AREA) for interval, points in areas if points]
    drawn, height = legend(keys)
    top = height + _TITLE
    x = axes.logarithmic(xs, LEFT, WIDTH - RIGHT, label=axes.seconds_label)
    y = axes.logarithmic(ys, top + _HEIGHT, top)
    body = [drawn, grid(x, y, x_title=x_title, y_title=y_title)]
    for interval, points in areas:
        upper = [(x.place(tau), y.place(high)) for tau, _, high in points]
        lower = [(x.place(tau), y.place(low) if low > 0 else y.start) for tau, low, _ in points]
        body.append(area(outline(in_tenths(upper), in_tenths(lower)), interval.class_, opacity=".2", edge=False))
    for curve, positive in lines:
        body.append(line([(x.place(tau), y.place(value)) for tau, value in positive], curve.class_, curve.dashes))
    return svg(title.whole, title.finding, top + _HEIGHT + BELOW, body)


def quantiles_by_type(
    title: Title, keys: Sequence[Key], groups: Sequence[HostGroup], *, spread: Key, spread_of: int, x_title: str
) -> Markup:
    """Draw a line for each host with its marks on a logarithmic axis of nanoseconds, the hosts of a type together.

    Where a type has several hosts, its name stands above them, and the area `spread` from the least to the greatest of
    their marks with the number `spread_of` behind them.
    """
    start, step = 140, 18
    lines = [(group, row) for group in groups for row in ((None, *group.rows) if len(group.rows) > 1 else group.rows)]
    drawn, height = legend([*keys, spread] if len(lines) > len(groups) else keys)
    top = height + (8 if len(lines) <= _MOST_ROWS_BELOW else _TITLE)
    bottom = top + step * len(lines) + 4
    x = axes.logarithmic(
        [value for group in groups for row in group.rows for value in axes.known(row.values)], start, WIDTH - RIGHT - 8
    )
    y = Axis(low=0.0, high=1.0, start=bottom, end=top, ticks=())
    body = [drawn, grid(x, y, x_title=x_title, y_title="")]
    if len(lines) > _MOST_ROWS_BELOW:
        body.append(anchored("middle", (label(x.place(value), top - 6, text) for value, text in x.ticks)))
    for number, (group, row) in enumerate(lines):
        middle = top + step * (number + 0.5) + 2
        if row is None:
            body.append(label(2, middle + 4, shorten(f"{group.name}, {len(group.rows)} hosts", 64), title=group.name))
            body.append(_draw_spread(group, spread, spread_of, x, middle + step / 2, step * len(group.rows)))
        else:
            name = group.name if len(group.rows) == 1 else row.name
            body.append(label(start - 6, middle + 4, shorten(name), "end", title=row.name))
            body += _draw_marks(row, keys, x, middle)
    return svg(title.whole, title.finding, bottom + BELOW, body)


def _draw_spread(group: HostGroup, key: Key, place: int, x: Axis, top: float, height: float) -> str:
    """Draw how far the hosts of a type are apart, behind their rows."""
    values = [value for value in axes.known(row.values[place] for row in group.rows) if value > 0]
    if len(values) < 2:
        return ""
    left, right = x.place(min(values)), x.place(max(values))
    return (
        f'<rect class="{key.class_}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.0f}" '
        'fill="currentColor" fill-opacity=".15"/>'
    )


def _draw_marks(row: Row, keys: Sequence[Key], x: Axis, middle: float) -> list[str]:
    places = [
        (key, x.place(value))
        for key, value in zip(keys, map(axes.finite, row.values), strict=True)
        if value is not None and value > 0
    ]
    if not places:
        return []
    ends = [place for _, place in places]
    line_ = f'<path d="M{min(ends):.1f} {middle}H{max(ends):.1f}" stroke="currentColor" stroke-opacity=".35"/>'
    return [line_, *(mark(key, place, middle) for key, place in places)]


def shorten(name: str, most: int = 22) -> str:
    """Shorten a name in its middle: hosts of one type differ at the end of their names."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}\N{HORIZONTAL ELLIPSIS}{name[-(most // 2) :]}"


def _draw_band(band: Band, x: Axis, y: Axis, column_s: float) -> str:
    """Draw the extremes of each column as an area; columns in which nothing was seen are left empty.

    The units of the path are a column and a quarter of a unit of the plot: most steps are then two digits.
    """
    paths: list[str] = []
    for sign in (1, -1) if band.mirrored else (1,):
        upper: list[Spot] = []
        lower: list[Spot] = []
        for column, pair in enumerate(zip(band.least, band.greatest, strict=False)):
            low, high = map(axes.finite, pair)
            if low is None or high is None:
                paths.append(outline(upper, lower))
                upper, lower = [], []
                continue
            upper.append((column, round(4 * y.place(sign * high))))
            lower.append((column, round(4 * y.place(sign * low))))
        paths.append(outline(upper, lower))
    width = (x.end - x.start) * column_s / x.high
    transform = f"translate({x.start + width / 2:.2f} 0) scale({width:.5f} .25)"
    return area("".join(paths), band.class_, transform=transform)


def _positive(points: Sequence[tuple[float, float | None]]) -> list[Point]:
    pairs = [(axes.finite(x), axes.finite(y)) for x, y in points]
    return [(x, y) for x, y in pairs if x is not None and y is not None and x > _LEAST and y > _LEAST]


def _bounded(points: Sequence[tuple[float, float | None, float | None]]) -> list[tuple[float, float, float]]:
    triples = [tuple(map(axes.finite, point)) for point in points]
    return [
        (x, low if low > _LEAST else 0.0, high)
        for x, low, high in triples
        if x is not None and low is not None and high is not None and x > _LEAST and high > _LEAST
    ]


_LEAST = 1e-12
"""Values from here on are shown on a logarithmic axis: smaller ones are no measurements."""
