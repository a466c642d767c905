"""`doctor`: what is missing on this machine, and how to get it."""

from dataclasses import asdict
from typing import Annotated

import typer

from harness import settings, wiring
from harness.cli import output
from harness.errors import ExitCode


def doctor(
    bench: Annotated[str, typer.Option(metavar="NAME", help="The bench to look at.")] = "lab",
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Say what is missing on this machine, and how to get it.

    Exit code 2 when something is. Nothing is installed and nothing made.

    Examples:
        ptp-harness doctor
        ptp-harness doctor --json
    """
    checks = wiring.checks(bench, settings.load())
    if json:
        output.emit([asdict(check) for check in checks])
    for check in checks:
        output.say(f"{'ok     ' if check.ok else 'MISSING'}  {check.name:<16} {check.seen}")
        if not check.ok:
            output.say(f"         {'':<16} next: {check.remedy}")
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.BAD_REQUEST)
