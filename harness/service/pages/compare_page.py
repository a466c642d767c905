"""Compare runs with each other, or types by their newest measurements: verdicts, figures, and clocks over time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from harness.analysis.verdict_series import Standing, TypeStanding
from harness.errors import RequestError
from harness.model import HostRecord
from harness.report.comparison_forms import ComparedRuns
from harness.report.html.comparison_page import comparison_sections
from harness.report.html.markup import EMPTY, Markup
from harness.report.html.type_comparison import types_section
from harness.runs.ended_runs import read_record
from harness.runs.local_evidence import find_host_folder
from harness.runs.run_comparison import compare_runs
from harness.service.authentication import Context
from harness.service.context import ServiceContext
from harness.service.pages.addresses import with_query
from harness.service.pages.rendering import render
from harness.service.pages.series_data import MOST_HOSTS
from harness.service.pages.viewer import PageViewer
from harness.store.baselines import DEFAULT
from harness.store.run_pages import RunSummary, list_page
from harness.store.run_query import RunQuery, RunState
from harness.store.verdict_history import VerdictHistory

router = APIRouter(include_in_schema=False)

_MOST_COMPARED = 8
_MOST_OFFERED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedHost:
    """A host whose clock is shown beside others. `title` names it among them."""

    run: str
    started_ns: int
    title: str
    record: HostRecord

    @property
    def address(self) -> str:
        """Its name for the plots: RUN/HOST."""
        return f"{self.run}/{self.record.name}"


Names = Annotated[list[str] | None, Query(max_length=_MOST_COMPARED * 4)]
Text = Annotated[str, Query(max_length=600)]


@router.get("/compare")
def compare(
    request: Request,
    viewer: PageViewer,
    context: Context,
    run: Names = None,
    runs: Text = "",
    type: Names = None,
    types: Text = "",
    bench: Annotated[str, Query(max_length=16)] = "",
    plot: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Compare runs or types, or offer some to choose from."""
    run_names, type_names = _split(run, runs), _split(type, types)
    history: VerdictHistory = request.app.state.verdict_history
    compared: ComparedRuns | None = None
    standings: list[tuple[TypeStanding, Standing]] = []
    hosts: list[PlottedHost] = []
    offered: list[RunSummary] = []
    mistake = next_step = ""
    try:
        if len(run_names) > 1:
            compared, hosts = _compare_runs(run_names, context)
        elif type_names:
            standings, hosts = _compare_types(type_names, bench, history, context)
        else:
            offered = _offer_runs(next(iter(run_names), None), context)
    except RequestError as error:
        mistake, next_step = error.message, error.next_step
    plotted = list(dict.fromkeys(host.record.instance_type for host in hosts if host.record.quality is not None))
    chosen = _choose_plotted(plotted, plot, compared)
    shown = hosts if standings else [host for host in hosts if host.record.instance_type == chosen]
    query = {"runs": " ".join(run_names), "types": " ".join(type_names), "bench": bench}
    return render(
        request,
        viewer,
        "compare.html",
        status=400 if mistake else 200,
        page="compare",
        runs=run_names,
        types=type_names,
        bench=bench,
        benches=list(history.places().regions),
        mistake=mistake,
        next_step=next_step,
        compared=compared,
        sections=EMPTY if compared is None else comparison_sections(compared.comparison),
        standings=standings,
        offered=offered,
        side_by_side=_write_side_by_side(hosts),
        series=_address_series(shown, context),
        plots=[(name, with_query("/compare", **query, plot=name)) for name in plotted] if compared else [],
        plotted=chosen,
    )


def _split(listed: Sequence[str] | None, text: str) -> list[str]:
    words = [*(listed or ()), *text.replace(",", " ").split()]
    return list(dict.fromkeys(word for word in words if word))


def _compare_runs(names: Sequence[str], context: ServiceContext) -> tuple[ComparedRuns, list[PlottedHost]]:
    """Compare the newest of some runs with the others. Raises RequestError."""
    if len(names) > _MOST_COMPARED:
        raise RequestError(f"at most {_MOST_COMPARED} runs are compared at once", next_step="name fewer")
    ledger = context.ledger
    lines = sorted((ledger.find(name) for name in names), key=lambda line: line.started_ns)
    *earlier, newest = list({line.run: line for line in lines}.values())
    compared = compare_runs(newest.run, [line.run for line in earlier], ledger, baseline=DEFAULT, all_figures=True)
    hosts = [
        PlottedHost(run=line.run, started_ns=line.started_ns, title=f"{host.name} ({line.run})", record=host)
        for line in [*earlier, newest]
        for host in read_record(line.run, ledger).hosts
    ]
    return compared, sorted(hosts, key=lambda host: (host.record.instance_type, host.started_ns))


def _offer_runs(name: str | None, context: ServiceContext) -> list[RunSummary]:
    """List the newest runs that may be compared: with the run of this name, of its bench. Raises RequestError."""
    line = None if name is None else context.ledger.find(name)
    query = RunQuery(state=RunState.ENDED, bench=None if line is None else line.bench)
    found = list_page(context.ledger.database, query, most=_MOST_OFFERED + 1)
    return [each for each in found if line is None or each.line.run != line.run][:_MOST_OFFERED]


def _choose_plotted(plotted: Sequence[str], asked: str, compared: ComparedRuns | None) -> str:
    """Choose the type whose clocks are plotted: that which is asked for, else one that got worse, else the first."""
    if asked in plotted:
        return asked
    worse = [change.instance_type for change in compared.comparison.verdicts if change.regressed] if compared else []
    return next((name for name in [*worse, *plotted] if name in plotted), "")


def _compare_types(
    names: Sequence[str], bench: str, history: VerdictHistory, context: ServiceContext
) -> tuple[list[tuple[TypeStanding, Standing]], list[PlottedHost]]:
    """Find the newest measurement of each type, in any environment. Raises RequestError."""
    if len(names) > _MOST_COMPARED:
        raise RequestError(f"at most {_MOST_COMPARED} types are compared at once", next_step="name fewer")
    benches = [bench] if bench else list(history.places().regions)
    known = {each.instance_type: each for name in benches for each in history.sum_up(name)}
    missing = [name for name in names if name not in known]
    if missing:
        raise RequestError(f"never measured: {', '.join(missing)}", next_step="the overview lists the types")
    standings = [(known[name], _choose_measured(known[name])) for name in names]
    hosts: list[PlottedHost] = []
    for each, standing in standings:
        latest = standing.latest
        for line in context.ledger.hosts(latest.run, [latest.host]):
            if line.record is not None:
                title = each.instance_type
                hosts.append(PlottedHost(run=latest.run, started_ns=latest.started_ns, title=title, record=line.record))
    return standings, hosts


def _choose_measured(standing: TypeStanding) -> Standing:
    """Choose the newest verdict with figures; the newest of all where none has any."""
    cells = [*standing.cells.values()]
    return next((each for each in cells if each.latest.offset_p99_ns is not None), cells[0])


def _write_side_by_side(hosts: Sequence[PlottedHost]) -> Markup:
    named = [replace(host.record, name=host.title) for host in hosts]
    return types_section(named, linked=False) if hosts else EMPTY


def _address_series(hosts: Sequence[PlottedHost], context: ServiceContext) -> str:
    """Write the address of the series of hosts whose samples are on this machine; "" for fewer than two."""
    here = []
    for host in hosts:
        line = context.ledger.find(host.run)
        lines = context.ledger.hosts(host.run, [host.record.name])
        if lines and host.record.quality is not None and find_host_folder(line, lines[0], context.settings) is not None:
            here.append(host.address)
    parts = "&".join(with_query("", host=name)[1:] for name in here[:MOST_HOSTS])
    return f"/series.json?{parts}" if len(here) > 1 else ""
