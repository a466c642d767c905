"""How a type stands in an environment: its newest verdict, and since when it is so."""

from collections.abc import Sequence

import pytest

from harness.analysis.verdict_series import (
    CURRENT_WITHIN_NS,
    Environment,
    Standing,
    TimedVerdict,
    find_cell,
    order_environments,
    sum_up_series,
    sum_up_type,
)
from harness.model import Outcome

LETTERS = {"P": Outcome.PASS, "F": Outcome.FAIL, "I": Outcome.INCONCLUSIVE, "U": Outcome.UNSUPPORTED}
AL2023 = Environment(image="al2023", kernel="6.12", driver="ena 2.17")
EARLIER = Environment(image="al2023", kernel="6.1", driver="ena 2.13")
DEBIAN = Environment(image="debian-13", kernel="6.12", driver=None)
SILENT = Environment(image="al2023", kernel=None, driver=None)


def series(letters: str, first: int = 1) -> list[TimedVerdict]:
    """A verdict for each letter, in runs r1, r2 ..., the oldest first."""
    return [
        TimedVerdict(run=f"r{number}", host="h", started_ns=number, outcome=LETTERS[letter])
        for number, letter in enumerate(letters, first)
    ]


def told(standing: Standing) -> tuple[str, str, int, str | None, str | None]:
    """Newest run, that since which it is so, number of runs, the last that passed, the last conclusive one."""
    passed, conclusive = standing.passed, standing.conclusive
    return (
        standing.latest.run, standing.since.run, standing.runs, passed and passed.run, conclusive and conclusive.run
    )  # fmt: skip


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("P", ("r1", "r1", 1, "r1", None)),
        ("PPP", ("r3", "r1", 3, "r3", None)),
        ("F", ("r1", "r1", 1, None, None)),
        ("PFF", ("r3", "r2", 2, "r1", None)),
        ("PFIF", ("r4", "r2", 2, "r1", None)),  # who cannot judge does not interrupt a series
        ("PFPF", ("r4", "r4", 1, "r3", None)),
        ("UF", ("r2", "r2", 1, None, None)),
        ("PPI", ("r3", "r3", 1, "r2", "r2")),
        ("PFII", ("r4", "r3", 2, "r1", "r2")),
        ("I", ("r1", "r1", 1, None, None)),
        ("IP", ("r2", "r2", 1, "r2", None)),
        ("PU", ("r2", "r2", 1, "r1", None)),
        ("FPIPP", ("r5", "r2", 3, "r5", None)),
    ],
)
def test_since_when_a_verdict_stands(letters: str, expected: tuple[str, str, int, str | None, str | None]) -> None:
    assert told(sum_up_series(series(letters))) == expected


def test_of_several_hosts_in_one_run_the_worst_counts() -> None:
    verdicts = [
        TimedVerdict(run="r1", host=f"h{number}", started_ns=1, outcome=LETTERS[letter])
        for number, letter in enumerate("PFP")
    ]
    assert sum_up_series(verdicts).latest.host == "h1"
    assert sum_up_series([*verdicts, *series("P", 2)]).runs == 1


def outcome_of(cells: dict[Environment, Sequence[TimedVerdict]]) -> tuple[str, Environment, tuple[str, ...]]:
    standing = sum_up_type("m7i.large", cells)
    return standing.outcome.value, standing.environment, standing.passes


def test_a_type_stands_as_the_worst_of_its_images_does_in_its_newest_environment() -> None:
    assert outcome_of({AL2023: series("P", 5), EARLIER: series("F")}) == ("PASS", AL2023, ("al2023",))
    assert outcome_of({AL2023: series("F", 5), DEBIAN: series("P")}) == ("FAIL", AL2023, ("debian-13",))
    assert outcome_of({AL2023: series("I", 5), DEBIAN: series("U")}) == ("INCONCLUSIVE", AL2023, ())


def test_an_image_that_was_not_measured_for_long_does_not_count() -> None:
    late = [TimedVerdict(run="r9", host="h", started_ns=CURRENT_WITHIN_NS + 1, outcome=Outcome.PASS)]
    assert outcome_of({AL2023: late, DEBIAN: series("F")}) == ("FAIL", DEBIAN, ("al2023",))
    later = [TimedVerdict(run="r9", host="h", started_ns=CURRENT_WITHIN_NS + 2, outcome=Outcome.PASS)]
    assert outcome_of({AL2023: later, DEBIAN: series("F")}) == ("PASS", AL2023, ("al2023",))


def test_a_host_that_told_nothing_counts_in_the_environment_in_which_its_image_was_measured_last() -> None:
    standing = sum_up_type("m7i.large", {EARLIER: series("P"), AL2023: series("PP", 2), SILENT: series("I", 4)})
    assert list(standing.cells) == [AL2023, EARLIER]
    assert told(standing.cells[AL2023]) == ("r4", "r4", 1, "r3", "r3")
    between = sum_up_type("m7i.large", {AL2023: series("P") + series("P", 3), SILENT: series("I", 2)})
    assert told(between.cells[AL2023]) == ("r3", "r1", 2, "r3", None)


def test_a_type_of_which_nothing_is_known_stands_in_the_newest_environment_of_its_image() -> None:
    unknown = sum_up_type("i7ie.large", {SILENT: series("I", 9)})
    known = sum_up_type("m7i.large", {EARLIER: series("P"), AL2023: series("P", 2), DEBIAN: series("P", 3)})
    columns = order_environments([unknown, known])
    assert columns == [DEBIAN, AL2023, EARLIER]
    cells = [find_cell(unknown, column, columns) for column in columns]
    assert [cell and cell.latest.run for cell in cells] == [None, "r9", None]
    assert order_environments([unknown]) == [SILENT]
    alone = find_cell(unknown, SILENT, [SILENT])
    assert alone is not None
    assert alone.latest.run == "r9"


def test_a_type_finds_the_environment_of_its_standing_and_counts_its_images() -> None:
    standing = sum_up_type("m7i.large", {AL2023: series("P", 2), EARLIER: series("F"), DEBIAN: series("P")})
    assert standing.environment_of(standing.cells[EARLIER]) == EARLIER
    assert standing.images == 2
