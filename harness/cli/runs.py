"""`runs`: list the runs of the ledger."""

import datetime
from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output
from harness.errors import RequestError
from harness.report.table import align_rows
from harness.store import run_overview
from harness.store.run_overview import RunOverview
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
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="RUN", help="Only runs begun before this one.", autocompletion=completion.runs
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """List runs with their verdicts, newest first.

    A run has ended, is under way, or died. `resume` goes on with a run that died; `sweep --yes` removes what it left
    and closes its books. "kept 1" is a host that stayed on purpose; `release RUN` removes it. Where a command takes a
    RUN, `last` is the newest one.

    Examples:
        ptp-harness runs
        ptp-harness runs --failed --since 7d
        ptp-harness runs --type 'm7*' --since 2026-11-21
        ptp-harness runs --limit 200 --before k3f9
        ptp-harness runs --json
    """
    begun_since = None if since is None else _parse_since(since)
    ledger = wiring.ledger(settings.load())
    overviews = run_overview.list_overviews(
        ledger, types=types or (), failed=failed, since=begun_since, before=before, most=limit + 1
    )
    more, overviews = len(overviews) > limit, overviews[:limit]
    if json:
        output.emit([_document(overview) for overview in overviews])
    elif overviews:
        output.show("\n".join(align_rows(_rows(overviews))))
    elif types or failed or since or before:
        output.say("no run matches")
    else:
        output.say("no runs yet; `ptp-harness run lab.phc` makes one")
    keepers = [overview.line.run for overview in overviews if overview.kept_hosts]
    if more and not json:
        output.say(f"older runs: ptp-harness runs --before {overviews[-1].line.run}")
    if keepers and not json:
        output.say(f"remove kept hosts: ptp-harness release {keepers[0] if len(keepers) == 1 else 'RUN'}")


def _parse_since(text: str) -> datetime.datetime:
    """Parse a duration before now, or a date or time (UTC unless it says otherwise). Raises RequestError."""
    # Imported here, since it is slow to load and most lists have no such condition.
    from harness.campaign.fields import parse_duration_s

    try:
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=parse_duration_s(text))
    except (ValueError, OverflowError):
        pass
    try:
        begun = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestError(
            f"--since is {text!r}: it must be a duration such as 12h or 7d, or a date such as 2026-11-21",
            next_step="`ptp-harness runs --help`",
        ) from error
    return begun if begun.tzinfo else begun.replace(tzinfo=datetime.UTC)


def _rows(overviews: list[RunOverview]) -> list[tuple[str, ...]]:
    return [
        (
            overview.line.run,
            _describe_moment(overview.started),
            overview.line.bench,
            overview.state,
            ", ".join(f"{count} {outcome}" for outcome, count in overview.verdicts.items()) or "-",
            run_overview.describe_kept(overview) or "-",
            ", ".join(host.instance_type for host in overview.hosts),
        )
        for overview in overviews
    ]


def _document(overview: RunOverview) -> dict[str, object]:
    until = overview.kept_until
    return {
        "run": overview.line.run,
        "bench": overview.line.bench,
        "started": _describe_moment(overview.started),
        "state": overview.state,
        "instance_types": [host.instance_type for host in overview.hosts],
        "verdicts": {outcome.value: count for outcome, count in overview.verdicts.items()},
        "kept": len(overview.kept_hosts),
        "kept_until": None if until is None else _describe_moment(until),
        "kept_by": list(overview.kept_by),
        "kept_cost_usd": overview.kept_cost_usd,
    }


def _describe_moment(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
