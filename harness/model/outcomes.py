"""Combine many verdicts: find the worst outcome and its exit code."""

from collections.abc import Iterable

from harness.errors import ExitCode
from harness.model.enums import Outcome

WORST_LAST = (Outcome.PASS, Outcome.UNSUPPORTED, Outcome.INCONCLUSIVE, Outcome.FAIL)


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst outcome; INCONCLUSIVE when there are no outcomes."""
    return max(outcomes, key=WORST_LAST.index, default=Outcome.INCONCLUSIVE)


def exit_code(outcomes: Iterable[Outcome]) -> ExitCode:
    """Return 0 when all passed, 1 when a clock failed, else 3."""
    match worst_outcome(outcomes):
        case Outcome.PASS:
            return ExitCode.PASSED
        case Outcome.FAIL:
            return ExitCode.CLOCK_FAILED
        case _:
            return ExitCode.NOT_CONCLUSIVE
