"""Define what the commands that lead a watch have in common: the processes' parts and how long the ledger may take."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.watch.orchestrator import Orchestrator

AnswersWithin = Annotated[
    float,
    typer.Option(
        "--answers-within", min=0.5, max=60.0, metavar="SECONDS", help="How long the ledger may take for an answer."
    ),
]
ANSWERS_WITHIN_S = 4.0


def make_orchestrator(ledger_url: str, *, answers_within_s: float = ANSWERS_WITHIN_S) -> "Orchestrator":
    """Make the process that may lead the watch of a ledger. Raises RequestError and SetupError."""
    from harness.store.database import Timeouts
    from harness.store.watch_database import open_watch_database
    from harness.watch.orchestrator import Orchestrator

    timeouts = Timeouts(connect_s=answers_within_s, answer_s=answers_within_s, give_up_s=answers_within_s)
    return Orchestrator(open_watch_database(ledger_url, timeouts=timeouts))
