"""Compare the hosts of a run whose clocks were measured: one plot and one table."""

from collections.abc import Sequence

from harness.model import HostRecord
from harness.model.quality import ClockQuality, Distribution
from harness.report.html import charts, explanations, values
from harness.report.html.axes import finite
from harness.report.html.charts import Row, Title
from harness.report.html.clock_plots import figure
from harness.report.html.drawing import Key, Shape
from harness.report.html.markup import EMPTY, Markup, element, table

_MARKS = (
    Key(name="median", class_="median", shape=Shape.DOT),
    Key(name="99 %", class_="p99", shape=Shape.DOT),
    Key(name="largest offset", class_="largest", shape=Shape.DOT),
    Key(name="bound (99 %)", class_="bound", shape=Shape.BAR),
)


def comparison_section(hosts: Sequence[HostRecord]) -> Markup:
    """Write the comparison; nothing where fewer than two hosts have figures."""
    measured = [(host, host.quality) for host in hosts if host.quality is not None]
    if len(measured) < 2:
        return EMPTY
    measured.sort(key=lambda pair: _size(pair[1].offset_ns.p99_abs))
    rows = [Row(name=host.name, values=_marks(quality)) for host, quality in measured]
    title = Title(name="Offset by host, the smallest first", finding=_finding(measured))
    svg = charts.quantiles_by_host(title, _MARKS, rows, x_title="offset, by its size")
    head = (
        "host", "type", "median", "99 %", "largest", "bound (99 %)", "bound of", "read delay (median)", "steps",
        "outliers",
    )  # fmt: skip
    numbers = table("offsets by host", head, [_row(*pair) for pair in measured], numeric=range(2, 10), class_="compare")
    return element(
        "section",
        element("h2", "Hosts compared"),
        element("div", figure(title, svg, explanations.COMPARISON, numbers), class_="figures one"),
        id="comparison",
    )


def best_bound(quality: ClockQuality) -> tuple[Distribution | None, str]:
    """Return the bound on the distance from UTC where it is known, else chrony's alone; and whose it is."""
    if quality.error_bound_ns is not None:
        return quality.error_bound_ns, "with device"
    return quality.bound_ns, "chrony" if quality.bound_ns is not None else values.NONE


def _marks(quality: ClockQuality) -> tuple[float | None, ...]:
    offset, (bound, _) = quality.offset_ns, best_bound(quality)
    return offset.median_abs, offset.p99_abs, offset.max_abs, None if bound is None else bound.p99_abs


def _finding(measured: Sequence[tuple[HostRecord, ClockQuality]]) -> str:
    (best, best_quality), (worst, worst_quality) = measured[0], measured[-1]
    return (
        f"99 % of the offsets are within {values.ns(best_quality.offset_ns.p99_abs)} on {best.name}, "
        f"and within {values.ns(worst_quality.offset_ns.p99_abs)} on {worst.name}."
    )


def _row(host: HostRecord, quality: ClockQuality) -> tuple[str, ...]:
    _, whose = best_bound(quality)
    median, p99, largest, bound = map(values.ns, _marks(quality))
    delay = values.ns(quality.read_delay_ns.median)
    steps, outliers = str(quality.step_count), str(quality.outliers)
    return host.name, host.instance_type, median, p99, largest, bound, whose, delay, steps, outliers


def _size(value: float) -> float:
    number = finite(value)
    return float("inf") if number is None else number
