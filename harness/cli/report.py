"""`report`: the report of a run that has ended, again, in any of its forms."""

from typing import Annotated

import typer

from harness import wiring
from harness.cli import output, run_argument
from harness.errors import RequestError
from harness.model import RunRecord
from harness.report import text
from harness.report.formats import Format, render
from harness.store.ledger import RunLine
from harness.system import settings

Form = Annotated[
    Format | None, typer.Option("--format", "-f", help="Print the report in this form to standard output.")
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


def report(
    run: run_argument.Run,
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
    ledger = wiring.ledger(settings.load())
    record = ledger.record(run)
    if record is None:
        raise _no_report(ledger.find(run))
    if not print_report(record, form, json=json):
        output.say(text.summary(record))


def _no_report(line: RunLine) -> RequestError:
    if line.alive():
        who = f"process {line.owner.pid} on {line.machine} works on it"
        return RequestError(f"run {line.run} has not ended: {who}", next_step=f"`ptp-harness show {line.run}` so far")
    return RequestError(
        f"run {line.run} has no report: its process {line.owner.pid} died",
        next_step="`ptp-harness sweep --yes` removes what it left and closes its books; then there is one",
    )


def print_report(record: RunRecord, form: Format | None, *, json: bool) -> bool:
    """Print the report to standard output in the form asked for; returns whether one was."""
    wanted = Format.JSON if json and form is None else form
    if wanted is not None:
        output.write(render(record, wanted))
    return wanted is not None
