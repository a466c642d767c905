"""`report`: the report of a run that has ended, again."""

from typing import Annotated

import typer

from harness import settings, wiring
from harness.cli import output
from harness.errors import RequestError
from harness.report import text
from harness.report.document import document


def report(
    run: Annotated[str, typer.Argument(help="The run's short name, as `ptp-harness runs` lists it.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Print the report of a run that has ended.

    Example: ptp-harness report k3f9 --json
    """
    record = wiring.ledger(settings.load()).record(run)
    if record is None:
        raise RequestError(
            f"run {run} has not ended", next_step="wait for it, or `ptp-harness sweep --yes` when its process died"
        )
    if json:
        output.emit(document(record))
    else:
        output.say(text.summary(record))
