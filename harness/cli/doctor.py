"""`doctor`: print what is missing on this machine, and how to get it."""

from typing import Annotated

import typer

from harness import wiring
from harness.benches.bench import Check
from harness.cli import completion, output
from harness.errors import ExitCode, RequestError
from harness.model.bench_traits import BenchName
from harness.system import settings


def doctor(
    bench: Annotated[str, typer.Option(metavar="NAME", help="The bench to check.")] = "lab",
    region: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The AWS Region; of bench ec2.", autocompletion=completion.regions),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Also what only an AWS account can prove, as steps.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Say what is missing on this machine, and how to get it.

    Exit code 2 if something is missing. Nothing is installed or made. With `--bench ec2`, AWS is asked, and permissions
    are tested only by dry runs.

    Examples:
        ptp-harness doctor
        ptp-harness doctor --json
    """
    if bench != BenchName.EC2 and (region is not None or live):
        raise RequestError("--region and --live apply only to the bench ec2", next_step="--bench ec2")
    checks = wiring.checks(bench, settings.load(), region=region)
    if json:
        output.emit([_document(check) for check in checks])
    for check in checks if not json else ():
        output.show(f"{'ok     ' if check.ok else 'MISSING'}  {check.name:<20} {check.observed}")
        if not check.ok:
            output.show(f"         {'':<20} next: {check.remedy}")
    if live:
        steps = "\n" + wiring.ec2_steps(region)
        output.say(steps) if json else output.show(steps)
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.BAD_REQUEST)


def _document(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.ok, "seen": check.observed, "remedy": check.remedy}
