"""Make the figures of one host's clock: each plot with its finding, its explanation and its numbers as a table."""

import math
from collections.abc import Iterator, Mapping, Sequence

from harness.model.plots import ClockPlots, Envelope
from harness.model.quality import ClockQuality, StabilityPoint
from harness.report.html import axes, charts, explanations, values
from harness.report.html.charts import Band, Curve, Interval, Panel, Title
from harness.report.html.markup import EMPTY, NUMBERS, Markup, element, folded, join, table
from harness.report.html.profile_table import describe_masks, find_masks

_MOST_ROWS = 28
"""Rows of a table. Over time, several columns of the plot share a row, which has their extremes; of a curve with more
points each second one has a row, or each third."""


def make_figures(host: str, quality: ClockQuality | None, plots: ClockPlots | None) -> Markup:
    """Make all figures of a host that its data allows; the curves of stability need no plots."""
    over_time = time_figures(host, quality, plots)
    return join_figures([*over_time[:1], *value_figures(host, quality, plots), *over_time[1:]])


def time_figures(host: str, quality: ClockQuality | None, plots: ClockPlots | None) -> list[Markup]:
    """Make the figures over time: offset, and read delay."""
    return [] if plots is None else [_offset_figure(host, quality, plots), _delay_figure(host, quality, plots)]


def value_figures(host: str, quality: ClockQuality | None, plots: ClockPlots | None) -> list[Markup]:
    """Make the figures that are not over time: the distribution of the offset, and the curves of stability."""
    stability = plots.stability if plots is not None else quality.stability if quality is not None else ()
    figures = [] if plots is None else [_histogram_figure(host, quality, plots)]
    if stability:
        figures += [_mtie_figure(host, quality, stability), _tdev_figure(host, quality, stability)]
    return figures


def join_figures(figures: Sequence[Markup]) -> Markup:
    """Put figures side by side, where there is room; nothing where there is none."""
    return element("div", *figures, class_="figures") if figures else Markup()


def figure(title: Title, svg: Markup, explanation: str, table_: Markup) -> Markup:
    """Put a plot below its title and finding, and above its explanation, where it has one, and its numbers."""
    return element(
        "figure",
        element("figcaption", element("strong", f"{title.name}. "), _capitalise(title.finding)),
        svg,
        element("div", element("p", explanation) if explanation else EMPTY, folded("The numbers of this plot", table_)),
    )


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _offset_figure(host: str, quality: ClockQuality | None, plots: ClockPlots) -> Markup:
    offset = Band(name="offset", class_="offset", least=plots.offset_ns.least, greatest=plots.offset_ns.greatest)
    panels = [Panel(title="offset", bands=(offset,), height=120)]
    begin = values.utc(plots.begin_utc_ns)
    explanation = explanations.OFFSET.format(column=values.seconds(plots.column_s), begin=begin)
    head, envelopes = ["from (s)", "least offset (ns)", "greatest offset (ns)"], [plots.offset_ns]
    finding = _describe_offsets(quality, offset)
    if plots.bound_ns is not None:
        name, of = ("the error bound", "UTC") if plots.bound_has_device else ("chrony's bound", "its source's time")
        least, greatest = plots.bound_ns.least, plots.bound_ns.greatest
        short = name.removeprefix("the ")
        bound = Band(name=short, class_="bound", least=least, greatest=greatest, mirrored=True)
        panels.append(Panel(title="offset within the bound", bands=(bound, offset), height=90))
        explanation += f" {explanations.BOUND.format(bound=name, of=of)}"
        head += ["least bound (ns)", "greatest bound (ns)"]
        envelopes.append(plots.bound_ns)
        finding += f" The bound was at most {values.ns(max(axes.known(greatest), default=None))}."
    else:
        finding += " No bound was observed."
    title = Title(host=host, name="Offset over time", finding=finding)
    settling_s = quality.settling_s if quality is not None else 0.0
    svg = charts.over_time(title, panels, column_s=plots.column_s, settling_s=settling_s)
    return figure(title, svg, explanation, _time_table(f"offset of {host}", head, plots.column_s, envelopes))


def _describe_offsets(quality: ClockQuality | None, offset: Band) -> str:
    if quality is not None:
        p99, largest = values.ns(quality.offset_ns.p99_abs), values.ns(quality.offset_ns.max_abs)
        return f"99 % of the offsets are within {p99}, the largest is {largest}."
    return f"the largest offset is {values.ns(max(map(abs, offset.values), default=None))}."


def _histogram_figure(host: str, quality: ClockQuality | None, plots: ClockPlots) -> Markup:
    offsets = plots.offsets
    finding = f"offsets from {values.ns(offsets.low)} to {values.ns(_edge(plots, len(offsets.counts)))}."
    if quality is not None:
        finding = (
            f"half of the offsets are within {values.ns(quality.offset_ns.median_abs)}, their mean is "
            f"{values.ns(quality.offset_ns.mean)}."
        )
    if beyond := (axes.finite(offsets.below) or 0) + (axes.finite(offsets.above) or 0):
        finding += f" {beyond:.0f} of them lie beyond this plot."
    title = Title(host=host, name="Distribution of the offset", finding=finding)
    svg = charts.histogram(title, low=offsets.low, width=offsets.width, counts=offsets.counts, x_title="offset")
    rows = [
        (values.number(_edge(plots, number)), values.number(_edge(plots, number + 1)), str(count))
        for number, count in enumerate(offsets.counts)
    ]
    head = ("from (ns)", "to (ns)", "readings")
    return figure(title, svg, explanations.HISTOGRAM, table(f"offsets of {host}", head, rows, class_=NUMBERS))


def _edge(plots: ClockPlots, number: int) -> float | None:
    low, width = axes.finite(plots.offsets.low), axes.finite(plots.offsets.width)
    return None if low is None or width is None else low + number * width


def _mtie_figure(host: str, quality: ClockQuality | None, stability: Sequence[StabilityPoint]) -> Markup:
    last = stability[-1]
    high = values.ns(last.mtie_high_ns)
    uncertainty = "" if last.mtie_high_ns is None else f" By the uncertainty of the readings it may be up to {high}."
    gaps = "" if last.whole_share == 1 else " Some windows have gaps: the clock may have moved further unseen."
    finding = (
        f"within any {values.seconds(last.tau_s)} the offset changed by at most {values.ns(last.mtie_ns)}"
        f".{uncertainty}{gaps}{describe_masks(quality, 'mtie')}"
    )
    title = Title(host=host, name="MTIE", finding=finding)
    svg = charts.log_log(
        title,
        [
            Curve(name="MTIE", class_="mtie", points=[(point.tau_s, point.mtie_ns) for point in stability]),
            *find_masks(quality, "mtie"),
        ],
        [
            Interval(
                name="by the uncertainty of readings",
                class_="mtie",
                points=[(point.tau_s, point.mtie_low_ns, point.mtie_high_ns) for point in stability],
            )
        ],
        x_title="length of the window (s)",
        y_title="MTIE",
    )
    explanation = explanations.MTIE
    if any(point.mtie_high_ns is not None for point in stability):
        explanation += f" {explanations.MTIE_INTERVAL}"
    return figure(title, svg, explanation, _mtie_table(host, stability))


def _mtie_table(host: str, stability: Sequence[StabilityPoint]) -> Markup:
    """Write MTIE as a table, with the share of whole windows where any is not whole."""
    head = ("window (s)", "MTIE (ns)", "at least (ns)", "at most (ns)", "windows without gap")
    rows = [
        (
            values.number(point.tau_s),
            values.number(point.mtie_ns),
            values.number(point.mtie_low_ns),
            "more" if point.mtie_high_ns is None else values.number(point.mtie_high_ns),
            values.percent(point.whole_share),
        )
        for point in _thin(stability)
    ]
    columns = 4 if all(point.whole_share == 1 for point in stability) else 5
    return table(f"MTIE of {host}", head[:columns], [row[:columns] for row in rows], class_=NUMBERS)


def _tdev_figure(host: str, quality: ClockQuality | None, stability: Sequence[StabilityPoint]) -> Markup:
    floors = {point.tau_s: reading_floor_ns(quality, point.tau_s) for point in stability}
    finding = _describe_tdev(stability, floors[stability[0].tau_s]) + describe_masks(quality, "tdev")
    title = Title(host=host, name="TDEV", finding=finding)
    curves = [Curve(name="TDEV", class_="tdev", points=[(point.tau_s, point.tdev_ns) for point in stability])]
    explanation = explanations.TDEV
    if any(floor is not None for floor in floors.values()):
        curves.append(Curve(name="floor of the readings", class_="floor", points=_ends(floors), dashes="5 4"))
        explanation += f" {explanations.FLOOR}"
    curves += find_masks(quality, "tdev")
    svg = charts.log_log(
        title,
        curves,
        [
            Interval(
                name="90 % interval",
                class_="tdev",
                points=[(point.tau_s, point.tdev_low_ns, point.tdev_high_ns) for point in stability],
            )
        ],
        x_title="averaging time (s)",
        y_title="TDEV",
    )
    rows = [
        (
            values.number(point.tau_s),
            values.number(point.tdev_ns),
            values.number(point.tdev_low_ns),
            values.number(point.tdev_high_ns),
            values.number(floors[point.tau_s]),
            values.NONE if axes.finite(point.adev) is None else f"{point.adev:.3g}",
        )
        for point in _thin(stability)
    ]
    head = ("averaging time (s)", "TDEV (ns)", "at least (ns)", "at most (ns)", "floor (ns)", "ADEV")
    numbers = join([element("p", explanations.ADEV), table(f"TDEV of {host}", head, rows, class_=NUMBERS)])
    return figure(title, svg, explanation, numbers)


def reading_floor_ns(quality: ClockQuality | None, tau_s: float) -> float | None:
    """Compute the TDEV that the uncertainty of readings alone would show.

    An offset lies anywhere within +- u, half of the median read delay: its standard deviation is u / sqrt(3), which is
    TDEV at one interval, and falls with the square root of the number of averaged readings.
    """
    if quality is None:
        return None
    delay_ns, interval_s, tau = map(axes.finite, (quality.read_delay_ns.median, quality.interval_s, tau_s))
    if delay_ns is None or delay_ns <= 0 or interval_s is None or interval_s <= 0 or tau is None or tau <= 0:
        return None
    return axes.finite(delay_ns / 2 / math.sqrt(3) / math.sqrt(tau / interval_s))


def _thin(stability: Sequence[StabilityPoint]) -> Sequence[StabilityPoint]:
    """Leave out points such that a table has not too many rows; the last point stays."""
    every = max(1, math.ceil(len(stability) / _MOST_ROWS))
    return stability[(len(stability) - 1) % every :: every]


def _ends(floors: Mapping[float, float | None]) -> list[tuple[float, float | None]]:
    """Return the first and the last point: on logarithmic axes the floor is straight."""
    points = [*floors.items()]
    return [points[0], points[-1]]


def _describe_tdev(stability: Sequence[StabilityPoint], floor_ns: float | None) -> str:
    observed = [(point.tau_s, tdev) for point in stability if (tdev := axes.finite(point.tdev_ns)) is not None]
    if not observed:
        return "the series is too short for a TDEV."
    (first_s, first_ns), (last_s, last_ns) = observed[0], observed[-1]
    text = f"{values.ns(first_ns)} at {values.seconds(first_s)}, {values.ns(last_ns)} at {values.seconds(last_s)}"
    return text + ("." if floor_ns is None else f"; the floor of the readings begins at {values.ns(floor_ns)}.")


def _delay_figure(host: str, quality: ClockQuality | None, plots: ClockPlots) -> Markup:
    delay = Band(
        name="read delay", class_="delay", least=plots.read_delay_ns.least, greatest=plots.read_delay_ns.greatest
    )
    finding = f"the slowest reading took {values.ns(max(delay.values, default=None))}."
    if quality is not None:
        finding = (
            f"half of the readings took at most {values.ns(quality.read_delay_ns.median)}, the slowest "
            f"{values.ns(quality.read_delay_ns.maximum)}."
        )
    title = Title(host=host, name="Read delay over time", finding=finding)
    panel = Panel(title="read delay", bands=(delay,), height=190, from_zero=True)
    head = ["from (s)", "least (ns)", "greatest (ns)"]
    numbers = _time_table(f"read delay of {host}", head, plots.column_s, [plots.read_delay_ns])
    svg = charts.over_time(title, [panel], column_s=plots.column_s)
    return figure(title, svg, explanations.READ_DELAY, numbers)


def _time_table(label: str, head: Sequence[str], column_s: float, envelopes: Sequence[Envelope]) -> Markup:
    count = max((len(envelope.least) for envelope in envelopes), default=0)
    width = max(1, math.ceil(count / _MOST_ROWS))
    width_s = axes.finite(column_s) or 0.0
    rows = [
        [values.number(start * width_s), *_merge(envelopes, start, start + width)] for start in range(0, count, width)
    ]
    return table(label, head, rows, class_=NUMBERS)


def _merge(envelopes: Sequence[Envelope], start: int, end: int) -> Iterator[str]:
    """Write the extremes of some columns."""
    for envelope in envelopes:
        yield values.number(min(axes.known(envelope.least[start:end]), default=None))
        yield values.number(max(axes.known(envelope.greatest[start:end]), default=None))
