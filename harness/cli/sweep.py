"""`sweep`: list and remove what runs left behind."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from harness import units, wiring
from harness.cli import completion, output
from harness.errors import CleanupError, ExitCode, RequestError
from harness.model import Resource
from harness.model.bench_traits import BENCHES
from harness.runs.leftovers import Leftover, LeftoverFilter, UntouchedResource
from harness.runs.sweep import Findings, Removals, Sweep
from harness.store import run_overview
from harness.store.run_overview import RunOverview
from harness.system import file_locks, settings
from harness.untrusted.input_checks import shorten_value
from harness.untrusted.plain_text import clip

_SEARCHED = [name for name, traits in BENCHES.items() if traits.makes_hosts]


def sweep(
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    bench: Annotated[str | None, typer.Option(metavar="NAME", help=f"Only this bench: {', '.join(_SEARCHED)}.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A Region of EC2 to search too; may be repeated.",
            autocompletion=completion.regions,
        ),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Only what is older: 30m, 12h, 7d.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="NAME", help="Only what is of this owner: ada, ada@laptop.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """List what dead or ended runs left; --yes removes it.

    The lab is searched, and EC2 if the ledger has runs there: in all Regions that its runs name, those of our launch
    records, that of your AWS settings and each --region. Hosts that were kept on purpose are listed, but not removed
    before their lease ends. Hosts of runs under way, also on other machines, and of `lab up` are neither listed nor
    removed. With --yes, hosts of dead runs get their verdict, and the removal is verified.

    In EC2 a tag proves nothing. Only resources that are signed by this controller's key, or in its records, are
    removed; resources of a run that is in no ledger here, only after the lease has ended. The others are listed as left
    alone, with the command that removes them, except hosts of other users whose lease has not ended.

    Exit code 4 if something is left, also if a resource that is left alone names a run of this ledger; 3 if a place
    could not be searched.

    Examples:
        ptp-harness sweep
        ptp-harness sweep --yes
        ptp-harness sweep --bench ec2 --region eu-north-1
        ptp-harness sweep --yes --older-than 12h --owner ada
    """
    if bench is not None and bench not in _SEARCHED:
        raise RequestError(
            f"--bench is {shorten_value(bench)}: hosts are made, and removed, by {' and '.join(_SEARCHED)} alone",
            next_step="`ptp-harness sweep --help`",
        )
    selection = LeftoverFilter(older_than_s=None if older_than is None else _parse_age_s(older_than), owner=owner)
    configuration = settings.load()
    sweeper = wiring.sweep(configuration, selection, output.say, bench_name=bench, regions=region or ())
    removals = None
    if yes:
        configuration.state_dir.mkdir(parents=True, exist_ok=True)
        with file_locks.locked(configuration.state_dir / "sweep.lock", "sweep", output.say):
            findings, keeps = _search(sweeper, shows=not json)
            removals = sweeper.remove(findings)
    else:
        findings, keeps = _search(sweeper, shows=not json)
    if json:
        output.emit(_document(findings, removals, sweeper))
    else:
        output.show(_conclude(findings, removals, keeps=keeps))
    if removals is not None and removals.failed:
        raise CleanupError(removals.failed, next_step=removals.next_step)
    if (findings.selected and not yes) or any(untouched.names_our_run for _, untouched in findings.left_alone):
        raise typer.Exit(ExitCode.LEFT_RUNNING)
    if findings.unsearched:
        raise typer.Exit(ExitCode.NOT_CONCLUSIVE)


def _parse_age_s(text: str) -> float:
    """Parse the age that leftovers must have, s. Raises RequestError."""
    # Imported here, since it is slow to load.
    from harness.campaign.fields import parse_duration_s

    try:
        return parse_duration_s(text)
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"--older-than is {shorten_value(text)}: it must be a duration such as 30m, 12h or 7d",
            next_step="`ptp-harness sweep --help`",
        ) from error


def _search(sweeper: Sweep, *, shows: bool) -> tuple[Findings, bool]:
    """Search all places, and list what is there; return the findings, and whether a run was listed that keeps hosts.

    Raises HarnessError where none of the places can be searched.
    """
    if len(sweeper.places) > 1:
        output.say(f"searching {', '.join(map(str, sweeper.places))}")
    findings = sweeper.search()
    if not findings.surveys:
        raise next(iter(findings.unsearched.values()))
    for place, error in findings.unsearched.items():
        output.say(f"{place} was not searched: {error}")
    keeping = sweeper.find_keeping_runs() if shows else []
    if shows:
        for line in _list(findings, keeping):
            output.show(line)
    return findings, bool(keeping)


def _list(findings: Findings, keeping: Sequence[RunOverview]) -> Iterator[str]:
    """List what may be removed, what is left alone, and the runs that keep hosts."""
    now = datetime.datetime.now(datetime.UTC)
    for _, leftover in findings.selected:
        for resource in leftover.resources:
            facts = "; ".join([leftover.why, *_describe(leftover, now)])
            yield f"{leftover.token}  {resource.kind:<10} {resource.name}  {resource.detail}  ({facts})"
    yield from (_describe_untouched(untouched) for _, untouched in findings.left_alone)
    yield from map(_describe_kept, keeping)


def _describe(leftover: Leftover, now: datetime.datetime) -> Iterator[str]:
    """Say how old a leftover is, of whom, and what it cost so far, as far as that is known."""
    age_s, cost_usd = leftover.age_s(now), leftover.cost_usd(now)
    words = ["" if age_s is None else f"{units.duration(age_s)} old", f"of {leftover.owner}" if leftover.owner else ""]
    if described := ", ".join(filter(None, words)):
        yield clip(described)
    if cost_usd is not None:
        yield f"{units.usd(cost_usd)} so far"


def _conclude(findings: Findings, removals: Removals | None, *, keeps: bool) -> str:
    """Say what was removed, or how much may be."""
    others = f"; {findings.not_selected} more, which the options do not select" if findings.not_selected else ""
    if removals is not None:
        return _describe_removals(removals) + others
    if findings.selected:
        return f"{len(findings.selected)} left; `ptp-harness sweep --yes` removes them{others}"
    qualifier = " that is ours" if findings.left_alone else ""
    where = ", where it could be searched" if findings.unsearched else ""
    return f"nothing {'else ' if keeps else ''}is left{qualifier}{where}{others}"


def _describe_removals(removals: Removals) -> str:
    removed = f"removed {len(removals.removed)}" if removals.removed else "nothing to remove"
    if removals.removed and not removals.failed:
        removed += ", verified"
    if removals.expired:
        removed += f"; ended {', '.join(removals.expired)}, whose lease has ended"
    return removed + (f"; closed the books of {', '.join(removals.closed)}" if removals.closed else "")


def _describe_untouched(untouched: UntouchedResource) -> str:
    resource = untouched.resource
    parts = [clip(resource.token) or "without a token", f"{resource.kind:<10} {resource.name}", clip(resource.detail)]
    return "  ".join([*filter(None, parts), f"(left alone: {untouched.why})"])


def _describe_kept(overview: RunOverview) -> str:
    run = overview.line.run
    names = ", ".join(host.host for host in overview.kept_hosts)
    kept = run_overview.describe_kept(overview)
    return f"run {run} {kept} on purpose ({names}); remove with `ptp-harness release {run}`"


def _document(findings: Findings, removals: Removals | None, sweeper: Sweep) -> dict[str, Any]:
    """Make the document of --json."""
    now = datetime.datetime.now(datetime.UTC)
    document: dict[str, Any] = {
        "searched": [asdict(place) for place in findings.surveys],
        "not_searched": [asdict(place) | {"why": str(error)} for place, error in findings.unsearched.items()],
        "left": [
            asdict(place)
            | {
                "token": str(leftover.token),
                "run": leftover.token.run,
                "host": leftover.token.host,
                "why": leftover.why,
                "created": None if leftover.created is None else leftover.created.isoformat(),
                "age_s": leftover.age_s(now),
                "owner": leftover.owner,
                "cost_usd": leftover.cost_usd(now),
                "resources": [_describe_resource(resource) for resource in leftover.resources],
            }
            for place, leftover in findings.selected
        ],
        "not_selected": findings.not_selected,
        "left_alone": [
            asdict(place)
            | {"token": untouched.resource.token, "why": untouched.why}
            | _describe_resource(untouched.resource)
            for place, untouched in findings.left_alone
        ],
        "kept": [
            {
                "run": overview.line.run,
                "hosts": [host.host for host in overview.kept_hosts],
                "until": None if overview.kept_until is None else overview.kept_until.isoformat(),
                "by": overview.kept_by,
                "cost_usd": overview.kept_cost_usd,
            }
            for overview in sweeper.find_keeping_runs()
        ],
    }
    if removals is not None:
        document |= {
            "removed": removals.removed,
            "expired": removals.expired,
            "closed": removals.closed,
            "failed": removals.failed,
        }
    return document


def _describe_resource(resource: Resource) -> dict[str, Any]:
    return {"kind": resource.kind, "name": resource.name, "detail": resource.detail}
