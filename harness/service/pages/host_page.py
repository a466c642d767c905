"""Show one host of a run: how its verdict was reached, its clock over time, its stages and its evidence."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from harness.model import HostState
from harness.model.bench_traits import traits_of_recorded
from harness.report.html.clock_figures import figures_table
from harness.report.html.clock_plots import join_figures, time_figures, value_figures
from harness.report.html.disturbance_table import disturbances_part
from harness.report.html.host_section import facts_part, findings_part, ladder_table, notes_part
from harness.report.html.markup import EMPTY, Markup, join
from harness.report.html.profile_table import profiles_table
from harness.report.text import host_title, stage_title, state_title
from harness.runs.host_series import list_parts
from harness.runs.local_evidence import find_host_folder, list_files
from harness.service.authentication import Context
from harness.service.context import ServiceContext
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer
from harness.service.problems import NotFoundError
from harness.store import host_evidence
from harness.store.ledger_lines import HostLine, RunLine

router = APIRouter(include_in_schema=False)

_PART_TITLES = {"": "measured", "disturbed": "while disturbed", "rebooted": "after the reboot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostParts:
    """Pieces of the HTML report that the page of a host with a verdict shows."""

    ladder: Markup
    notes: Markup
    findings: Markup
    facts: Markup
    figures: Markup
    over_time: Markup
    plots: Markup
    disturbances: Markup


@router.get("/runs/{run}/hosts/{host}")
def show_host(run: str, host: str, request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show a host."""
    line, of_host = find_host(run, host, context)
    folder = find_host_folder(line, of_host, context.settings)
    record, traits = of_host.record, traits_of_recorded(line.bench)
    names = [each.host for each in context.ledger.host_summaries([run])]
    place = names.index(host)
    return render(
        request,
        viewer,
        "host.html",
        page="runs",
        line=line,
        host=of_host,
        record=record,
        title=host_title(of_host.host, of_host.instance_type),
        state=None if of_host.state is None else state_title(of_host.state, line.bench),
        is_kept=of_host.state is HostState.KEPT and traits.makes_hosts,
        before=names[place - 1] if place else None,
        following=names[place + 1] if place + 1 < len(names) else None,
        steps=[step for step in context.ledger.steps(run) if step.host == host],
        stage_title=lambda stage: stage_title(stage, line.bench),
        parts=None if record is None else make_parts(of_host, folder),
        series=[(part, _PART_TITLES[part]) for part in list_parts(folder)] if folder and record else [],
        files=None if folder is None else list_files(folder),
    )


def find_host(run: str, host: str, context: ServiceContext) -> tuple[RunLine, HostLine]:
    """Find a host of a run. Raises UnknownRunError and NotFoundError."""
    line = context.ledger.find(run)
    lines = context.ledger.hosts(line.run, [host])
    if line.run != run or not lines:
        raise NotFoundError(f"run {line.run} has no host of this name", next_step="its page lists its hosts")
    return line, lines[0]


def make_parts(line: HostLine, folder: Path | None) -> HostParts | None:
    """Make what is shown of a host; None before its verdict."""
    host = line.record
    if host is None:
        return None
    quality = host.quality
    plots = None if folder is None else host_evidence.read_plots(folder)
    figures = (
        EMPTY if quality is None else join([figures_table(quality, host.name), profiles_table(quality, host.name)])
    )
    return HostParts(
        ladder=ladder_table(host),
        notes=notes_part(host),
        findings=_raise_headings(findings_part(host)),
        facts=_raise_headings(facts_part(host)),
        figures=_raise_headings(figures),
        over_time=join_figures(time_figures(host.name, quality, plots)),
        plots=join_figures(value_figures(host.name, quality, plots)),
        disturbances=_raise_headings(disturbances_part(host)),
    )


def _raise_headings(part: Markup) -> Markup:
    """Let headings of the report be those right below a page's own: in the report they stand one deeper."""
    return Markup(part.replace("<h4>", "<h3>").replace("</h4>", "</h3>"))
