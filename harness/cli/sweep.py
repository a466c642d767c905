"""`sweep`: what runs left behind, and its removal."""

from typing import Annotated

import typer

from harness import wiring
from harness.benches.bench import Bench
from harness.cli import completion, output
from harness.errors import CleanupError, ExitCode
from harness.model.cloud import CloudOptions
from harness.runs import leftovers as sweeping
from harness.runs.leftovers import UntouchedResource
from harness.store import run_overview
from harness.store.ledger import Ledger
from harness.store.run_overview import RunOverview
from harness.system import settings
from harness.untrusted.plain_text import clip


def sweep(
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    bench: Annotated[str, typer.Option(metavar="NAME", help="The bench to look at: lab, ec2.")] = "lab",
    region: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A Region of EC2 to look at, beside those of our own hosts.",
            autocompletion=completion.regions,
        ),
    ] = None,
) -> None:
    """List what dead or ended runs left; --yes removes it.

    Hosts that were kept on purpose are named, and not touched; nor are those of runs under way and of `lab up`. With
    --yes, hosts of dead runs get their verdict, and what was removed is looked for once more.

    In EC2 a tag proves nothing. Only what is signed by this controller's key, or in its records, is removed; of a run
    that is in no ledger here, only once its lease has ended. The rest is listed as left alone, with the command that
    removes it, unless it looks like a host of somebody else whose lease goes on.

    Exit code 4 when something is left, also when what is left alone names a run of this ledger.

    Examples:
        ptp-harness sweep
        ptp-harness sweep --yes
        ptp-harness sweep --bench ec2 --region eu-north-1
    """
    configuration = settings.load()
    ledger, source = (
        wiring.ledger(configuration),
        wiring.bench(bench, configuration, options=CloudOptions(region=region)),
    )
    survey = sweeping.survey(ledger, source)
    found = survey.removable
    for item in found:
        for resource in item.resources:
            output.show(f"{item.token}  {resource.kind:<10} {resource.name}  {resource.detail}  ({item.why})")
    for alone in survey.left_alone:
        output.show(_line_of(alone))
    kept = [
        overview
        for overview in run_overview.list_overviews(ledger)
        if overview.line.bench == bench and overview.kept_hosts
    ]
    for overview in kept:
        output.show(_kept_line(overview))
    if yes:
        sweeping.remove(found, source)
        closed = sweeping.close_dead_runs(ledger, source)
        _verify(ledger, source)
        removed = f"removed {len(found)}, verified" if found else "nothing to remove"
        output.show(removed + (f"; closed the books of {', '.join(closed)}" if closed else ""))
    elif found:
        output.show(f"{len(found)} left; `ptp-harness sweep --yes` removes them")
    else:
        output.show(f"nothing {'else ' if kept else ''}is left" + (" that is ours" if survey.left_alone else ""))
    if (found and not yes) or any(alone.names_our_run for alone in survey.left_alone):
        raise typer.Exit(ExitCode.LEFT_RUNNING)


def _line_of(alone: UntouchedResource) -> str:
    resource = alone.resource
    words = [clip(resource.token) or "without a token", f"{resource.kind:<10} {resource.name}", clip(resource.detail)]
    return "  ".join([*filter(None, words), f"(left alone: {alone.why})"])


def _kept_line(overview: RunOverview) -> str:
    run = overview.line.run
    names = ", ".join(host.host for host in overview.kept_hosts)
    kept = run_overview.describe_kept(overview)
    return f"run {run} {kept} on purpose ({names}); remove with `ptp-harness release {run}`"


def _verify(ledger: Ledger, source: Bench) -> None:
    again = sweeping.list_removable(ledger, source)
    if again:
        names = [f"{resource.kind} {resource.name}" for item in again for resource in item.resources]
        raise CleanupError(names, next_step="see their details with `ptp-harness sweep`")
