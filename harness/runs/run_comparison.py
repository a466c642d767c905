"""Compare a run of the ledger with earlier ones, or with those of a baseline."""

from collections.abc import Sequence

from harness.analysis import comparison
from harness.analysis.figure_changes import prior_spread
from harness.errors import ExitCode, RequestError
from harness.report.comparison_forms import ComparedRuns
from harness.runs.ended_runs import read_record
from harness.store.baselines import Baselines
from harness.store.ledger import Ledger


def compare_runs(
    run: str, bases: Sequence[str], ledger: Ledger, *, baseline: str, all_figures: bool = False
) -> ComparedRuns:
    """Compare a run with earlier ones; without `bases`, with those of the baseline.

    Raises RequestError where there is nothing to compare with, ConflictError where one of them has not ended.
    """
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
    return ComparedRuns(
        comparison=comparison.compare_runs(record.hosts, [base.hosts for base in earlier], spread=spread),
        run=record.run,
        started=record.started,
        bases=[base.run for base in earlier],
        all_figures=all_figures,
    )


def exit_code_of_comparison(compared: ComparedRuns) -> ExitCode:
    """Return the exit code: 1 where something got worse, 3 where something could not be compared, else 0."""
    if compared.comparison.regressed:
        return ExitCode.CLOCK_FAILED
    return ExitCode.NOT_CONCLUSIVE if compared.comparison.uncompared else ExitCode.PASSED
