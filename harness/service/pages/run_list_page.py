"""List runs, chosen by filters that are kept in the address, page by page."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response

from harness.errors import RequestError
from harness.model import Outcome
from harness.model.bench_traits import BenchName
from harness.service.authentication import Context
from harness.service.cursors import read_cursor, write_cursor
from harness.service.pages.addresses import with_query
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer
from harness.service.problems import ServiceError
from harness.service.times import parse_moment_ns
from harness.store.run_pages import RunSummary, list_page
from harness.store.run_query import RunOrder, RunPlace, RunQuery, RunState

router = APIRouter(include_in_schema=False)

Choice = TypeVar("Choice", RunOrder, RunState, Outcome)

_ON_A_PAGE = 50
_MOST_TYPES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """The values of the form above the list, as they stand in the address; "" chooses all."""

    type: str = ""
    outcome: str = ""
    state: str = ""
    bench: str = ""
    since: str = ""
    until: str = ""
    sort: str = ""

    @property
    def values(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def is_set(self) -> bool:
        """Whether it leaves runs out."""
        return any(value for name, value in self.values.items() if name != "sort")


Text = Annotated[str, Query(max_length=64)]


@router.get("/runs")
def list_runs(
    request: Request,
    viewer: PageViewer,
    context: Context,
    type: Text = "",
    outcome: Text = "",
    state: Text = "",
    bench: Text = "",
    since: Text = "",
    until: Text = "",
    sort: Text = "",
    after: Annotated[str | None, Query(max_length=300)] = None,
) -> Response:
    """List runs."""
    chosen = RunFilter(type=type, outcome=outcome, state=state, bench=bench, since=since, until=until, sort=sort)
    mistake, runs, following = "", list[RunSummary](), None
    try:
        query = make_query(chosen)
        place = None if after is None else _read_place(after)
        types = [part for part in chosen.type.replace(",", " ").split() if part]
        runs = list_page(context.ledger.database, query, types=types, after=place, most=_ON_A_PAGE + 1)
    except (RequestError, ServiceError) as error:
        mistake = error.message
    else:
        if len(runs) > _ON_A_PAGE:
            last = runs[_ON_A_PAGE - 1].place(query.order)
            following = with_query("/runs", **chosen.values, after=write_cursor(last.started_ns, last.run, last.figure))
    return render(
        request,
        viewer,
        "runs.html",
        status=400 if mistake else 200,
        page="runs",
        chosen=chosen,
        mistake=mistake,
        runs=runs[:_ON_A_PAGE],
        following=following,
        first=with_query("/runs", **chosen.values) if after is not None else None,
        outcomes=list(Outcome),
        states=list(RunState),
        benches=list(BenchName),
        orders={"": "newest", RunOrder.OFFSET: "worst offset", RunOrder.BOUND: "worst bound"},
        most_types=_MOST_TYPES,
    )


def make_query(chosen: RunFilter) -> RunQuery:
    """Make the query of a filter. Raises RequestError for a value that cannot be chosen."""
    return RunQuery(
        order=_choose(RunOrder, "sort", chosen.sort) or RunOrder.NEWEST,
        state=_choose(RunState, "state", chosen.state),
        outcome=_choose(Outcome, "outcome", chosen.outcome),
        bench=chosen.bench or None,
        since_ns=parse_moment_ns("since", chosen.since or None),
        until_ns=parse_moment_ns("until", chosen.until or None),
    )


def _choose(kind: type[Choice], name: str, text: str) -> Choice | None:
    if not text:
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise RequestError(f"{name} is none of {', '.join(kind)}") from error


def _read_place(cursor: str) -> RunPlace:
    started_ns, run, figure = read_cursor(cursor, (int, str, (int, float, type(None))))
    return RunPlace(
        run=str(run),
        started_ns=started_ns if isinstance(started_ns, int) else 0,
        figure=float(figure) if isinstance(figure, int | float) else None,
    )
