"""The worst of many outcomes, and the exit code."""

import itertools

import pytest

from harness.errors import ExitCode
from harness.ladder import OUTCOMES
from harness.model import Outcome, Reason
from harness.model.outcomes import exit_code, worst_outcome

ORDER = [Outcome.PASS, Outcome.UNSUPPORTED, Outcome.INCONCLUSIVE, Outcome.FAIL]


def test_every_pair_gives_the_later_in_the_order() -> None:
    found = {pair: worst_outcome(pair) for pair in itertools.product(ORDER, repeat=2)}
    assert found == {pair: ORDER[max(ORDER.index(pair[0]), ORDER.index(pair[1]))] for pair in found}


def test_nothing_at_all_is_inconclusive() -> None:
    assert (worst_outcome([]), exit_code([])) == (Outcome.INCONCLUSIVE, ExitCode.NOT_CONCLUSIVE)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.PASS], ExitCode.PASSED),
        ([Outcome.PASS, Outcome.UNSUPPORTED], ExitCode.NOT_CONCLUSIVE),
        ([Outcome.INCONCLUSIVE, Outcome.PASS], ExitCode.NOT_CONCLUSIVE),
        ([Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.PASS], ExitCode.CLOCK_FAILED),
    ],
)
def test_exit_codes(outcomes: list[Outcome], code: ExitCode) -> None:
    assert exit_code(outcomes) is code


def test_every_reason_has_its_outcome() -> None:
    assert set(OUTCOMES) == set(Reason)
    assert [reason for reason, outcome in OUTCOMES.items() if outcome is Outcome.PASS] == [Reason.SYNCHRONISED]
    assert {reason for reason, outcome in OUTCOMES.items() if outcome is Outcome.UNSUPPORTED} == {
        Reason.NOT_OFFERED,
        Reason.NO_PHC,
    }
