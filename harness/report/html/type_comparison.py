"""Compare the instance types of a run by their worst hosts: one table, and one plot with a row for each host."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.model import HostRecord
from harness.model.outcomes import WORST_LAST
from harness.model.quality import ClockQuality, Distribution
from harness.report.html import charts, explanations, values
from harness.report.html.axes import finite
from harness.report.html.charts import HostGroup, Row, Title
from harness.report.html.clock_plots import figure
from harness.report.html.drawing import Key, Shape
from harness.report.html.host_section import describe_drivers, outcome_badge
from harness.report.html.markup import EMPTY, Markup, element, join, table

_MARKS = (
    Key(name="median", class_="median", shape=Shape.DOT),
    Key(name="99 %", class_="p99", shape=Shape.DOT),
    Key(name="largest offset", class_="largest", shape=Shape.DOT),
    Key(name="bound (99 %)", class_="bound", shape=Shape.BAR),
)
_P99 = 1
"""The place of the 99 % quantile among the marks."""

_SPREAD = Key(name="99 %, from the best host of a type to its worst", class_="p99", shape=Shape.AREA)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedHost:
    """A host, and its number in the page; None: the page has no section of it."""

    number: int | None
    record: HostRecord

    @property
    def p99_ns(self) -> float | None:
        """The size that 99 % of the offsets stay within; None where that is not known."""
        return None if self.record.quality is None else finite(self.record.quality.offset_ns.p99_abs)

    @property
    def order(self) -> float:
        """The place among hosts, the worst first; last where nothing is known."""
        return -1.0 if self.p99_ns is None else self.p99_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedType:
    """A type and its hosts, the worst first; those whose clock was not measured are last."""

    name: str
    hosts: tuple[ComparedHost, ...]

    @property
    def measured(self) -> list[tuple[HostRecord, ClockQuality]]:
        """The hosts that have figures, with these."""
        return [(host.record, host.record.quality) for host in self.hosts if host.record.quality is not None]

    @property
    def p99s_ns(self) -> list[float]:
        """The known 99 % quantiles of its hosts, the greatest first."""
        return [host.p99_ns for host in self.hosts if host.p99_ns is not None]

    @property
    def order(self) -> float:
        """The place among types: by the worst host, last where no clock was measured."""
        return max(self.p99s_ns, default=float("inf"))


def group_by_type(hosts: Iterable[HostRecord], *, linked: bool = True) -> list[ComparedType]:
    """Group hosts by their types, the type whose worst host is best first. `linked`: the page has their sections."""
    groups: dict[str, list[ComparedHost]] = {}
    for number, record in enumerate(hosts, 1):
        groups.setdefault(record.instance_type, []).append(
            ComparedHost(number=number if linked else None, record=record)
        )
    types = [
        ComparedType(name=name, hosts=tuple(sorted(members, key=lambda host: -host.order)))
        for name, members in groups.items()
    ]
    return sorted(types, key=lambda compared: compared.order)


def types_section(hosts: Sequence[HostRecord], *, linked: bool = True) -> Markup:
    """Write the comparison of types; nothing where fewer than two hosts have figures.

    `linked`: the page has a section of each host, in their order.
    """
    if sum(host.quality is not None for host in hosts) < 2:
        return EMPTY
    types = group_by_type(hosts, linked=linked)
    return element(
        "section",
        element("h2", "Types compared"),
        table(
            "types compared",
            _HEAD,
            [tuple(_type_row(compared)) for compared in types],
            numeric=range(3, 6),
            class_="types",
        ),
        element("p", _NOTE, class_="small"),
        element("div", _plot([compared for compared in types if compared.measured]), class_="figures one"),
        id="comparison",
    )


def best_bound(quality: ClockQuality) -> tuple[Distribution | None, str]:
    """Return the bound on the distance from UTC where it is known, else chrony's alone; and whose it is."""
    if quality.error_bound_ns is not None:
        return quality.error_bound_ns, "with device"
    return quality.bound_ns, "chrony" if quality.bound_ns is not None else values.NONE


# --- the table --------------------------------------------------------------------------------------------------------

_HEAD = (
    "type", "verdict", "hosts, the worst first", "offset (99 %)", "largest offset", "bound (99 %)", "kernel", "driver",
    "chrony",
)  # fmt: skip

_NOTE = (
    "Figures of a type are those of its worst host; no average is made of hosts. The type whose worst host is best "
    "stands first, types without a measured clock last."
)


def _type_row(compared: ComparedType) -> Iterator[str]:
    records = [host.record for host in compared.hosts]
    yield compared.name
    yield join(_count_outcomes(records), " ")
    yield join(_host_line(host, alone=len(compared.hosts) == 1) for host in compared.hosts)
    yield join([values.ns(max(compared.p99s_ns, default=None)), _describe_spread(compared.p99s_ns)])
    yield values.ns(_greatest(quality.offset_ns.max_abs for _, quality in compared.measured))
    bounds = [best_bound(quality) for _, quality in compared.measured]
    yield join(_describe_bound(bounds))
    yield _list_values(record.facts.kernel if record.facts else None for record in records)
    yield _list_values(describe_drivers(record) or None for record in records)
    yield _list_values(record.facts.chrony_version if record.facts else None for record in records)


def _count_outcomes(records: Sequence[HostRecord]) -> Iterator[Markup]:
    """Write the outcomes of a type's hosts, the worst first, with their numbers where there are several hosts."""
    counts = Counter(record.verdict.outcome for record in records)
    for outcome in reversed(WORST_LAST):
        if counts[outcome]:
            count = f"{counts[outcome]} " if len(records) > 1 else ""
            yield element("span", count, outcome_badge(outcome.value), class_="count")


def _host_line(host: ComparedHost, *, alone: bool) -> Markup:
    """Write a host as a link to its section; with its verdict and its offset where it is not alone."""
    name = host.record.name
    named = element("span", name) if host.number is None else element("a", name, href=f"#host-{host.number}")
    if alone:
        return named
    return element("small", named, f" {host.record.verdict.outcome.value}, {values.ns(host.p99_ns)}")


def _describe_spread(p99s_ns: Sequence[float]) -> Markup:
    """Say what the best host has, and by which factor the worst is above it; nothing for a single host."""
    if len(p99s_ns) < 2:
        return EMPTY
    factor = f"factor {values.number(_spread_factor(p99s_ns))}" if min(p99s_ns) > 0 else ""
    lines = [f"best host {values.ns(min(p99s_ns))}", *([factor] if factor else [])]
    return join(element("small", text) for text in lines)


def _describe_bound(bounds: Sequence[tuple[Distribution | None, str]]) -> Iterator[str]:
    observed = [(bound.p99_abs, whose) for bound, whose in bounds if bound is not None]
    yield values.ns(_greatest(p99_ns for p99_ns, _ in observed))
    if observed:
        yield element("small", ", ".join(dict.fromkeys(whose for _, whose in observed)))


def _greatest(numbers: Iterable[float]) -> float | None:
    return max((number for value in numbers if (number := finite(value)) is not None), default=None)


def _list_values(texts: Iterable[str | None]) -> str:
    """List what the hosts have, each once; also that it was not observed of some."""
    return ", ".join(dict.fromkeys(text or values.NOT_OBSERVED for text in texts))


# --- the plot ---------------------------------------------------------------------------------------------------------


def _plot(types: Sequence[ComparedType]) -> Markup:
    title = Title(name="Offset by type, the best first", finding=_finding(types))
    groups = [
        HostGroup(
            name=compared.name,
            rows=[Row(name=record.name, values=_marks(quality)) for record, quality in compared.measured],
        )
        for compared in types
    ]
    svg = charts.quantiles_by_type(title, _MARKS, groups, spread_of=_P99, spread=_SPREAD, x_title="offset, by its size")
    head = (
        "host", "type", "median", "99 %", "largest", "bound (99 %)", "bound of", "read delay (median)", "steps",
        "outliers",
    )  # fmt: skip
    rows = [_host_row(*pair) for compared in types for pair in compared.measured]
    numbers = table("offsets by host", head, rows, numeric=range(2, 10), class_="compare")
    return figure(title, svg, explanations.COMPARISON, numbers)


def _marks(quality: ClockQuality) -> tuple[float | None, ...]:
    offset, (bound, _) = quality.offset_ns, best_bound(quality)
    return offset.median_abs, offset.p99_abs, offset.max_abs, None if bound is None else bound.p99_abs


def _finding(types: Sequence[ComparedType]) -> str:
    best, worst = types[0], types[-1]
    text = f"99 % of the offsets are within {_describe_worst(best)}"
    text += f", and within {_describe_worst(worst)}." if worst is not best else "."
    widest = max(types, key=lambda compared: _spread_factor(compared.p99s_ns))
    factor = _spread_factor(widest.p99s_ns)
    spread = f" From the best to the worst host of {widest.name} it is a factor of {values.number(factor)}."
    return text + (spread if factor > 1 else "")


def _describe_worst(compared: ComparedType) -> str:
    worst = values.ns(max(compared.p99s_ns, default=None))
    count = len(compared.measured)
    return f"{worst} on {compared.name}" if count == 1 else f"{worst} on the worst of {count} hosts of {compared.name}"


def _spread_factor(p99s_ns: Sequence[float]) -> float:
    """Compute how many times the best host's offset the worst one's is; 1 where that is not known."""
    least = min(p99s_ns, default=0.0)
    return max(p99s_ns) / least if least > 0 else 1.0


def _host_row(host: HostRecord, quality: ClockQuality) -> tuple[str, ...]:
    _, whose = best_bound(quality)
    median, p99, largest, bound = map(values.ns, _marks(quality))
    delay = values.ns(quality.read_delay_ns.median)
    steps, outliers = str(quality.step_count), str(quality.outliers)
    return host.name, host.instance_type, median, p99, largest, bound, whose, delay, steps, outliers
