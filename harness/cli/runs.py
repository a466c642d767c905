"""`runs`: list the runs of the ledger."""

import datetime
from typing import Annotated

import typer

from harness import units, wiring
from harness.campaign import query_values
from harness.cli import completion, figure_options, output
from harness.report.table import align_rows
from harness.store import run_overview
from harness.store.run_overview import RunOverview
from harness.store.run_query import RunOrder, RunQuery
from harness.system import settings


def runs(
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="PATTERN", help="Only runs with such a type: lab.phc, 'm7*'; may be repeated."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only runs that died, or with a verdict FAIL or INCONCLUSIVE.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only runs begun since: 12h, 7d, 2026-11-21 (UTC).")
    ] = None,
    min_offset: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs whose worst offset is at least this: 500ns, 20us.")
    ] = None,
    min_bound: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs whose worst bound is at least this: 50us, 1ms.")
    ] = None,
    sort: Annotated[RunOrder, typer.Option(help="Newest first, or the worst offset or bound first.")] = RunOrder.NEWEST,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="RUN", help="Only runs begun before this one.", autocompletion=completion.runs
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="RUN", help="Only what comes after this run in the list.", autocompletion=completion.runs
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """List runs with their verdicts and figures, newest first.

    Offset and bound are the worst of a run's hosts: what 99 % of their sizes are within. The bound is that with the
    device's, or chrony's where the device publishes none. With --sort, runs without the figure come last.

    A run has ended, is under way, or died. `resume` goes on with a run that died; `sweep --yes` removes what it left
    and closes its books. "kept 1" is a host that stayed on purpose; `release RUN` removes it. Where a command takes a
    RUN, `last` is the newest one.

    Examples:
        ptp-harness runs
        ptp-harness runs --failed --since 7d
        ptp-harness runs --type 'm7*' --since 2026-11-21
        ptp-harness runs --limit 200 --before k3f9
        ptp-harness runs --sort offset --min-offset 20us
        ptp-harness runs --sort bound --after k3f9
        ptp-harness runs --json
    """
    query = RunQuery(
        order=sort,
        since_ns=query_values.parse_moment_ns(
            "--since",
            since,
            now=datetime.datetime.now(datetime.UTC),
            kind="date",
            next_step="`ptp-harness runs --help`",
        ),
        min_offset_ns=figure_options.parse_ns("--min-offset", min_offset),
        min_bound_ns=figure_options.parse_ns("--min-bound", min_bound),
    )
    ledger = wiring.ledger(settings.load())
    overviews = run_overview.list_overviews(
        ledger, query=query, types=types or (), failed=failed, before=before, after=after, most=limit + 1
    )
    more, overviews = len(overviews) > limit, overviews[:limit]
    if json:
        output.emit([_document(overview) for overview in overviews])
    elif overviews:
        output.show("\n".join(align_rows(_rows(overviews))))
    elif types or failed or before or after or query != RunQuery(order=sort):
        output.say("no run matches")
    else:
        output.say("no runs yet; `ptp-harness run lab.phc` makes one")
    keepers = [overview.line.run for overview in overviews if overview.kept_hosts]
    if more and not json:
        output.say(_describe_next_page(sort, overviews[-1].line.run))
    if keepers and not json:
        output.say(f"remove kept hosts: ptp-harness release {keepers[0] if len(keepers) == 1 else 'RUN'}")


def _describe_next_page(sort: RunOrder, last: str) -> str:
    if sort is RunOrder.NEWEST:
        return f"older runs: ptp-harness runs --before {last}"
    return f"more runs: ptp-harness runs --sort {sort} --after {last}"


def _rows(overviews: list[RunOverview]) -> list[tuple[str, ...]]:
    return [
        (
            overview.line.run,
            _describe_moment(overview.started),
            overview.line.bench,
            overview.state,
            ", ".join(f"{count} {outcome}" for outcome, count in overview.verdicts.items()) or "-",
            _describe_figures(overview) or "-",
            run_overview.describe_kept(overview) or "-",
            ", ".join(host.instance_type for host in overview.hosts),
        )
        for overview in overviews
    ]


def _describe_figures(overview: RunOverview) -> str:
    figures = {"offset": overview.offset_p99_ns, "bound": overview.bound_p99_ns}
    return ", ".join(f"{name} {units.ns(value)}" for name, value in figures.items() if value is not None)


def _document(overview: RunOverview) -> dict[str, object]:
    until = overview.kept_until
    return {
        "run": overview.line.run,
        "bench": overview.line.bench,
        "started": _describe_moment(overview.started),
        "state": overview.state,
        "instance_types": [host.instance_type for host in overview.hosts],
        "verdicts": {outcome.value: count for outcome, count in overview.verdicts.items()},
        "offset_p99_ns": overview.offset_p99_ns,
        "bound_p99_ns": overview.bound_p99_ns,
        "kept": len(overview.kept_hosts),
        "kept_until": None if until is None else _describe_moment(until),
        "kept_by": list(overview.kept_by),
        "kept_cost_usd": overview.kept_cost_usd,
    }


def _describe_moment(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
