"""`show`: one run in full, rung by rung."""

from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output, run_argument
from harness.errors import RequestError
from harness.report import text
from harness.system import settings


def show(
    run: run_argument.Run,
    host: Annotated[str | None, typer.Argument(help="Only this host.", autocompletion=completion.hosts)] = None,
) -> None:
    """Show every rung, finding and step of a run's hosts.

    Also of a run that is under way or died: what is known so far.

    Examples:
        ptp-harness show k3f9
        ptp-harness show k3f9 lab.phc
    """
    ledger = wiring.ledger(settings.load())
    ledger.find(run)
    lines = ledger.hosts(run)
    if host is not None and host not in (names := [line.host for line in lines]):
        raise RequestError(f"run {run} has no host {host!r}", next_step=f"its hosts: {', '.join(names)}")
    for line in lines:
        if host not in (None, line.host):
            continue
        if line.record is None:
            output.say(f"{line.host} ({line.instance_type}): no verdict yet")
        else:
            output.say(text.ladder(line.record))
    for step in ledger.steps(run):
        if host is None or step.token.split("/")[1] == host:
            took = "not ended" if step.ended_ns is None else f"{(step.ended_ns - step.begun_ns) / 1e9:.1f} s"
            output.say(f"  {step.token:<32} {step.stage:<10} {took:>9}  {step.result or ''}")
