"""Choose the exit code of a run: something left running, our fault, an interruption, then the worst verdict."""

from collections.abc import Iterable

from harness.errors import ExitCode
from harness.model import Outcome, RunRecord
from harness.model.outcomes import exit_code, outcome_that_counts


def exit_code_of(record: RunRecord, outcomes: Iterable[Outcome] | None = None) -> ExitCode:
    """Return the exit code of a run. `outcomes` replaces the outcomes of its verdicts, where others decide."""
    if record.leftovers:
        return ExitCode.LEFT_RUNNING
    if record.failures:
        return ExitCode.OUR_FAULT
    if record.interrupted:
        return ExitCode.INTERRUPTED
    return exit_code(map(outcome_that_counts, record.hosts) if outcomes is None else outcomes)
