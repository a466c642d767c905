"""`sweep`: list and remove what runs left behind."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from harness import wiring
from harness.benches.bench import Bench
from harness.cli import completion, output
from harness.errors import CleanupError, ExitCode
from harness.model.bench_traits import BENCHES
from harness.model.cloud import CloudOptions
from harness.runs import leftovers as sweeping
from harness.runs.leftovers import Survey, UntouchedResource
from harness.store import run_overview
from harness.store.ledger import Ledger
from harness.store.run_overview import RunOverview
from harness.system import settings
from harness.untrusted.plain_text import clip

_SEARCHED = [name for name, traits in BENCHES.items() if traits.makes_hosts]


def sweep(
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    bench: Annotated[str, typer.Option(metavar="NAME", help=f"The bench to search: {', '.join(_SEARCHED)}.")] = "lab",
    region: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A Region of EC2 to search, besides the Regions of our own hosts.",
            autocompletion=completion.regions,
        ),
    ] = None,
) -> None:
    """List what dead or ended runs left; --yes removes it.

    Hosts that were kept on purpose are listed, but not removed. Hosts of runs under way and of `lab up` are neither
    listed nor removed. With --yes, hosts of dead runs get their verdict, and the removal is verified.

    In EC2 a tag proves nothing. Only resources that are signed by this controller's key, or in its records, are
    removed; resources of a run that is in no ledger here, only after the lease has ended. The others are listed as left
    alone, with the command that removes them, except hosts of other users whose lease has not ended.

    Exit code 4 if something is left, also if a resource that is left alone names a run of this ledger.

    Examples:
        ptp-harness sweep
        ptp-harness sweep --yes
        ptp-harness sweep --bench ec2 --region eu-north-1
    """
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    swept_bench = wiring.bench(bench, configuration, options=CloudOptions(region=region))
    survey = sweeping.survey(ledger, swept_bench)
    with_kept_hosts = run_overview.make_overviews(ledger.runs_that_keep(bench), ledger)
    for line in _describe(survey, with_kept_hosts):
        output.show(line)
    output.show(_remove(ledger, swept_bench) if yes else _conclude(survey, with_kept_hosts))
    if (survey.removable and not yes) or any(untouched.names_our_run for untouched in survey.left_alone):
        raise typer.Exit(ExitCode.LEFT_RUNNING)


def _describe(survey: Survey, with_kept_hosts: Sequence[RunOverview]) -> Iterator[str]:
    """List what may be removed, what is left alone, and the runs that keep hosts."""
    for item in survey.removable:
        for resource in item.resources:
            yield f"{item.token}  {resource.kind:<10} {resource.name}  {resource.detail}  ({item.why})"
    yield from map(_describe_untouched, survey.left_alone)
    yield from map(_describe_kept, with_kept_hosts)


def _remove(ledger: Ledger, source: Bench) -> str:
    """Take over the dead runs, remove what is left, close these runs, and verify; say so. Raises CleanupError."""
    expired = sweeping.release_expired(ledger, source)
    runs = sweeping.take_over_dead_runs(ledger, source, output.say)
    removable = sweeping.list_removable(ledger, source, taken_over=runs)
    sweeping.remove(removable, source)
    closed = sweeping.close_runs(runs, ledger, source, output.say)
    _verify(ledger, source)
    removed = f"removed {len(removable)}, verified" if removable else "nothing to remove"
    if expired:
        removed += f"; ended {', '.join(expired)}, whose lease has ended"
    return removed + (f"; closed the books of {', '.join(closed)}" if closed else "")


def _conclude(survey: Survey, with_kept_hosts: Sequence[RunOverview]) -> str:
    """Say how much may be removed."""
    if survey.removable:
        return f"{len(survey.removable)} left; `ptp-harness sweep --yes` removes them"
    qualifier = " that is ours" if survey.left_alone else ""
    return f"nothing {'else ' if with_kept_hosts else ''}is left{qualifier}"


def _describe_untouched(untouched: UntouchedResource) -> str:
    resource = untouched.resource
    parts = [clip(resource.token) or "without a token", f"{resource.kind:<10} {resource.name}", clip(resource.detail)]
    return "  ".join([*filter(None, parts), f"(left alone: {untouched.why})"])


def _describe_kept(overview: RunOverview) -> str:
    run = overview.line.run
    names = ", ".join(host.host for host in overview.kept_hosts)
    kept = run_overview.describe_kept(overview)
    return f"run {run} {kept} on purpose ({names}); remove with `ptp-harness release {run}`"


def _verify(ledger: Ledger, source: Bench) -> None:
    again = sweeping.list_removable(ledger, source)
    if again:
        names = [f"{resource.kind} {resource.name}" for item in again for resource in item.resources]
        raise CleanupError(names, next_step="see their details with `ptp-harness sweep`")
