"""List runs, and look at one of them with its hosts."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from harness.campaign.query_values import parse_figure_ns
from harness.model import Outcome
from harness.runs.run_document import build_host_document, build_step_document
from harness.service.authentication import Context, Reader, read_context
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import Page
from harness.service.problems import NotFoundError, ServiceError
from harness.service.run_documents import RunDetail, RunItem, run_detail, run_item
from harness.service.short_reads import ReadTogether, short_read
from harness.service.times import parse_moment_ns
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine
from harness.store.run_details import RunDetails, read_details
from harness.store.run_pages import list_page
from harness.store.run_query import RunOrder, RunPlace, RunQuery, RunState

router = APIRouter(prefix="/v1/runs", tags=["runs"])

RunName = Annotated[str, Path(description="The name of a run, or `last`: the newest.", max_length=64)]
HostName = Annotated[str, Path(description="The name of a host of the run.", max_length=128)]
_FIGURE = "A time with its unit: 500ns, 20us."


def find_run(run: RunName, context: Context, _caller: Reader) -> RunLine:
    """Find the run that an address names. Raises UnknownRunError."""
    return context.ledger.find(run)


Run = Annotated[RunLine, Depends(find_run)]


def find_host(host: HostName, run: Run, context: Context) -> HostLine:
    """Find the host of a run that an address names. Raises NotFoundError."""
    lines = context.ledger.hosts(run.run, [host])
    if not lines:
        raise NotFoundError(f"run {run.run} has no host {host!r}", next_step=f"GET /v1/runs/{run.run} lists its hosts")
    return lines[0]


Host = Annotated[HostLine, Depends(find_host)]


@router.get("")
@short_read
def list_runs(
    context: Context,
    _caller: Reader,
    state: RunState | None = None,
    outcome: Annotated[Outcome | None, Query(description="Runs with a host of this outcome.")] = None,
    type: Annotated[
        list[Annotated[str, Query(max_length=64)]] | None,
        Query(max_length=20, description="Runs with a host of such a type: `lab.phc`, `m7i.*`; may be repeated."),
    ] = None,
    bench: Annotated[str | None, Query(max_length=16)] = None,
    since: Annotated[str | None, Query(description="A time (RFC 3339), or how long ago: 12h, 7d.")] = None,
    until: Annotated[str | None, Query(description="A time (RFC 3339), or how long ago.")] = None,
    min_offset: Annotated[str | None, Query(description=f"The worst offset is at least this. {_FIGURE}")] = None,
    min_bound: Annotated[str | None, Query(description=f"The worst bound is at least this. {_FIGURE}")] = None,
    sort: Annotated[RunOrder, Query(description="Newest first, or the worst offset or bound.")] = RunOrder.NEWEST,
    cursor: Annotated[str | None, Query(max_length=300, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[RunItem]:
    """List runs, the newest first, or those with the worst figures.

    `outcome` and `type` together: of the same host. A cursor goes on in the same order with the same conditions.
    """
    query = RunQuery(
        order=sort,
        state=state,
        bench=bench,
        outcome=outcome,
        since_ns=parse_moment_ns("since", since),
        until_ns=parse_moment_ns("until", until),
        min_offset_ns=parse_figure_ns("min_offset", min_offset),
        min_bound_ns=parse_figure_ns("min_bound", min_bound),
    )
    after = None if cursor is None else _read_place(cursor, sort)
    found = list_page(context.ledger.database, query, types=type or (), after=after, most=limit + 1)
    page = found[:limit]
    following = None
    if len(found) > limit:
        place = page[-1].place(sort)
        following = write_cursor(sort, place.run, place.started_ns, place.figure)
    return Page(items=[run_item(summary) for summary in page], next=following)


@router.get("/{run}")
async def show_run(run: RunName, request: Request, _caller: Reader) -> RunDetail:
    """Show a run with its hosts: verdicts, figures, and the stage in which each is now."""
    return await _RUN_DETAILS.read((read_context(request).ledger, run))


@router.get("/{run}/hosts/{host}")
@short_read
def show_host(run: Run, host: Host, context: Context) -> dict[str, Any]:
    """Show a host: the ladder with its evidence, findings, figures and steps; before its verdict, the steps."""
    steps = [step for step in context.ledger.steps(run.run) if step.host == host.host]
    return {
        "run": run.run,
        "bench": run.bench,
        **build_host_document(host),
        "steps": [build_step_document(step) for step in steps],
    }


def _read_runs(wanted: Sequence[tuple[Ledger, str]]) -> list[RunDetail | Exception]:
    found = {
        ledger: read_details(ledger, {name for of_ledger, name in wanted if of_ledger is ledger})
        for ledger in {ledger for ledger, _ in wanted}
    }
    return [_make_detail(ledger, name, found[ledger]) for ledger, name in wanted]


def _make_detail(ledger: Ledger, name: str, found: Mapping[str, RunDetails]) -> RunDetail | Exception:
    try:
        if name not in found:
            name = ledger.find(name).run  # raises the error that tells the latest names, unless it is `last`
            found = read_details(ledger, [name])
        return run_detail(found[name])
    except Exception as error:
        return error


_RUN_DETAILS = ReadTogether(_read_runs)


def _read_place(cursor: str, sort: RunOrder) -> RunPlace:
    order, run, started_ns, figure = read_cursor(cursor, (str, str, int, (int, float, type(None))))
    if order != sort or not isinstance(started_ns, int) or not isinstance(figure, int | float | None):
        raise ServiceError(
            HTTPStatus.BAD_REQUEST, f"the cursor is of a list by {order}", next_step="keep `sort` from page to page"
        )
    return RunPlace(run=str(run), started_ns=started_ns, figure=figure)
