"""Write the section of one host: its verdict, the way to it, what was found, and how good its clock is."""

from collections.abc import Iterator

from harness import units
from harness.model import Finding, HostRecord, Rung
from harness.model.plots import ClockPlots
from harness.report import text
from harness.report.html import values
from harness.report.html.axes import finite
from harness.report.html.clock_figures import figures_table
from harness.report.html.clock_plots import make_figures
from harness.report.html.disturbance_table import disturbances_part
from harness.report.html.markup import EMPTY, Markup, element, items, join, table
from harness.report.html.profile_table import profiles_table

WITHOUT_PLOTS = (
    "Plots over time are left out: the samples of this host were not on the machine that wrote this report. "
    "`ptp-harness evidence fetch RUN` fetches them from the evidence store, where there is one."
)
WITHOUT_QUALITY = (
    "How good this clock is was not measured: fewer than ten offsets between the system clock and a PHC were observed."
)


def host_section(host: HostRecord, number: int, bench: str, plots: ClockPlots | None) -> Markup:
    """Write the section of the host with this number, which its address in the page has."""
    title = text.host_title(host.name, host.instance_type)
    verdict = host.verdict
    return element(
        "section",
        element("h3", title, " ", outcome_badge(verdict.outcome.value)),
        element("p", verdict.sentence, class_="sentence"),
        element("p", element("strong", "Next: "), verdict.remedy) if verdict.remedy else EMPTY,
        notes_part(host),
        element("h4", "How the verdict was reached"),
        element("p", f"Reason: {verdict.reason.value}. ", describe_course(host, bench), class_="small"),
        ladder_table(host),
        findings_part(host),
        facts_part(host),
        element("h4", "How good the clock is"),
        _quality(host, plots),
        disturbances_part(host),
        element("p", element("a", "Back to the summary", href="#summary"), class_="small back"),
        id=f"host-{number}",
        class_="host",
    )


def outcome_badge(outcome: str) -> Markup:
    """Write an outcome, in its colour where there is style."""
    return element("span", outcome, class_=f"badge {outcome.lower()}")


def notes_part(host: HostRecord) -> Markup:
    """Write contradictions, what was not observed, and remarks; nothing where there is none."""
    verdict = host.verdict
    groups = (
        ("Contradictions", verdict.contradictions),
        ("Not observed", verdict.unobserved),
        ("Remarks", verdict.remarks),
    )
    return join(join([element("p", element("strong", title)), items(texts)]) for title, texts in groups if texts)


def describe_course(host: HostRecord, bench: str) -> str:
    """Tell what became of the host, how long each stage took, and what that cost."""
    stages = ", ".join(f"{text.stage_title(stage, bench)} {seconds:.1f} s" for stage, seconds in host.stages.items())
    calls = "" if host.api_calls is None else f"{host.api_calls:g} API calls"
    cost = "" if host.cost_usd is None else f"about {units.usd(host.cost_usd)}"
    return "; ".join(part for part in (f"Host: {text.state_title(host.state, bench)}", stages, calls, cost) if part)


def ladder_table(host: HostRecord) -> Markup:
    """Write the rungs of a host's verdict, each with its evidence."""

    def row(rung: Rung) -> tuple[str, str, str]:
        status = element("span", rung.status.value.replace("_", " "), class_=f"rung {rung.status.value}")
        return rung.name.value, status, rung.evidence

    head = ("rung", "state", "evidence")
    return table(f"ladder of {host.name}", head, map(row, host.verdict.rungs), class_="ladder")


def findings_part(host: HostRecord) -> Markup:
    """Write what was held against limits; nothing where nothing was."""
    if not host.verdict.findings:
        return EMPTY
    head = ("quantity", "statistic", "observed", "limit", "held", "samples", "source of the limit")
    rows = map(_finding_row, host.verdict.findings)
    title = element("h4", "What was held against limits")
    return join([title, table(f"findings of {host.name}", head, rows, numeric=(2, 3, 5), class_="findings")])


def _finding_row(finding: Finding) -> tuple[str, ...]:
    observed = finite(finding.observed)
    held, class_ = {True: ("held", "pass"), False: ("BROKEN", "fail"), None: ("not judged", "inconclusive")}[
        finding.held
    ]
    return (
        finding.quantity,
        finding.statistic,
        values.NOT_OBSERVED
        if observed is None
        else units.with_uncertainty(observed, finite(finding.uncertainty), finding.unit),
        f"{finding.comparison} {units.with_unit(finding.limit, finding.unit)}",
        element("span", held, class_=f"held {class_}"),
        str(finding.samples),
        f"{finding.source}; {finding.note}" if finding.note else finding.source,
    )


def facts_part(host: HostRecord) -> Markup:
    """Write what is known of the host itself; nothing where nothing is."""
    rows = [row for row in _fact_rows(host) if row[1]]
    if not rows:
        return EMPTY
    return join([element("h4", "The host"), table(f"facts of {host.name}", ("fact", "value"), rows)])


def _fact_rows(host: HostRecord) -> Iterator[tuple[str, str]]:
    facts, claim = host.facts, host.claim
    yield "place", ", ".join(part for part in (host.region, host.zone) if part)
    yield "image", host.image or ""
    if claim is not None:
        answer = "supported" if claim.phc_supported else "not supported"
        yield "claim about the PHC", f"{answer} ({claim.source}, {claim.date})"
    if facts is None:
        return
    yield "operating system", facts.os or ""
    yield "kernel", facts.kernel or values.NOT_OBSERVED
    yield "driver", describe_drivers(host) or values.NOT_OBSERVED
    clocks = facts.clocks
    names = [f"/dev/{clock.device} {clock.name}" for clock in clocks or ()]
    yield "clocks", values.NOT_OBSERVED if clocks is None else ", ".join(names) or "none"
    yield "chrony", facts.chrony_version or values.NOT_OBSERVED


def describe_drivers(host: HostRecord) -> str:
    """Write the names and versions of a host's drivers, each once; empty where they were not observed."""
    drivers = (host.facts.drivers if host.facts else None) or ()
    return ", ".join(dict.fromkeys(" ".join(filter(None, (driver.name, driver.version))) for driver in drivers))


def _quality(host: HostRecord, plots: ClockPlots | None) -> Markup:
    quality = host.quality
    if quality is None and plots is None:
        return element("p", WITHOUT_QUALITY)
    note = ""
    if plots is None:
        note = WITHOUT_PLOTS
    elif quality is not None and quality.settling_s:
        note = _SETTLING.format(settling=values.seconds(quality.settling_s))
    return join(
        [
            EMPTY if quality is None else figures_table(quality, host.name),
            EMPTY if quality is None else profiles_table(quality, host.name),
            element("p", note) if note else EMPTY,
            make_figures(host.name, quality, plots),
        ]
    )


_SETTLING = "Plots over time include the first {settling} of settling; figures and other plots do not."
