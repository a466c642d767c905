"""`diff`: compare a run with earlier ones."""

from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output, run_argument
from harness.cli.report_targets import read_targets, write_targets
from harness.report.comparison_forms import ComparisonForm, render_comparison
from harness.runs import run_comparison
from harness.store.baselines import DEFAULT
from harness.system import settings

Forms = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORM[=FILE]",
        help=f"Print the comparison in this form to standard output, or write it to FILE; may be repeated. "
        f"Forms: {', '.join(ComparisonForm)}.",
        autocompletion=completion.comparison_forms,
    ),
]


def diff(
    run: run_argument.Run,
    bases: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BASE", help="Earlier runs; default: those of the baseline.", autocompletion=completion.runs
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option(metavar="NAME", help="The baseline whose runs are taken without BASE.")
    ] = DEFAULT,
    all_figures: Annotated[bool, typer.Option("--all", help="Print every figure, not only what changed.")] = False,
    forms: Forms = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Compare a run with earlier ones: what got worse.

    Type by type: verdicts, figures of the clock, how it fared under disturbances, and what else is different (kernel,
    driver, chrony, image, zone). A figure counts as worse if it is at least a quarter larger than in the earlier runs,
    and chance alone makes it so rarely: with 5 % false alarms over all figures together. With few earlier runs only a
    large change can be told from that between two runs; a line below the figures says how large. A bound that held
    under a disturbance and is now refuted is worse, too.

    --format html=FILE writes one page with a plot of each figure now against before, and how large a change could have
    been seen: it needs no network and no script.

    --format junit=FILE writes a suite of tests with a case for each verdict, disturbance and figure of a type: failed
    if it got worse, skipped if it could not be compared.

    Exit code 1 if a verdict or a figure got worse, 3 if something could not be compared, else 0.

    Examples:
        ptp-harness diff last k3f9
        ptp-harness diff last k3f9 m2p7 x9d4 --all
        ptp-harness diff last --baseline november
        ptp-harness diff last --format text --format junit=diff.xml
        ptp-harness diff last --format html=diff.html
    """
    targets = read_targets(forms, ComparisonForm, json=json)
    ledger = wiring.ledger(settings.load())
    compared = run_comparison.compare_runs(run, bases or (), ledger, baseline=baseline, all_figures=all_figures)
    if not targets:
        output.show(render_comparison(compared, ComparisonForm.TEXT))
    write_targets(
        targets, lambda form: render_comparison(compared, form), command=f"ptp-harness diff {compared.run} BASE..."
    )
    raise typer.Exit(run_comparison.exit_code_of_comparison(compared))
