"""`sweep`: what runs left behind, and its removal."""

from typing import Annotated

import typer

from harness import settings, wiring
from harness import sweep as sweeping
from harness.bench import Bench
from harness.cli import completion, output
from harness.errors import CleanupError, ExitCode
from harness.ledger import Ledger
from harness.model.cloud import CloudWishes


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

    Hosts that were kept on purpose, those of runs under way and those of `ptp-harness lab up` are not touched. With
    --yes, hosts of dead runs get their verdict, and what was removed is looked for once more. In EC2 a host of
    somebody else, whose run is in no ledger here, is left alone until its lease has ended.

    Exit code 4 when something is left.

    Examples:
        ptp-harness sweep
        ptp-harness sweep --yes
        ptp-harness sweep --bench ec2 --region eu-north-1
    """
    configuration = settings.load()
    ledger, source = wiring.ledger(configuration), wiring.bench(bench, configuration, wishes=CloudWishes(region=region))
    found = sweeping.left(ledger, source)
    for item in found:
        for resource in item.resources:
            output.say(f"{item.token}  {resource.kind:<10} {resource.name}  {resource.detail}  ({item.why})")
    if yes:
        sweeping.remove(found, source)
        closed = sweeping.close_dead_runs(ledger, source)
        _verify(ledger, source)
        output.say(f"removed {len(found)}, verified; closed the books of {', '.join(closed) or 'no run'}")
    elif found:
        output.say(f"{len(found)} left; `ptp-harness sweep --yes` removes them")
        raise typer.Exit(ExitCode.LEFT_RUNNING)
    else:
        output.say("nothing is left")


def _verify(ledger: Ledger, source: Bench) -> None:
    again = sweeping.left(ledger, source)
    if again:
        names = [f"{resource.kind} {resource.name}" for item in again for resource in item.resources]
        raise CleanupError(names, next_step="see their details with `ptp-harness sweep`")
