"""Show which types can be trusted, and since when not: each type in each image, kernel and driver."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from harness.analysis.verdict_series import TypeStanding, find_cell, order_environments
from harness.model import Outcome
from harness.model.bench_traits import BenchName
from harness.service.pages.addresses import with_query
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer
from harness.store.verdict_history import VerdictHistory

router = APIRouter(include_in_schema=False)

_MOST_TYPES = 40
_MOST_NAMED = 20
_MOST_ENVIRONMENTS = 5

_TITLES = {
    Outcome.PASS: ("Can be trusted", "The newest verdict is PASS."),
    Outcome.FAIL: ("Not to be trusted", "A clock was measured, and it broke a limit."),
    Outcome.INCONCLUSIVE: ("Not known", "The newest measurement said neither yes nor no."),
    Outcome.UNSUPPORTED: ("No clock", "There is no PTP clock to trust."),
}
"""The groups of types, in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeGroup:
    """The types that stand alike; `types` are the first of all `count`."""

    outcome: Outcome
    title: str
    note: str
    types: Sequence[TypeStanding]
    count: int


@router.get("/")
def show_overview(
    request: Request,
    viewer: PageViewer,
    bench: Annotated[str | None, Query(max_length=16)] = None,
    region: Annotated[str | None, Query(max_length=32)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    environments: Annotated[str | None, Query(pattern="^all$")] = None,
) -> Response:
    """Show the types of a bench."""
    history: VerdictHistory = request.app.state.verdict_history
    regions = history.places().regions
    chosen = bench if bench in regions else choose_bench([*regions])
    types = [] if chosen is None else history.sum_up(chosen, region)
    columns = order_environments(types)
    shown = columns if environments else columns[:_MOST_ENVIRONMENTS]
    later = [each for each in types if after is None or each.instance_type > after]
    query = {"bench": chosen, "region": region, "environments": environments}
    more = later[_MOST_TYPES:]
    following = {**query, "after": later[_MOST_TYPES - 1].instance_type} if more else None
    return render(
        request,
        viewer,
        "overview.html",
        page="overview",
        bench=chosen,
        benches=list(regions),
        region=region,
        regions=regions.get(chosen or "", ()),
        groups=group_types(types),
        count=len(types),
        types=[(each, [find_cell(each, column, columns) for column in shown]) for each in later[:_MOST_TYPES]],
        following=with_query("/", **following) if following else None,
        is_first=after is None,
        columns=shown,
        hidden=columns[len(shown) :],
        all_columns=with_query("/", **{**query, "environments": "all"}),
    )


def choose_bench(benches: Sequence[str]) -> str | None:
    """Choose the bench that is shown first: EC2's types where there are any. None without a bench."""
    return BenchName.EC2.value if BenchName.EC2 in benches else next(iter(benches), None)


def group_types(types: Sequence[TypeStanding]) -> list[TypeGroup]:
    """Group types by how they stand. What failed or is not known begins with what is so since the shortest time."""
    groups = []
    for outcome, (title, note) in _TITLES.items():
        members = [each for each in types if each.outcome is outcome]
        if outcome is not Outcome.PASS:
            members.sort(key=lambda each: each.worst.since.started_ns, reverse=True)
        groups.append(
            TypeGroup(outcome=outcome, title=title, note=note, types=members[:_MOST_NAMED], count=len(members))
        )
    return groups
