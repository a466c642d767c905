"""The plots of the HTML page show the numbers that they are given, on axes with round ticks."""

import math
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.report.html import axes, values
from harness.report.html.axes import Axis
from harness.report.html.charts import (
    Band,
    Curve,
    HostGroup,
    Interval,
    Panel,
    Row,
    Title,
    histogram,
    log_log,
    over_time,
    quantiles_by_type,
    shorten,
)
from harness.report.html.drawing import Key, Shape, in_tenths, legend, outline, trace

TITLE = Title(name="a plot", finding="what it shows", host="a")
measured = st.floats(min_value=-1e18, max_value=1e18, allow_nan=False)


def labels(axis: Axis) -> list[str]:
    return [label for _, label in axis.ticks]


def paths(svg: str, class_: str) -> list[str]:
    """The data of the paths of a class."""
    return re.findall(rf'<path class="{class_}" transform="[^"]*" vector-effect="[^"]*" d="([^"]*)"', svg)


def places(path: str) -> list[tuple[float, float]]:
    """The absolute places of a path of relative lines."""
    found: list[tuple[float, float]] = []
    for part in filter(None, path.split("M")):
        start, _, rest = part.rstrip("Z").partition("l")
        x, y = map(float, start.replace("-", " -").split())
        found.append((x, y))
        numbers = [float(number) for number in rest.replace("-", " -").split()]
        for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
            x, y = x + dx, y + dy
            found.append((round(x, 6), round(y, 6)))
    return found


@pytest.mark.parametrize(
    ("given_values", "ticks", "unit"),
    [
        ([-73, 130], ["-100", "-50", "0", "50", "100", "150"], "ns"),
        ([0, 4_060], ["0", "1", "2", "3", "4", "5"], "us"),
        ([-2.5e6, 1e6], ["-3", "-2", "-1", "0", "1"], "ms"),
        ([5, 5], ["4.4", "4.6", "4.8", "5", "5.2", "5.4", "5.6"], "ns"),
        ([0, 0], ["-1", "-0.5", "0", "0.5", "1"], "ns"),
        ([], ["-1", "-0.5", "0", "0.5", "1"], "ns"),
        ([7e12], ["6000", "6500", "7000", "7500", "8000"], "s"),
    ],
)
def test_a_linear_axis_has_round_ticks_in_a_suitable_unit(
    given_values: list[float], ticks: list[str], unit: str
) -> None:
    axis = axes.nanoseconds(given_values, 100, 0)
    assert (labels(axis), axis.unit) == (ticks, unit)


@pytest.mark.parametrize(
    ("seconds", "ticks", "unit"),
    [
        (60, ["0", "10", "20", "30", "40", "50", "60"], "s"),
        (3600, ["0", "10", "20", "30", "40", "50", "60"], "min"),
        (86_400, ["0", "5", "10", "15", "20"], "h"),
        (864_000, ["0", "2", "4", "6", "8", "10"], "d"),
        (0, ["0", "0.2", "0.4", "0.6", "0.8", "1"], "s"),
    ],
)
def test_an_axis_of_time_has_the_units_of_a_clock(seconds: float, ticks: list[str], unit: str) -> None:
    axis = axes.elapsed(seconds, 0, 100)
    assert (labels(axis), axis.unit) == (ticks, unit)


@pytest.mark.parametrize(
    ("given_values", "ticks"),
    [
        ([3, 4_000], ["10 ns", "100 ns", "1 us"]),
        ([28, 404], ["20 ns", "50 ns", "100 ns", "200 ns", "500 ns"]),
        ([100], ["50 ns", "100 ns", "200 ns"]),
        ([0, -5], ["1 ns", "2 ns", "5 ns", "10 ns"]),
        ([1e-3, 1e15], ["0.001 ns", "1 ns", "1 us", "1 ms", "1 s", "1000 s", "1000000 s"]),
    ],
)
def test_a_logarithmic_axis_has_round_ticks(given_values: list[float], ticks: list[str]) -> None:
    assert labels(axes.logarithmic(given_values, 100, 0)) == ticks


@given(st.lists(measured))
@example([1e18, 1e18 + 1])
@example([5e-324])
def test_every_value_has_a_place_on_its_axis_in_order(listed: list[float]) -> None:
    listed = axes.known(listed)
    for axis in (axes.nanoseconds(listed, 200, 10), axes.linear(listed, 200, 10), axes.logarithmic(listed, 200, 10)):
        ordered = [axis.place(value) for value in sorted(listed) if not axis.logarithmic or value > 0]
        assert all(10 - 1e-6 <= place <= 200 + 1e-6 for place in ordered)
        assert ordered == sorted(ordered, reverse=True)
        assert 1 <= len(axis.ticks) <= 16
        assert axis.low < axis.high
        if not axis.logarithmic and listed:
            slack = max(map(abs, listed)) * 1e-8
            assert axis.low - slack <= min(listed)
            assert max(listed) <= axis.high + slack


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1e31, 10**400])
def test_what_is_no_number_has_no_value(value: float | None) -> None:
    assert axes.finite(value) is None
    assert (values.ns(value), values.seconds(value), values.ppb(value), values.percent(value)) == ("not observed",) * 4
    assert values.number(value) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (values.number(12345.6), "12346"),
        (values.number(0.012346), "0.0123"),
        (values.number(-0.0), "0"),
        (values.seconds(90), "1 min 30 s"),
        (values.seconds(0.5), "0.5 s"),
        (values.seconds(12), "12 s"),
        (values.percent(0.999999), "99.99 %"),
        (values.percent(0.0000001), "0.01 %"),
        (values.percent(1), "100 %"),
        (values.percent(0), "0 %"),
    ],
)
def test_values_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected


@given(st.lists(st.tuples(st.integers(-5, 440), st.integers(-3, 3)), min_size=1, max_size=50))
def test_a_line_goes_through_its_points(points: list[tuple[int, int]]) -> None:
    """Points between two others on a level part may be left out."""
    drawn = places(trace(points))
    for x, y in points:
        assert any(
            (x, y) in (start, end) or (start[1] == end[1] == y and min(start[0], end[0]) <= x <= max(start[0], end[0]))
            for start, end in pairwise(drawn)
        )
    assert drawn[0] == points[0]
    assert drawn[-1] == points[-1]


def test_path_data_is_short() -> None:
    assert trace([]) == ""
    assert trace([(1, 2)]) == "M1 2l0 0"
    assert trace([(0, 5), (1, 5), (2, 5), (3, 4), (2, 4)]) == "M0 5l2 0 1-1-1 0"
    assert outline([(0, 5), (1, 5)], [(0, 9), (1, 8)]) == "M0 5l1 0 0 3-1 1Z"
    assert in_tenths([(1.26, -0.04)]) == [(13, 0)]


def band(least: Sequence[float | None], greatest: Sequence[float | None], *, mirrored: bool = False) -> Band:
    return Band(name="offset", class_="offset", least=least, greatest=greatest, mirrored=mirrored)


def test_an_envelope_keeps_extremes_and_breaks_where_nothing_was_seen() -> None:
    panel = Panel(title="offset", bands=(band([0, -50, None, 0], [100, 50, None, 0]),), height=100)
    (path,) = paths(over_time(TITLE, [panel], column_s=10.0), "offset")
    before, after = path.split("M")[1:]
    first, second = places("M" + before), places("M" + after)
    top, zero, step = 42 * 4, (42 + 100 * 2 / 3) * 4, 100 / 3 * 4  # below the legend and the title; a tick is 50 ns
    assert first == [(0, top), (1, pytest.approx(top + step, abs=1)), (1, pytest.approx(zero + step, abs=1)),
                     (0, pytest.approx(zero, abs=1))]  # fmt: skip
    assert {place[0] for place in second} == {3}
    assert second[0][1] == pytest.approx(zero, abs=1)


def test_a_bound_is_drawn_on_both_sides() -> None:
    panel = Panel(title="offset", bands=(band([10, 10], [20, 20], mirrored=True),), height=100)
    (path,) = paths(over_time(TITLE, [panel], column_s=10.0), "offset")
    upper, lower = (places("M" + part) for part in path.split("M")[1:])
    middle = (upper[0][1] + lower[0][1]) / 2
    assert [middle - y for _, y in upper] == pytest.approx([y - middle for _, y in lower], abs=1)


def test_settling_is_shaded() -> None:
    panel = Panel(title="offset", bands=(band([0] * 10, [9] * 10),), height=100)
    assert "settling" in over_time(TITLE, [panel], column_s=10.0, settling_s=20.0)
    assert "settling" not in over_time(TITLE, [panel], column_s=10.0)


def test_the_bars_of_a_histogram_are_as_high_as_their_counts() -> None:
    drawn = histogram(TITLE, low=-100, width=50.0, counts=(0, 10, 40), x_title="offset")
    (path,) = paths(drawn, "offset")
    bars = [[float(number) for number in re.findall(r"[\d.]+", bar)] for bar in path.split("M")[1:]]
    heights = [start - end for _, start, end, _, _ in bars]
    assert heights[1] == pytest.approx(4 * heights[0], abs=4)
    assert bars[0][3] == bars[1][0]  # they touch


def test_curves_of_any_name_share_the_axes_and_what_is_not_above_zero_is_left_out() -> None:
    curves = [
        Curve(name="MTIE", class_="mtie", points=[(1, 10), (10, 100), (100, 0), (1000, None)]),
        Curve(name="a mask", class_="mask", points=[(1, 25.275), (1000, 300)], dashes="2 3"),
        Curve(name="nothing", class_="nothing", points=[(1, None)]),
    ]
    drawn = log_log(TITLE, curves, x_title="window (s)", y_title="MTIE")
    ours, mask = (places(paths(drawn, class_)[-1]) for class_ in ("mtie", "mask"))
    assert len(ours) == 2
    assert ours[0][0] == mask[0][0]
    assert ours[0][1] > mask[0][1]  # lower on the page
    assert "a mask" in drawn
    assert "nothing" not in drawn


def test_an_interval_from_zero_begins_at_the_axis() -> None:
    curve = Curve(name="MTIE", class_="mtie", points=[(1, 10), (10, 20)])
    interval = Interval(name="interval", class_="range", points=[(1, 0, 30), (10, 5, 50), (100, 5, None)])
    drawn = log_log(TITLE, [curve], [interval], x_title="", y_title="")
    (area,) = [places(path) for path in paths(drawn, "range")]
    assert len(area) == 4
    assert max(y for _, y in area) == area[3][1]


MARKS = [Key(name="median", class_="median", shape=Shape.DOT), Key(name="bound", class_="bound", shape=Shape.BAR)]
SPREAD = Key(name="from best to worst", class_="median", shape=Shape.AREA)


def by_type(*groups: HostGroup) -> str:
    return quantiles_by_type(TITLE, MARKS, groups, spread=SPREAD, spread_of=0, x_title="offset")


def test_hosts_are_drawn_one_below_the_other() -> None:
    values_of = {"a": (10, 100), "b": (20, None), "c": (math.nan, 0)}
    drawn = by_type(*(HostGroup(name=name, rows=[Row(name=name, values=pair)]) for name, pair in values_of.items()))
    dots = re.findall(r'<circle class="median" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert len(dots) == 3  # one in the legend
    assert float(dots[2][1]) - float(dots[1][1]) == 18
    assert float(dots[2][0]) > float(dots[1][0])
    assert drawn.count('<path class="bound"') == 2
    assert "from best to worst" not in drawn


def test_the_hosts_of_a_type_stand_together_before_the_area_of_their_spread() -> None:
    rows = [Row(name=f"a-{number}", values=(value, None)) for number, value in enumerate((500, math.nan, 10), 1)]
    drawn = by_type(HostGroup(name="b", rows=[Row(name="b-1", values=(20, None))]), HostGroup(name="a", rows=rows))
    names = re.findall(r"<text [^>]*>([^<]*)<title>([^<]*)</title>", drawn)
    assert names == [("b", "b-1"), ("a, 3 hosts", "a"), ("a-1", "a-1"), ("a-2", "a-2"), ("a-3", "a-3")]
    (area,) = re.findall(r'<rect class="median" ([^>]*) fill="currentColor" fill-opacity=".15"', drawn)
    x, y, width, height = re.findall(r'"([\d.]+)"', area)
    dots = re.findall(r'<circle class="median" cx="([\d.]+)" cy="([\d.]+)"', drawn)[1:]
    assert [float(x) + float(width), float(x)] == pytest.approx([float(dots[1][0]), float(dots[2][0])], abs=0.11)
    assert float(y) < float(dots[1][1]) < float(dots[2][1]) < float(y) + float(height)
    assert "from best to worst" in drawn


def test_one_known_host_of_a_type_has_no_spread() -> None:
    rows = [Row(name="a-1", values=(500, None)), Row(name="a-2", values=(None, None))]
    assert 'fill-opacity=".15"' not in by_type(HostGroup(name="a", rows=rows))


def test_the_labels_of_the_axis_stand_above_many_hosts_too() -> None:
    few, many = (
        by_type(*(HostGroup(name=str(number), rows=[Row(name="x", values=(50.0, None))]) for number in range(count)))
        for count in (15, 16)
    )
    assert (few.count(">50 ns<"), many.count(">50 ns<")) == (1, 2)


def test_names_are_shortened_in_their_middle() -> None:
    assert shorten("m7i.large") == "m7i.large"
    assert shorten("u7in-16tb.224xlarge-metal-12") == "u7in-16tb.\N{HORIZONTAL ELLIPSIS}ge-metal-12"
    assert len(shorten("x" * 100)) == 22


def test_a_long_legend_takes_more_lines() -> None:
    _, one_line = legend([Key(name="TDEV", class_="tdev")])
    _, more = legend([Key(name=f"the mask of a standard {number}", class_="mask") for number in range(5)])
    assert (legend([])[1], one_line, more > 2 * one_line) == (0.0, 16.0, True)
