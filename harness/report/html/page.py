"""Write the whole page: what to tell first, the comparison of types, then each host."""

from collections import Counter
from collections.abc import Iterator, Mapping

from harness import units
from harness.model import HostRecord, Outcome, RunRecord
from harness.model.plots import ClockPlots
from harness.report import text
from harness.report.html import values
from harness.report.html.document_frame import write_document
from harness.report.html.host_section import describe_drivers, host_section, outcome_badge
from harness.report.html.markup import EMPTY, Markup, element, items, join, table
from harness.report.html.profile_table import NOTE
from harness.report.html.type_comparison import best_bound, types_section


def render_page(record: RunRecord, plots: Mapping[str, ClockPlots]) -> str:
    """Write the report of a run. `plots`: by the name of their host; a host without is reported without them."""
    title = f"Clocks of run {record.run} on {record.bench}"
    sections = [
        host_section(host, number, record.bench, plots.get(host.name)) for number, host in enumerate(record.hosts, 1)
    ]
    notes = element("p", NOTE, class_="small") if any(host.quality for host in record.hosts) else EMPTY
    return write_document(
        title,
        _header(record, title),
        _summary(record),
        types_section(record.hosts),
        element("section", element("h2", "Hosts"), notes, *sections) if sections else EMPTY,
    )


def _header(record: RunRecord, title: str) -> Markup:
    parts = (
        record.started,
        f"took {units.duration(record.seconds)}",
        f"depth {record.depth.value}" if record.depth else "",
        _measurement(record),
        f"{record.api_calls} API calls" if record.api_calls is not None else "",
        f"about {units.usd(record.cost_usd)}" if record.cost_usd is not None else "",
        f"ptp-harness {record.version}" if record.version else "",
    )
    line = " \N{MIDDLE DOT} ".join(part for part in parts if part)
    return element("header", element("h1", title), element("p", line, class_="small"), _warnings(record))


def _measurement(record: RunRecord) -> str:
    if record.measure_duration_s is None or record.measure_interval_s is None:
        return ""
    return (
        f"measured for {values.seconds(record.measure_duration_s)}, every {values.seconds(record.measure_interval_s)}"
    )


def _warnings(record: RunRecord) -> Markup:
    lines = text.list_warnings(record)
    return element("div", items(lines), class_="warning", role="note") if lines else EMPTY


def _summary(record: RunRecord) -> Markup:
    counts = Counter(host.verdict.outcome for host in record.hosts)
    tiles = [
        element(
            "li", element("b", str(counts[outcome])), " ", _COUNTED[outcome], class_=f"tile {outcome.value.lower()}"
        )
        for outcome in Outcome
    ]
    head = ("host", "type", "verdict", "why", "offset (99 %)", "bound (99 %)", "kernel", "driver", "chrony")
    rows = [tuple(_summary_row(host, number)) for number, host in enumerate(record.hosts, 1)]
    return element(
        "section",
        element("h2", "Summary"),
        element("p", "No host was judged.") if not rows else element("ul", *tiles, class_="tiles"),
        table("verdicts by host", head, rows, numeric=(4, 5), class_="summary") if rows else EMPTY,
        element("p", _SUMMARY_NOTE, class_="small") if rows else EMPTY,
        id="summary",
    )


def _summary_row(host: HostRecord, number: int) -> Iterator[str]:
    quality, facts = host.quality, host.facts
    yield element("a", host.name, href=f"#host-{number}")
    yield host.instance_type
    yield outcome_badge(host.verdict.outcome.value)
    yield join(_why(host), " ")
    yield values.NOT_OBSERVED if quality is None else values.ns(quality.offset_ns.p99_abs)
    bound, whose = (None, "") if quality is None else best_bound(quality)
    yield values.NOT_OBSERVED if bound is None else join([values.ns(bound.p99_abs), element("small", f" {whose}")])
    yield (facts.kernel if facts else None) or values.NOT_OBSERVED
    yield describe_drivers(host) or values.NOT_OBSERVED
    yield (facts.chrony_version if facts else None) or values.NOT_OBSERVED


def _why(host: HostRecord) -> Iterator[str]:
    yield host.verdict.sentence
    for contradiction in host.verdict.contradictions:
        yield element("small", f"Contradiction: {contradiction}")


_COUNTED = {
    Outcome.PASS: "passed",
    Outcome.FAIL: "failed",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.UNSUPPORTED: "without a clock",
}

_SUMMARY_NOTE = (
    "Offset: 99 % of the readings of the system clock against the PTP hardware clock (PHC) are within this. Bound: how "
    "far the clock can be from the time of its source, or from UTC where the device's own bound is known."
)
