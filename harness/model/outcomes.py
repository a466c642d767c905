"""Combine many verdicts: find the worst outcome and its exit code."""

from collections.abc import Iterable

from harness.errors import ExitCode
from harness.model.enums import Outcome
from harness.model.records import HostRecord

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


def is_as_expected(host: HostRecord) -> bool | None:
    """Whether a host has the outcome or the reason that its campaign expects; None where it expects none."""
    if host.expected is None:
        return None
    return host.expected in (host.verdict.outcome.value, host.verdict.reason.value)


def outcome_that_counts(host: HostRecord) -> Outcome:
    """Return the outcome by which a run is judged: of an expected verdict PASS, of an unexpected one FAIL.

    A host that could not be judged stays inconclusive: whether it is as expected is not known.
    """
    expected = is_as_expected(host)
    if expected is None or (not expected and host.verdict.outcome is Outcome.INCONCLUSIVE):
        return host.verdict.outcome
    return Outcome.PASS if expected else Outcome.FAIL
