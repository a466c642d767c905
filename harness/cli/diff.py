"""`diff`: compare a run with earlier ones."""

from typing import Annotated

import typer

from harness import wiring
from harness.analysis.comparison import compare_runs
from harness.analysis.figure_changes import prior_spread
from harness.cli import completion, output, run_argument
from harness.cli.report import read_record
from harness.cli.report_targets import read_targets, write_targets
from harness.errors import ExitCode, RequestError
from harness.report.comparison_forms import ComparedRuns, ComparisonForm, render_comparison
from harness.store.baselines import DEFAULT, Baselines
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
    record = read_record(run, ledger)
    names = bases or [line.run for line in Baselines(ledger.database).list_lines(baseline)]
    if not names:
        raise RequestError(
            f"there is no run to compare with: the baseline {baseline!r} is empty",
            next_step="name earlier runs, or `ptp-harness baseline add RUN`",
        )
    earlier = sorted((read_record(name, ledger) for name in dict.fromkeys(names)), key=lambda base: base.started)
    earlier = [base for base in earlier if base.run != record.run]
    if not earlier:
        raise RequestError(f"run {record.run} cannot be compared with itself", next_step="name an earlier run")
    others = [f"{base.run} ({base.bench})" for base in earlier if base.bench != record.bench]
    if others:
        raise RequestError(
            f"run {record.run} is of bench {record.bench}, and others are not: {', '.join(others)}",
            next_step="compare runs of one bench",
        )
    spread = prior_spread(record.bench)
    found = compare_runs(record.hosts, [base.hosts for base in earlier], spread=spread)
    compared = ComparedRuns(
        comparison=found,
        run=record.run,
        started=record.started,
        bases=[base.run for base in earlier],
        all_figures=all_figures,
    )
    if not targets:
        output.show(render_comparison(compared, ComparisonForm.TEXT))
    write_targets(
        targets, lambda form: render_comparison(compared, form), command=f"ptp-harness diff {record.run} BASE..."
    )
    if found.regressed:
        raise typer.Exit(ExitCode.CLOCK_FAILED)
    raise typer.Exit(ExitCode.NOT_CONCLUSIVE if found.uncompared else ExitCode.PASSED)
