"""`report`: the report of a run that has ended, again, in any of its forms."""

from typing import Annotated

import typer

from harness import settings, wiring
from harness.cli import output, request
from harness.errors import RequestError
from harness.model import RunRecord
from harness.report import text
from harness.report.formats import Format, render

Form = Annotated[
    Format | None, typer.Option("--format", "-f", help="Print the report in this form to standard output.")
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


def report(
    run: request.Run,
    form: Form = None,
    json: Json = False,
) -> None:
    """Print the report of a run that has ended.

    For people to standard error; with --format or --json to standard output. json and yaml hold all that is known,
    junit is for pipelines, markdown for a page or a pull request.

    Examples:
        ptp-harness report k3f9
        ptp-harness report k3f9 --format junit > report.xml
        ptp-harness report k3f9 --format markdown > report.md
    """
    record = wiring.ledger(settings.load()).record(run)
    if record is None:
        raise RequestError(
            f"run {run} has not ended", next_step="wait for it, or `ptp-harness sweep --yes` when its process died"
        )
    if not print_out(record, form, json=json):
        output.say(text.summary(record))


def print_out(record: RunRecord, form: Format | None, *, json: bool) -> bool:
    """Print the report to standard output in the form asked for; returns whether one was."""
    wanted = Format.JSON if json and form is None else form
    if wanted is not None:
        output.write(render(record, wanted))
    return wanted is not None
