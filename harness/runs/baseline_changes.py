"""Add ended runs to a baseline, and remove runs from one."""

from collections.abc import Sequence

from harness.errors import ConflictError, RequestError, UnknownNameError
from harness.store.baselines import BaselineLine, Baselines
from harness.store.ledger import Ledger
from harness.untrusted import names


def add_to_baseline(name: str, runs: Sequence[str], ledger: Ledger, *, by: str | None = None) -> list[BaselineLine]:
    """Add ended runs to a baseline; return all of its runs. `by`: who adds them; None: the user of this process.

    Raises RequestError, ConflictError for a run that has not ended.
    """
    _check_name(name)
    lines = [ledger.find(run) for run in runs]
    unended = [line.run for line in lines if not line.ended]
    if unended:
        raise ConflictError(f"run {', '.join(unended)} has not ended", next_step="add it when it has")
    baselines = Baselines(ledger.database)
    baselines.add(name, [line.run for line in lines], by=by)
    return baselines.list_lines(name)


def remove_from_baseline(name: str, runs: Sequence[str], ledger: Ledger) -> list[str]:
    """Remove runs from a baseline, or all without `runs`; return their names. Raises UnknownNameError."""
    _check_name(name)
    found = [ledger.find(run).run for run in runs]
    removed = Baselines(ledger.database).remove(name, found)
    missing = [run for run in found if run not in removed]
    if missing or not removed:
        raise UnknownNameError(
            f"the baseline {name} has no run {', '.join(missing) or 'at all'}",
            next_step="`ptp-harness baseline list` lists them",
        )
    return removed


def _check_name(name: str) -> None:
    if not names.fits(names.BASELINE, name):
        raise RequestError(
            f"{name!r} is no name of a baseline", next_step="letters, digits, '.', '_' and '-', at most 64"
        )
