"""Define what the commands that lead a watch have in common: the processes' parts and how long the ledger may take."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from harness.system.settings import Settings

if TYPE_CHECKING:
    from harness.watch.orchestrator import Orchestrator

AnswersWithin = Annotated[
    float,
    typer.Option(
        "--answers-within", min=0.5, max=60.0, metavar="SECONDS", help="How long the ledger may take for an answer."
    ),
]
ANSWERS_WITHIN_S = 4.0
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=0, max=65535, metavar="PORT", help="Serve metrics on 127.0.0.1; 0: any port that is free."
    ),
]


def make_orchestrator(configuration: Settings, *, answers_within_s: float = ANSWERS_WITHIN_S) -> "Orchestrator":
    """Make the process that may lead the watch of a ledger, and delivers where the environment says.

    Raises RequestError and SetupError.
    """
    from harness.store.database import Timeouts
    from harness.store.object_store import open_store
    from harness.store.watch_database import open_watch_database
    from harness.watch.leader_duties import make_duties
    from harness.watch.orchestrator import Orchestrator

    timeouts = Timeouts(connect_s=answers_within_s, answer_s=answers_within_s, give_up_s=answers_within_s)
    database = open_watch_database(configuration.ledger_url, timeouts=timeouts)
    store = None if configuration.evidence is None else open_store(configuration.evidence)
    return Orchestrator(database, duties=make_duties(database, os.environ, store))
