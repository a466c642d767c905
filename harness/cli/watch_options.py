"""Define what the commands that lead a watch have in common: the processes' parts and how long the ledger may take."""

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import output
from harness.system.settings import Settings

if TYPE_CHECKING:
    from harness.store.database import Database, Timeouts
    from harness.watch.orchestrator import Orchestrator

AnswersWithin = Annotated[
    float,
    typer.Option(
        "--answers-within", min=0.5, max=60.0, metavar="SECONDS", help="How long the ledger may take for an answer."
    ),
]
ANSWERS_WITHIN_S = 4.0
_LONGEST_PAUSE_S = 10.0
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=0, max=65535, metavar="PORT", help="Serve metrics on 127.0.0.1; 0: any port that is free."
    ),
]


def make_orchestrator(
    configuration: Settings, *, answers_within_s: float = ANSWERS_WITHIN_S, waits: bool = False
) -> "Orchestrator":
    """Make the process that may lead the watch of a ledger, and delivers where the environment says.

    `waits`: for a ledger that is away. Raises RequestError and SetupError.
    """
    from harness.store.database import Timeouts
    from harness.store.object_store import open_store
    from harness.store.watch_database import open_watch_database
    from harness.watch.leader_duties import make_duties
    from harness.watch.orchestrator import Orchestrator

    timeouts = Timeouts(connect_s=answers_within_s, answer_s=answers_within_s, give_up_s=answers_within_s)
    url = configuration.ledger_url
    database = wait_for_ledger(url, timeouts) if waits else open_watch_database(url, timeouts=timeouts)
    store = None if configuration.evidence is None else open_store(configuration.evidence)
    return Orchestrator(database, duties=make_duties(database, os.environ, store))


def wait_for_ledger(url: str, timeouts: "Timeouts") -> "Database":
    """Open the ledger; wait for one that is away. Raises RequestError and SetupError for any other trouble."""
    from harness.store.database import LedgerAwayError
    from harness.store.watch_database import open_watch_database

    pause_s = 0.5
    while True:
        try:
            return open_watch_database(url, timeouts=timeouts)
        except LedgerAwayError as error:
            output.say(f"waiting for the ledger: {error.message}")
            time.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
