"""`report` and `diff` with a service."""

from collections.abc import Sequence

import typer

from harness.cli import output, remote_runs, report_targets
from harness.cli.report_targets import ReportTarget
from harness.cli.server_options import NamedServer, connect
from harness.client.client import Client
from harness.client.run_views import ComparedText
from harness.report.comparison_forms import ComparisonForm
from harness.report.formats import Format


def report(server: NamedServer, *, run: str, forms: Sequence[str] | None, json: bool, schema: bool = False) -> None:
    """Print the report of a run of a service."""
    targets = report_targets.read_targets(forms, Format, json=json)
    with connect(server) as client:
        name = remote_runs.find_run(client, run)
        write_reports(name, client, targets)
        if not targets:
            output.show(client.report(name))


def write_reports(run: str, client: Client, targets: Sequence[ReportTarget[Format]]) -> None:
    """Write the report of a run to each target. A file that cannot be written does not stop the others.

    Raises SetupError at the end.
    """
    command = f"ptp-harness --server {client.url} report {run}"
    report_targets.write_targets(targets, lambda form: client.report(run, form), command=command)


def print_end(run: str, client: Client, targets: Sequence[ReportTarget[Format]]) -> None:
    """Print the report of a run for people on standard error, and write the requested reports."""
    output.say(client.report(run))
    write_reports(run, client, targets)


def diff(
    server: NamedServer,
    *,
    run: str,
    bases: Sequence[str] | None,
    baseline: str,
    all_figures: bool,
    forms: Sequence[str] | None,
    json: bool,
) -> None:
    """Compare a run of a service with earlier ones there."""
    targets = report_targets.read_targets(forms, ComparisonForm, json=json)
    codes: list[int] = []
    with connect(server) as client:

        def compare(form: ComparisonForm) -> str:
            compared: ComparedText = client.compare(
                run, bases or (), baseline=baseline, form=form, all_figures=all_figures
            )
            codes.append(compared.exit_code)
            return compared.text

        if not targets:
            output.show(compare(ComparisonForm.TEXT))
        command = f"ptp-harness --server {client.url} diff {run} BASE..."
        report_targets.write_targets(targets, compare, command=command)
    raise typer.Exit(max(codes))
