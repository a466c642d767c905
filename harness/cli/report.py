"""`report`: print the report of a run that has ended, in any of its forms."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output, report_targets, run_argument
from harness.cli.report_targets import ReportTarget
from harness.model import RunRecord
from harness.model.plots import ClockPlots
from harness.report import text
from harness.report.formats import Format, render
from harness.runs.ended_runs import read_record
from harness.system import settings
from harness.system.settings import Settings

Forms = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORM[=FILE]",
        help=f"Print the report in this form to standard output, or write it to FILE; may be repeated. "
        f"Forms: {', '.join(Format)}.",
        autocompletion=completion.report_forms,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


Target = ReportTarget[Format]


def _print_schema(requested: bool) -> None:
    if requested:
        # Imported here, since no other use of the command needs it.
        from harness.report.report_schema import json_schema

        output.emit(json_schema())
        raise typer.Exit


def report(
    run: run_argument.Run,
    forms: Forms = None,
    json: Json = False,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema", help="Print the JSON schema of json and yaml, and end.", is_eager=True, callback=_print_schema
        ),
    ] = False,
) -> None:
    """Print the report of a run that has ended.

    As text, or in the form that --format or --json selects; --format FORM=FILE writes a file. html is one page with
    plots that needs nothing else, json and yaml have the whole record, junit is for pipelines, openmetrics for a
    store of time series, markdown for a pull request.

    The plots of html come from the run's evidence, on this machine or in the evidence store. A host whose evidence is
    in neither is reported without them.

    --schema needs no run: it prints the JSON schema (draft 2020-12) that every report of this version satisfies.

    Examples:
        ptp-harness report k3f9
        ptp-harness report last --format junit > report.xml
        ptp-harness report k3f9 -f json=report.json -f junit=report.xml
        ptp-harness report k3f9 --format markdown > report.md
        ptp-harness report last --format html=report.html
        ptp-harness report --schema > report.schema.json
    """
    targets = read_targets(forms, json=json)
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    record = read_record(run, ledger)
    write_reports(record, targets, configuration)
    if not targets:
        output.show(text.summary(record))


def read_targets(forms: Sequence[str] | None, *, json: bool) -> tuple[Target, ...]:
    """Parse the values of --format before a run begins. Raises RequestError, also for a file that cannot be written."""
    return report_targets.read_targets(forms, Format, json=json)


def _load_plots(record: RunRecord, configuration: Settings) -> Mapping[str, ClockPlots]:
    """Load what the plots of a report show, and warn where some are not there."""
    plots, trouble = wiring.collect_plots(record, configuration)
    if trouble is not None:
        output.say(f"warning: plots are left out: {trouble}")
    return plots


def write_reports(record: RunRecord, targets: Sequence[Target], configuration: Settings) -> None:
    """Write the report to each target. A failure does not stop the others. Raises SetupError at the end."""
    plots = _load_plots(record, configuration) if any(target.form is Format.HTML for target in targets) else {}
    report_targets.write_targets(
        targets, lambda form: render(record, form, plots), command=f"ptp-harness report {record.run}"
    )
